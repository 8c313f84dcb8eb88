//! Several workers beside one of them: starts a process for each, and lets them take
//! turns so that all see the same moods of the machine.
//!
//! The processes last for the whole measurement; one that has no turn sleeps. None
//! outlives the future that started them, nor this process.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use futures::future::join_all;
use phalanx_collective::Transport;
use phalanx_data::Schema;
use phalanx_protocol::spec::JobSpec;
use phalanx_train::Tasks;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{
    MeasureError, Prepared,
    rank::{Answer, Order},
    turn::{Lap, Turn},
};

/// What is to be measured: `workers` that train a job together, beside one that trains
/// alone on one worker's share of each batch and of the lanes.
#[derive(Debug, Clone)]
pub struct StepBench {
    /// The job.
    pub spec: JobSpec,
    /// Worker processes, each with one thread that computes.
    pub workers: u32,
    /// What carries gradients between them.
    pub transport: Transport,
    /// How often each contender has a turn.
    pub rounds: u32,
    /// How long a turn is, after its warm-up.
    pub turn: Duration,
}

/// How fast several workers train, and one.
#[derive(Debug, Clone, PartialEq)]
pub struct StepScaling {
    /// What the model was told of the data set.
    pub schema: Schema,
    /// Numbers that are trained.
    pub parameters: usize,
    /// Workers that trained together.
    pub workers: u32,
    /// Steps that they made and that were counted.
    pub steps: u64,
    /// How long those took.
    pub elapsed: Duration,
    /// The turns, in order.
    pub rounds: Vec<ScalingRound>,
}

/// Samples a second in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScalingRound {
    /// Of one worker, while the others sleep.
    pub alone: f64,
    /// Of all workers at the same time, each alone: what the machine lets them reach.
    pub apart: f64,
    /// Of all workers together.
    pub together: f64,
}

impl StepScaling {
    /// The median over all rounds.
    ///
    /// # Panics
    ///
    /// Where there are none.
    pub fn median(&self, of: impl Fn(&ScalingRound) -> f64) -> f64 {
        let mut all: Vec<_> = self.rounds.iter().map(of).collect();
        all.sort_unstable_by(f64::total_cmp);
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        f64::midpoint(low, high)
    }

    /// What part of its speed alone a worker keeps with the others (the median over all
    /// rounds): 1 where adding up gradients costs nothing.
    pub fn efficiency(&self) -> f64 {
        self.median(|round| round.together / (f64::from(self.workers) * round.alone))
    }

    /// What part of it would be left if adding up gradients cost nothing: workers share the
    /// memory and the caches of the machine.
    pub fn efficiency_apart(&self) -> f64 {
        self.median(|round| round.apart / (f64::from(self.workers) * round.alone))
    }
}

impl StepBench {
    /// Prepares the data in `folder`, starts the workers by `command`, whose processes must
    /// call [`serve_steps`](super::serve_steps), and measures. The thread that polls this must
    /// live as long as the process, or the workers end with it.
    ///
    /// # Errors
    ///
    /// Where the lanes cannot be shared evenly, the data cannot be prepared, the model not
    /// built, or a worker fails.
    pub async fn run(
        self,
        tasks: &Tasks,
        folder: &Path,
        command: impl Fn() -> std::process::Command,
    ) -> Result<StepScaling, MeasureError> {
        let Self { spec, workers, transport, rounds, turn } = self;
        let lanes = spec.train.lanes;
        if workers == 0 || !lanes.is_multiple_of(workers) {
            return Err(MeasureError::Share { workers, lanes });
        }
        let prepared = Prepared::new(spec, tasks, folder).await?;
        let team = Team::start(&prepared, workers, command).await?;
        let mut measuring = Measuring { prepared: &prepared, team, transport, turn, generation: 0 };
        let mut scaling = StepScaling {
            schema: prepared.schema().clone(),
            parameters: prepared.parameters,
            workers,
            steps: 0,
            elapsed: Duration::ZERO,
            rounds: Vec::new(),
        };
        for _ in 0..rounds.max(1) {
            let alone = measuring.apart(1).await?;
            let together = measuring.together().await?;
            let apart = measuring.apart(workers as usize).await?;
            scaling.steps += together.steps;
            scaling.elapsed += together.elapsed;
            let rate = |lap: &Lap, batch| lap.steps as f64 * f64::from(batch) / lap.elapsed.as_secs_f64();
            let batch = prepared.spec.train.batch_size;
            let sum = |laps: &[Lap]| laps.iter().map(|lap| rate(lap, batch / workers)).sum();
            let together = rate(&together, batch);
            scaling.rounds.push(ScalingRound { alone: sum(&alone), apart: sum(&apart), together });
        }
        Ok(scaling)
    }
}

/// Turns of a team; each is a generation of its own.
struct Measuring<'a> {
    prepared: &'a Prepared,
    team: Team,
    transport: Transport,
    turn: Duration,
    generation: u64,
}

impl Measuring<'_> {
    /// The first `count` workers train at the same time, each alone on its share.
    async fn apart(&mut self, count: usize) -> Result<Vec<Lap>, MeasureError> {
        let workers = self.team.ranks.len() as u32;
        let mut spec = self.prepared.spec.clone();
        spec.train.batch_size /= workers;
        spec.train.lanes /= workers;
        let peers = self.team.peers.clone();
        let place =
            |generation, rank| self.prepared.assignment(spec.clone(), generation, 0, &peers[rank..=rank]);
        self.generation += 1;
        let turns = (0..count).map(|rank| self.order(place(self.generation, rank))).collect();
        self.team.make(turns).await
    }

    /// All workers train together; gives the leader's lap.
    async fn together(&mut self) -> Result<Lap, MeasureError> {
        self.generation += 1;
        let Team { ranks, peers } = &self.team;
        let place = |rank| {
            let spec = self.prepared.spec.clone();
            self.prepared.assignment(spec, self.generation, rank, peers)
        };
        let turns = (0..ranks.len() as u32).map(|rank| self.order(place(rank))).collect();
        Ok(self.team.make(turns).await?[0])
    }

    fn order(&self, assignment: phalanx_protocol::message::Assignment) -> Order {
        Order::Make(Box::new(Turn { assignment, transport: self.transport, time: self.turn }))
    }
}

