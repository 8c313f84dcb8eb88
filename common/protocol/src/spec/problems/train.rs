//! Rules of `[train]`, `[workers]` and `[checkpoint]`.

use super::{Rules, Sections};
use crate::spec::{
    CHECKPOINTS_MAX, CheckpointSpec, DilocoSpec, LANES_MAX, Optimizer, OptimizerSpec, STEPS_MAX, Schedule,
    ScheduleSpec, SumOrder, TrainSpec, WorkersSpec, suggest::listed,
};

/// The largest global batch.
const BATCH_SIZE_MAX: u32 = 1 << 20;

pub(super) fn check(sections: &Sections<'_>, rules: &mut Rules) {
    if let Some(train) = sections.train {
        batch(train, rules);
        duration(train, rules);
        let rate = train.learning_rate;
        rules.number("train.learning_rate", rate, rate > 0.0 && rate <= 1.0, "above 0 and at most 1");
        if let Some(norm) = train.clip_norm {
            rules.number("train.clip_norm", norm, norm > 0.0, "above 0; leave it out to clip nothing");
        }
        rules.whole("train.bucket_bytes", train.bucket_bytes, 1_024..=1 << 30);
        if let Some(DilocoSpec { local_steps, outer_learning_rate: rate, outer_momentum }) = train.diloco {
            rules.whole("train.diloco.local_steps", local_steps, 1..=1_000_000);
            let fits = rate > 0.0 && rate <= 2.0;
            rules.number("train.diloco.outer_learning_rate", rate, fits, "above 0 and at most 2");
            rules.share_below_one("train.diloco.outer_momentum", outer_momentum);
        }
        let on_processors = train.compression.is_some() || train.diloco.is_some();
        rules.require(
            train.reduction == SumOrder::Exact || !on_processors,
            ["train.reduction", "train.compression", "train.diloco"],
            || {
                "`train.reduction = \"fast\"` leaves the sum to NCCL, which knows neither `compression` nor `diloco`"
                    .to_owned()
            },
        );
        optimizer(&train.optimizer, rules);
        schedule(train, &train.schedule, rules);
        if let Some(stop) = &train.early_stop {
            rules.whole("train.early_stop.patience", stop.patience, 1..=u64::from(u32::MAX));
            let delta = stop.min_delta;
            rules.number("train.early_stop.min_delta", delta, delta >= 0.0, "at least 0");
        }
    }
    if let Some(workers) = sections.workers {
        fleet(workers, sections.train.map(|train| train.lanes), rules);
    }
    if let Some(CheckpointSpec { every: _, keep, keep_every }) = sections.checkpoint {
        rules.whole("checkpoint.keep", *keep, 1..=CHECKPOINTS_MAX as u64);
        if let Some(steps) = keep_every {
            rules.whole("checkpoint.keep_every", *steps, 1..=STEPS_MAX);
        }
    }
}

fn batch(train: &TrainSpec, rules: &mut Rules) {
    let TrainSpec { batch_size, lanes, .. } = *train;
    rules.whole("train.batch_size", batch_size, 1..=u64::from(BATCH_SIZE_MAX));
    rules.whole("train.lanes", lanes, 1..=u64::from(LANES_MAX));
    // What is out of range has been told, and cannot be counted with.
    let applies = (1..=BATCH_SIZE_MAX).contains(&batch_size) && (1..=LANES_MAX).contains(&lanes);
    rules.require(
        !applies || batch_size.is_multiple_of(lanes),
        ["train.lanes", "train.batch_size"],
        || {
            let divides = |lanes: &u32| batch_size.is_multiple_of(*lanes);
            let fewer = (1..lanes).rev().find(divides).map(|lanes| lanes.to_string());
            let more = (lanes..=LANES_MAX).find(divides).map(|lanes| lanes.to_string());
            let fits = listed(fewer.iter().chain(&more).map(String::as_str), "or");
            let below = batch_size - batch_size % lanes;
            let sizes = [below, below + lanes].map(|size| size.to_string());
            let sizes = listed(sizes.iter().map(String::as_str).filter(|size| *size != "0"), "or");
            format!(
                "`train.lanes` must divide `train.batch_size`: {batch_size} samples cannot be cut into {lanes} equal \
                 lanes; take {fits} lanes, or a batch of {sizes}"
            )
        },
    );
}

