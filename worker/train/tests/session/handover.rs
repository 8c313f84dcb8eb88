//! Generations one after the other: ranks die at bad moments, and whoever is left goes on with
//! the state that it holds, to the same bits.

use std::{net::SocketAddr, panic::resume_unwind, sync::Arc, time::Duration};

use burn::{
    nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig},
    tensor::{Device, Tensor},
};
use phalanx_collective::Listener;
use phalanx_protocol::{
    message::{Event, Failure, StateSource},
    pace::StepTime,
};
use phalanx_train::{Ended, Ending, Held, Host, Samples, Snapshot, StopVote, Task, Tasks, TrainError, run};

use crate::support::{Ground, ground, session};

/// What a rank does in a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It trains to the end.
    Trains,
    /// It wants to stop after so many steps.
    Stops(u64),
    /// It dies when it would begin its next step after so many.
    Dies(u64),
    /// It dies before it has said which state it holds.
    DiesAtOnce,
}

/// One rank.
struct Member {
    held: Option<Held>,
    fate: Fate,
}

fn member(held: Option<Held>, fate: Fate) -> Member {
    Member { held, fate }
}

/// What became of it.
#[derive(Debug)]
struct Left {
    ended: Option<Ended>,
    from: Option<StateSource>,
    /// Hash of the last state that was saved.
    saved: Option<String>,
}

impl Left {
    fn held(self) -> Option<Held> {
        self.ended.and_then(|ended| ended.held)
    }

    fn error(&self) -> &TrainError {
        let ended = self.ended.as_ref().expect("it began");
        ended.ending.as_ref().expect_err("its generation broke")
    }
}

struct Ranked {
    fate: Fate,
    /// Steps begun.
    steps: std::cell::Cell<u64>,
    from: Option<StateSource>,
    saved: Option<String>,
}

impl Host for Ranked {
    fn event(&mut self, event: Event) {
        if let Event::Formed { from, .. } = event {
            self.from = Some(from);
        }
    }

    fn stepped(&mut self, _: &StepTime) {}

    fn stop_vote(&self) -> StopVote {
        // Asked once a step.
        self.steps.set(self.steps.get() + 1);
        match self.fate {
            Fate::Stops(after) if self.steps.get() >= after => StopVote::Stop,
            // Without the message of a panic.
            Fate::Dies(after) if self.steps.get() > after => resume_unwind(Box::new("killed")),
            Fate::Trains | Fate::Stops(_) | Fate::Dies(_) | Fate::DiesAtOnce => StopVote::Continue,
        }
    }

    fn is_saving(&self) -> bool {
        false
    }

    fn checkpoint(&mut self, snapshot: Snapshot, _took: Duration) {
        self.saved = Some(snapshot.state_hash().to_owned());
    }

    fn restore(&mut self) -> Result<Snapshot, Failure> {
        unreachable!("there is no checkpoint")
    }

    fn failing(&mut self, _: &TrainError) {}
}

/// One generation of these ranks, to its end.
fn generation(ground: &Ground, tasks: &Arc<Tasks>, members: Vec<Member>) -> Vec<Left> {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let bind = |_: &Member| Listener::bind(any).expect("a port can be had");
    let listeners: Vec<_> = members.iter().map(bind).collect();
    let addresses: Vec<_> = listeners.iter().map(Listener::local_addr).collect();
    std::thread::scope(|scope| {
        let ranks = members.into_iter().zip(&listeners).zip(0..).map(|((member, listener), rank)| {
            let addresses = &addresses;
            scope.spawn(move || {
                let mut session = session(ground, listener, addresses, rank, None);
                if member.fate == Fate::DiesAtOnce {
                    return Left { ended: None, from: None, saved: None };
                }
                session.tasks = Arc::clone(tasks);
                session.held = member.held;
                let mut host = Ranked { fate: member.fate, steps: 0.into(), from: None, saved: None };
                let ended = run(session, &mut host);
                Left { ended: Some(ended), from: host.from, saved: host.saved }
            })
        });
        let ranks: Vec<_> = ranks.collect();
        ranks.into_iter().map(|rank| rank.join().expect("no rank panics")).collect()
    })
}

/// A model whose running statistics every forward pass changes.
#[derive(burn::module::Module, Debug)]
struct Normed {
    norm: BatchNorm,
    layer: Linear,
}