/// The workers' processes.
struct Team {
    ranks: Vec<RankProcess>,
    /// Where they listen.
    peers: Vec<SocketAddr>,
}

impl Team {
    async fn start(
        prepared: &Prepared,
        workers: u32,
        command: impl Fn() -> std::process::Command,
    ) -> Result<Self, MeasureError> {
        let start = |rank| RankProcess::start(rank, command());
        let mut team = Self { ranks: (0..workers).map(start).collect::<Result<_, _>>()?, peers: Vec::new() };
        let open = |_| Order::Open {
            store: prepared.store.clone(),
            cache: prepared.cache.clone(),
            dataset: prepared.reference.clone(),
        };
        let answers = team.ask((0..workers).map(open).collect()).await?;
        team.peers = expect(answers, |answer| match answer {
            Answer::Ready { listens_at } => Ok(listens_at),
            other @ (Answer::Made(_) | Answer::Failed { .. }) => Err(other),
        })?;
        Ok(team)
    }

    async fn make(&mut self, orders: Vec<Order>) -> Result<Vec<Lap>, MeasureError> {
        let answers = self.ask(orders).await?;
        expect(answers, |answer| match answer {
            Answer::Made(lap) => Ok(lap),
            other @ (Answer::Ready { .. } | Answer::Failed { .. }) => Err(other),
        })
    }

    /// Gives an order to each of the first ranks, and waits for all their answers. That a
    /// process has ended is told before what the others say of it.
    async fn ask(&mut self, orders: Vec<Order>) -> Result<Vec<Answer>, MeasureError> {
        let asked = self.ranks.iter_mut().zip(orders).map(|(rank, order)| rank.ask(order));
        join_all(asked).await.into_iter().collect()
    }
}

/// All answers, or what is said by the first that is none.
fn expect<T>(
    answers: Vec<Answer>,
    take: impl Fn(Answer) -> Result<T, Answer>,
) -> Result<Vec<T>, MeasureError> {
    let told = answers.into_iter().zip(0..).map(|(answer, rank)| {
        take(answer).map_err(|other| match other {
            Answer::Failed { reason } => MeasureError::Rank { rank, reason },
            other @ (Answer::Ready { .. } | Answer::Made(_)) => {
                MeasureError::Rank { rank, reason: format!("unexpected answer {other:?}") }
            }
        })
    });
    told.collect()
}

/// A worker's process, killed when dropped.
struct RankProcess {
    rank: u32,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl RankProcess {
    fn start(rank: u32, command: std::process::Command) -> Result<Self, MeasureError> {
        let mut command = Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // The terminal's Ctrl-C is for this process, which ends them.
        let child = command.process_group(0).kill_on_drop(true).spawn();
        let mut child = child.map_err(|cause| MeasureError::Start { rank, cause })?;
        let input = child.stdin.take().expect("invariant: it was asked for");
        let output = child.stdout.take().expect("invariant: it was asked for");
        Ok(Self { rank, child, input, output: BufReader::new(output).lines() })
    }

    async fn ask(&mut self, order: Order) -> Result<Answer, MeasureError> {
        let rank = self.rank;
        let wrong = |reason: String| MeasureError::Rank { rank, reason };
        let line = serde_json::to_string(&order).map_err(|error| wrong(error.to_string()))? + "\n";
        // A process that has ended reads nothing, and says nothing either.
        let _ = self.input.write_all(line.as_bytes()).await;
        let said = self.output.next_line().await.map_err(|error| wrong(error.to_string()))?;
        let Some(said) = said else {
            let how = self.child.wait().await.map_or_else(|error| error.to_string(), |how| how.to_string());
            return Err(MeasureError::Ended { rank, how });
        };
        serde_json::from_str(&said).map_err(|error| wrong(format!("{error}, in its answer {said:?}")))
    }
}

#[cfg(test)]
mod tests {
    use phalanx_data::{FeatureKind, TargetKind};

    use super::*;

    fn scaling(rounds: &[(f64, f64, f64)]) -> StepScaling {
        let round = |&(alone, apart, together): &(f64, f64, f64)| ScalingRound { alone, apart, together };
        StepScaling {
            schema: Schema { features: FeatureKind::Bytes { context: 1 }, target: TargetKind::NextByte },
            parameters: 1,
            workers: 2,
            steps: 1,
            elapsed: Duration::from_secs(1),
            rounds: rounds.iter().map(round).collect(),
        }
    }

    #[test]
    fn efficiency_is_the_median_of_the_rounds_ratios() {
        let slow_machine_in_one_round =
            scaling(&[(100.0, 190.0, 180.0), (10.0, 18.0, 17.0), (100.0, 180.0, 160.0)]);
        assert!((slow_machine_in_one_round.efficiency() - 0.85).abs() < 1e-9);
        assert!((slow_machine_in_one_round.efficiency_apart() - 0.9).abs() < 1e-9);
        let even = scaling(&[(100.0, 200.0, 180.0), (100.0, 200.0, 160.0)]);
        assert!((even.efficiency() - 0.85).abs() < 1e-9);
    }
}