fn duration(train: &TrainSpec, rules: &mut Rules) {
    match (train.epochs, train.steps) {
        (None, None) => rules.require(false, ["train", "train.epochs", "train.steps"], || {
            "`train` does not say how long: give `epochs` or `steps`".to_owned()
        }),
        (Some(_), Some(_)) => rules.require(false, ["train.steps", "train.epochs"], || {
            "`train` has both `epochs` and `steps`: keep one".to_owned()
        }),
        (Some(epochs), None) => rules.whole("train.epochs", epochs, 1..=u64::from(u32::MAX)),
        (None, Some(steps)) => rules.whole("train.steps", steps, 1..=STEPS_MAX),
    }
}

fn optimizer(optimizer: &OptimizerSpec, rules: &mut Rules) {
    use Optimizer::{Adagrad, Adam, Adamw, Adan, Lamb, Lion, Muon, Rmsprop, Sgd};
    let OptimizerSpec { kind, weight_decay, momentum, nesterov, beta_1, beta_2, epsilon } = *optimizer;
    let decay = (0.0..=1.0).contains(&weight_decay);
    rules.number("train.optimizer.weight_decay", weight_decay, decay, "from 0 to 1");
    let mut only = |key: &str, given: bool, kinds: &[Optimizer]| {
        let path = format!("train.optimizer.{key}");
        rules.require(!given || kinds.contains(&kind), [&path, "train.optimizer.kind"], || {
            let kinds = listed(kinds.iter().map(|kind| optimizer_name(*kind)), "and");
            format!("`{path}` is a setting of {kinds}, but the optimizer is `{}`", optimizer_name(kind))
        });
    };
    only("momentum", momentum.is_some(), &[Sgd, Rmsprop, Muon]);
    only("nesterov", nesterov.is_some(), &[Sgd, Muon]);
    only("beta_1", beta_1.is_some(), &[Adam, Adamw, Adan, Lamb, Lion, Muon]);
    only("beta_2", beta_2.is_some(), &[Adam, Adamw, Adan, Lamb, Lion, Muon]);
    only("epsilon", epsilon.is_some(), &[Adam, Adamw, Adagrad, Rmsprop, Adan, Lamb, Muon]);
    for (key, value) in [("momentum", momentum), ("beta_1", beta_1), ("beta_2", beta_2)] {
        if let Some(value) = value {
            rules.share_below_one(&format!("train.optimizer.{key}"), value);
        }
    }
    if let Some(epsilon) = epsilon {
        rules.number("train.optimizer.epsilon", epsilon, epsilon > 0.0, "above 0");
    }
    let lacks_momentum =
        nesterov == Some(true) && kind == Sgd && momentum.is_none_or(|momentum| momentum == 0.0);
    rules.require(
        !lacks_momentum,
        ["train.optimizer.nesterov", "train.optimizer.momentum", "train.optimizer.kind"],
        || "`train.optimizer.nesterov` needs a `momentum` above 0".to_owned(),
    );
}

fn optimizer_name(kind: Optimizer) -> &'static str {
    match kind {
        Optimizer::Sgd => "sgd",
        Optimizer::Adam => "adam",
        Optimizer::Adamw => "adamw",
        Optimizer::Adagrad => "adagrad",
        Optimizer::Rmsprop => "rmsprop",
        Optimizer::Adan => "adan",
        Optimizer::Adafactor => "adafactor",
        Optimizer::Lamb => "lamb",
        Optimizer::Lion => "lion",
        Optimizer::Muon => "muon",
    }
}