impl Normed {
    fn new(device: &Device) -> Self {
        Self { norm: BatchNormConfig::new(2).init(device), layer: LinearConfig::new(2, 2).init(device) }
    }
}

impl Task for Normed {
    fn scores(&self, samples: &Samples<'_>) -> Tensor<2> {
        self.layer.forward(self.norm.forward(samples.vectors()))
    }
}

fn tasks() -> Arc<Tasks> {
    Arc::new(Tasks::new().with("normed", |_, _, device| Ok(Normed::new(device))))
}

const NORMED: &str = r#"{"custom": {"task": "normed"}}"#;

/// The hash that all ranks have saved at their end.
fn hash(left: &[Left]) -> String {
    let hashes: Vec<_> = left.iter().map(|rank| rank.saved.clone().expect("its end was saved")).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
    hashes[0].clone()
}

/// What undisturbed training ends in.
fn undisturbed(ground: &Ground) -> String {
    hash(&generation(ground, &tasks(), vec![member(None, Fate::Trains)]))
}

/// Ranks that have stopped after so many steps.
fn stopped<const N: usize>(ground: &Ground, steps: u64) -> [Held; N] {
    let members = (0..N).map(|_| member(None, Fate::Stops(steps))).collect();
    let held = generation(ground, &tasks(), members).into_iter().map(|left| left.held().expect("it stopped"));
    held.collect::<Vec<_>>().try_into().expect("as many as members")
}

#[test]
fn who_dies_while_a_generation_forms_takes_no_state_with_it() {
    let ground = ground(NORMED, r#""steps": 60"#);
    let [a, b] = stopped(&ground, 20);
    let members =
        vec![member(Some(a), Fate::Trains), member(Some(b), Fate::Trains), member(None, Fate::DiesAtOnce)];
    let mut left = generation(&ground, &tasks(), members).into_iter();
    let held: Vec<_> = left.by_ref().take(2).map(Left::held).collect();
    assert!(held.iter().all(|held| held.as_ref().is_some_and(|held| held.step() == 20)), "{held:?}");

    let members = held.into_iter().map(|held| member(held, Fate::Trains)).collect();
    let left = generation(&ground, &tasks(), members);
    assert_eq!(left[0].from, Some(StateSource::Members { healed: 0 }));
    assert_eq!(hash(&left), undisturbed(&ground));
}

#[test]
fn a_broken_step_leaves_nothing_of_its_forward_pass_behind() {
    let ground = ground(NORMED, r#""steps": 60"#);
    let members = vec![member(None, Fate::Trains), member(None, Fate::Dies(20))];
    let [survivor, _] = generation(&ground, &tasks(), members).try_into().expect("two ranks");
    let held = survivor.held().expect("the survivor holds the state");
    assert_eq!(held.step(), 20);

    // The newcomer takes what the survivor holds.
    let left =
        generation(&ground, &tasks(), vec![member(Some(held), Fate::Trains), member(None, Fate::Trains)]);
    assert_eq!(left[1].from, Some(StateSource::Members { healed: 1 }));
    assert_eq!(hash(&left), undisturbed(&ground));
}

#[test]
fn where_states_differ_the_majority_keeps_its_own() {
    let right = ground(NORMED, r#""steps": 60"#);
    let wrong = ground(NORMED, r#""steps": 60, "seed": 1"#);
    let [a, b] = stopped(&right, 20);
    let [c] = stopped(&wrong, 20);
    let holders = [Some(a), Some(b), Some(c), None];
    let members = holders.into_iter().map(|held| member(held, Fate::Trains)).collect();
    let left = generation(&right, &tasks(), members);
    assert!(left.iter().all(|rank| matches!(rank.error(), TrainError::Differs { step: 20, .. })));
    let steps: Vec<_> = left.into_iter().map(|rank| rank.held().map(|held| held.step())).collect();
    assert_eq!(steps, [Some(20), Some(20), None, None]);
}

#[test]
fn who_stops_with_the_others_has_finished_the_same_step() {
    let ground = ground(NORMED, r#""steps": 60"#);
    let members = vec![member(None, Fate::Trains), member(None, Fate::Stops(7))];
    for left in generation(&ground, &tasks(), members) {
        let ended = left.ended.expect("it began");
        assert!(matches!(ended.ending, Ok(Ending::Stopped { step: 7 })), "{:?}", ended.ending);
        assert_eq!(ended.held.map(|held| held.step()), Some(7));
    }
}
