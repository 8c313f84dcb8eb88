//! Reports as real jobs would make them: people whose income is guessed, diamonds whose price is, ten
//! digits, and a text. Rows are drawn from a fixed seed; every figure comes from `phalanx-evaluate`.

mod people;
mod simple;

use std::collections::BTreeMap;

use phalanx_report::{
    Command, Dataset, Environment, Identity, Report, Reproduction, SplitRows, StepValue, Task, Training,
};

pub(crate) use people::people;
pub(crate) use simple::{diamonds, digits, verse};

/// All samples by name.
pub(crate) fn all() -> anyhow::Result<Vec<(&'static str, Report)>> {
    Ok(vec![("people", people()?), ("diamonds", diamonds()?), ("digits", digits()?), ("verse", verse()?)])
}

/// Numbers that look random (Steele et al. 2014), the same on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly normal.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f64) as usize
    }
}

fn identity(name: &str, task: Task, target: Option<&str>, architecture: &str) -> anyhow::Result<Identity> {
    Ok(Identity {
        model: name.to_owned(),
        version: Some(3),
        parent: Some(2),
        alias: Some("champion".to_owned()),
        task,
        target: target.map(str::to_owned),
        architecture: architecture.to_owned(),
        parameters: Some(21_569),
        job: format!("{name}-7").parse()?,
        job_file: Some(format!("name = \"{name}\"\n\n[model.{architecture}]\nhidden = [128, 64]\n")),
        job_hash: Some("5b1f0c7e2d".repeat(6) + "ab12"),
        state_hash: Some("c0ffee42d1".repeat(6) + "9e0f"),
        artifact: None,
        created_at: "2026-03-14T09:26:53Z".parse()?,
        about: phalanx_report::About::default(),
    })
}

fn environment() -> Environment {
    Environment {
        machine: "x86-64-v4, glibc 2.41".to_owned(),
        devices: vec!["cpu".to_owned()],
        versions: BTreeMap::from(
            [("phalanx", "0.1.0"), ("burn", "0.22.1")].map(|(a, b)| (a.to_owned(), b.to_owned())),
        ),
        features: vec!["cluster".to_owned()],
        workers: Some(2),
        lanes: Some(4),
        seed: Some(42),
        precision: Some("f32".to_owned()),
    }
}

fn reproduction(name: &str) -> Reproduction {
    let command = |about: &str, command: String| Command { about: about.to_owned(), command };
    Reproduction {
        commands: vec![
            command("Train it again, on any number of workers:", format!("phalanx run examples/{name}.toml")),
            command(
                "Check that the same bits came out:",
                format!("phalanx job {name}-7 --json | jq -r .state_hash"),
            ),
        ],
        expected_state_hash: Some("c0ffee42d1".repeat(6) + "9e0f"),
        notes: vec![
            "On the same kind of machine and the same source files, whose hashes stand above.".to_owned(),
        ],
    }
}

fn dataset(name: &str, rows: [u64; 3]) -> Dataset {
    let split = |(split, rows): (&str, u64)| SplitRows { split: split.to_owned(), rows };
    Dataset {
        version: "7d3a9b5e01".repeat(6) + "44aa",
        name: name.to_owned(),
        sources: vec![phalanx_report::Source {
            path: format!("examples/data/{name}.csv"),
            bytes: 3_974_305,
            blake3: "1f2e3d4c5b".repeat(6) + "beef",
            rows: Some(rows.iter().sum()),
        }],
        splits: ["train", "validation", "test"].into_iter().zip(rows).map(split).collect(),
        split_by: Some("random, seed 0".to_owned()),
        code_version: "0.1.0".to_owned(),
        ..Dataset::default()
    }
}

/// Losses and metrics that fall and rise as they do.
fn training(metrics: &[(&str, f64, f64)], seed: u64) -> anyhow::Result<Training> {
    let mut dice = Dice::new(seed);
    let (steps, kept) = (1_830, 1_586);
    let fall = |step: u64, from: f64, to: f64| to + (from - to) * (-(step as f64) / 260.0).exp();
    let loss = (1..=steps)
        .step_by(10)
        .map(|step| StepValue { step, value: fall(step, 0.69, 0.30) * (1.0 + 0.06 * dice.normal()) });
    let loss: Vec<StepValue> = loss.collect();
    let mut over = |from: f64, to: f64| -> Vec<StepValue> {
        let at = |epoch: u64| epoch * 122;
        let value =
            |step: u64, dice: &mut Dice| fall(step, from, to) + 0.004 * (from - to).abs() * dice.normal();
        (1..=15).map(|epoch| StepValue { step: at(epoch), value: value(at(epoch), &mut dice) }).collect()
    };
    let mut validation = BTreeMap::from([("loss".to_owned(), over(0.66, 0.316))]);
    validation.extend(metrics.iter().map(|(name, from, to)| ((*name).to_owned(), over(*from, *to))));
    Ok(Training {
        steps,
        steps_planned: 1_950,
        epochs: Some(15.0),
        samples: 468_480,
        batch_size: 256,
        kept_step: kept,
        stopped_early: Some("log_loss did not improve for 5 epochs".to_owned()),
        started_at: Some("2026-03-14T09:26:41Z".parse()?),
        finished_at: Some("2026-03-14T09:26:52Z".parse()?),
        seconds: Some(10.84),
        loss,
        validation,
    })
}