fn schedule(train: &TrainSpec, schedule: &ScheduleSpec, rules: &mut Rules) {
    let ScheduleSpec { kind, warmup_steps, final_learning_rate: last, gamma, every_steps } = *schedule;
    let (falls_to, has_gamma, has_steps) = match kind {
        Schedule::Constant | Schedule::Noam => (false, false, false),
        Schedule::Linear | Schedule::Cosine => (true, false, false),
        Schedule::Exponential => (false, true, false),
        Schedule::Step => (false, true, true),
    };
    let mut fits = |key: &str, given: bool, wanted: bool, needed: bool, kinds: &str| {
        let path = format!("train.schedule.{key}");
        rules.require(!given || wanted, [&path, "train.schedule.kind"], || {
            format!("`{path}` is a setting of {kinds}, but the schedule is `{}`", schedule_name(kind))
        });
        rules.require(given || !needed, ["train.schedule.kind", &path], || {
            format!("the schedule `{}` needs `{path}`", schedule_name(kind))
        });
    };
    fits("final_learning_rate", last != 0.0, falls_to, false, "`linear` and `cosine`");
    fits("gamma", gamma.is_some(), has_gamma, has_gamma, "`exponential` and `step`");
    fits("every_steps", every_steps.is_some(), has_steps, has_steps, "`step`");
    let rate = train.learning_rate;
    let falls = last == 0.0 || (last > 0.0 && last <= rate);
    rules.require(falls, ["train.schedule.final_learning_rate", "train.learning_rate"], || {
        format!(
            "`train.schedule.final_learning_rate` must be from 0 to the learning rate of {rate}, got {last}"
        )
    });
    if let Some(gamma) = gamma {
        rules.number("train.schedule.gamma", gamma, gamma > 0.0 && gamma <= 1.0, "above 0 and at most 1");
    }
    if let Some(every) = every_steps {
        rules.whole("train.schedule.every_steps", every, 1..=STEPS_MAX);
    }
    rules.whole("train.schedule.warmup_steps", warmup_steps, 0..=STEPS_MAX);
    rules.require(kind != Schedule::Noam || warmup_steps > 0, ["train.schedule.kind"], || {
        "the schedule `noam` needs `train.schedule.warmup_steps` of at least 1".to_owned()
    });
    if let Some(steps) = train.steps {
        rules.require(
            warmup_steps == 0 || warmup_steps < steps,
            ["train.schedule.warmup_steps", "train.steps"],
            || {
                format!(
                    "`train.schedule.warmup_steps` must be fewer than the job's {steps} steps, got {warmup_steps}"
                )
            },
        );
    }
}

fn schedule_name(kind: Schedule) -> &'static str {
    match kind {
        Schedule::Constant => "constant",
        Schedule::Linear => "linear",
        Schedule::Cosine => "cosine",
        Schedule::Exponential => "exponential",
        Schedule::Step => "step",
        Schedule::Noam => "noam",
    }
}

fn fleet(workers: &WorkersSpec, lanes: Option<u32>, rules: &mut Rules) {
    let WorkersSpec { min, start, max, evict_stragglers: _ } = *workers;
    for (key, count) in [("min", min), ("start", start), ("max", max)] {
        let Some(count) = count else { continue };
        let path = format!("workers.{key}");
        rules.require(count >= 1, [&path], || format!("`{path}` must be at least 1, got 0"));
        if let Some(lanes) = lanes {
            rules.require(count <= lanes, [&path, "train.lanes"], || {
                format!(
                    "`{path}` must be at most the job's {lanes} lanes, got {count}: every worker needs a lane"
                )
            });
        }
    }
    for (key, fewest) in [("min", min), ("start", start)] {
        if let (Some(fewest), Some(max)) = (fewest, max) {
            let path = format!("workers.{key}");
            rules.require(fewest <= max, [&path, "workers.max"], || {
                format!("`{path}` must be at most `workers.max`, got {fewest} and {max}")
            });
        }
    }
}
