//! Whether a ledger shows that every sample was taken exactly once.
//!
//! A ledger is right, up to a step, where
//!
//! 1. every step up to there has a record of each lane, and no record is of a lane or a step that
//!    the job does not have;
//! 2. records of one lane in one step agree in what was taken, whichever generation made them;
//! 3. in each step, the lanes' samples follow one another in the order of lanes, and are as many
//!    as a batch has;
//! 4. the first step begins with the first sample of the first epoch, and each other one where the
//!    one before has ended, or with the next epoch where fewer samples are left than a batch has;
//! 5. no epoch has more samples than the training split.
//!
//! By 3 to 5 each place of an epoch's order, up to its last whole batch, is in exactly one step.
//! Which row stands at a place is the order's affair, a permutation (`phalanx-data`); by 2 it was
//! the same row each time.
//!
//! Pure: records go in one by one and in any order, a verdict comes out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Entry, Taken};
use crate::id::Generation;

/// The most violations that a verdict tells; all are counted.
const TOLD_MAX: usize = 20;

/// What the job is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its lanes.
    pub lanes: u32,
    /// Samples of one step.
    pub batch_size: u32,
    /// Rows of the training split.
    pub train_rows: u64,
    /// Steps of which the ledger must tell: those in the newest checkpoint, or all of a finished job.
    pub steps: u64,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Violation {
    /// The step, from 1.
    pub step: u64,
    /// The lane; absent where it concerns all of them.
    pub lane: Option<u32>,
    /// What is wrong, in words.
    pub what: String,
}

/// What a ledger shows. Field names are stable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Steps that were checked.
    pub steps: u64,
    /// Samples in them.
    pub samples: u64,
    /// Epochs that they are of; the last one may not be at its end.
    pub epochs: u64,
    /// Generations that made them.
    pub generations: u64,
    /// Steps that more than one generation has made.
    pub steps_repeated: u64,
    /// Records that were read.
    pub records: u64,
    /// What is wrong, in all.
    pub violation_count: u64,
    /// The first of it, by step and lane.
    pub violations: Vec<Violation>,
}

/// What is seen of one lane in one step.
#[derive(Debug, Clone, Copy)]
struct Seen {
    taken: Taken,
    generation: Generation,
}

/// A check under way.
#[derive(Debug)]
pub struct Audit {
    expected: Expected,
    /// By step, then by lane.
    seen: BTreeMap<u64, Vec<Option<Seen>>>,
    generations: BTreeSet<Generation>,
    repeated: BTreeSet<u64>,
    records: u64,
    violation_count: u64,
    /// The first of them, in order.
    violations: BTreeSet<Violation>,
}

impl Audit {
    /// Begins without any records.
    pub fn new(expected: Expected) -> Self {
        Self {
            expected,
            seen: BTreeMap::new(),
            generations: BTreeSet::new(),
            repeated: BTreeSet::new(),
            records: 0,
            violation_count: 0,
            violations: BTreeSet::new(),
        }
    }

    /// Takes a record. Those of steps after the last one that is checked are held to rule 1 and 2.
    pub fn take(&mut self, entry: Entry) {
        let Entry { step, lane, generation, taken } = entry;
        self.records += 1;
        if step == 0 || lane >= self.expected.lanes {
            let lanes = self.expected.lanes;
            return self.violated(
                step,
                Some(lane),
                format!("the job has no such lane or step: it has {lanes} lanes, and steps count from 1"),
            );
        }
        if step <= self.expected.steps {
            self.generations.insert(generation);
        }
        let lanes = self.seen.entry(step).or_insert_with(|| vec![None; self.expected.lanes as usize]);
        let place = &mut lanes[lane as usize];
        let Some(seen) = *place else {
            *place = Some(Seen { taken, generation });
            return;
        };
        if seen.generation != generation && step <= self.expected.steps {
            self.repeated.insert(step);
        }
        if seen.taken != taken {
            let (first, second) = (described(&seen.taken), described(&taken));
            let what =
                format!("generation {} took {first}, generation {generation} {second}", seen.generation);
            self.violated(step, Some(lane), what);
        }
    }

    /// The verdict.
    pub fn finish(mut self) -> Verdict {
        let mut verdict = Verdict {
            steps: self.expected.steps,
            generations: self.generations.len() as u64,
            steps_repeated: self.repeated.len() as u64,
            records: self.records,
            ..Verdict::default()
        };
        let mut next = Some(Place::default());
        let mut step = 1;
        while step <= self.expected.steps {
            let Some(lanes) = self.seen.remove(&step) else {
                step = self.missing(step);
                next = None;
                continue;
            };
            let begin = next.map(|place| place.before_a_step(&self.expected));
            next = self.check_step(step, &lanes, begin, &mut verdict);
            step += 1;
        }
        verdict.violation_count = self.violation_count;
        verdict.violations = self.violations.into_iter().collect();
        verdict
    }

    /// Notes the steps from `step` on that nobody has recorded; returns the one after them.
    fn missing(&mut self, step: u64) -> u64 {
        let end = self.seen.range(step..).next().map_or(u64::MAX, |(recorded, _)| *recorded);
        let end = end.min(self.expected.steps + 1);
        let steps = if end - step == 1 {
            "it".to_owned()
        } else {
            format!("it and the {} steps after it", end - step - 1)
        };
        self.violated(step, None, format!("nobody has recorded {steps}"));
        end
    }

    /// Holds a step to the rules; returns where it ends. Where it should begin is not known after
    /// something that is missing.
    fn check_step(
        &mut self,
        step: u64,
        lanes: &[Option<Seen>],
        begin: Option<Place>,
        verdict: &mut Verdict,
    ) -> Option<Place> {
        let mut next = begin;
        let mut samples = 0;
        for (lane, seen) in (0..).zip(lanes) {
            let Some(Seen { taken, .. }) = seen else {
                self.violated(step, Some(lane), "nobody has recorded it".to_owned());
                next = None;
                continue;
            };
            let found = Place { epoch: taken.epoch, sample: taken.first };
            if let Some(expected) = next.filter(|expected| *expected != found) {
                self.violated(
                    step,
                    Some(lane),
                    format!("it took {}, expected them to begin {expected}", described(taken)),
                );
            }
            let end = taken.first.saturating_add(taken.rows.into());
            if end > self.expected.train_rows {
                let rows = self.expected.train_rows;
                self.violated(
                    step,
                    Some(lane),
                    format!("it took {}, but the training split has {rows} rows", described(taken)),
                );
            }
            samples += u64::from(taken.rows);
            verdict.epochs = verdict.epochs.max(taken.epoch.saturating_add(1));
            next = Some(Place { epoch: taken.epoch, sample: end });
        }
        verdict.samples += samples;
        let batch_size = u64::from(self.expected.batch_size);
        if lanes.iter().all(Option::is_some) && samples != batch_size {
            self.violated(step, None, format!("its lanes took {samples} samples, expected {batch_size}"));
        }
        next
    }

    fn violated(&mut self, step: u64, lane: Option<u32>, what: String) {
        self.violation_count += 1;
        self.violations.insert(Violation { step, lane, what });
        if self.violations.len() > TOLD_MAX {
            self.violations.pop_last();
        }
    }
}

impl Verdict {
    /// Whether every sample was taken exactly once.
    pub fn is_right(&self) -> bool {
        self.violation_count == 0
    }
}

/// A place in the order of all epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Place {
    epoch: u64,
    sample: u64,
}

impl Place {
    /// Where a step begins after one that has ended here.
    fn before_a_step(self, expected: &Expected) -> Self {
        let fits = self.sample.saturating_add(expected.batch_size.into()) <= expected.train_rows;
        if fits { self } else { Self { epoch: self.epoch.saturating_add(1), sample: 0 } }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at sample {} of epoch {}", self.sample, self.epoch)
    }
}

/// Samples in words.
fn described(taken: &Taken) -> String {
    let Taken { epoch, first, rows, digest } = taken;
    format!("{rows} samples from {first} on of epoch {epoch} (rows {digest:016x})")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPECTED: Expected = Expected { lanes: 2, batch_size: 8, train_rows: 20, steps: 5 };

    /// A right ledger: two steps an epoch, with four rows left over.
    fn right(expected: &Expected) -> Vec<Entry> {
        let per_epoch = expected.train_rows / u64::from(expected.batch_size);
        let rows = expected.batch_size / expected.lanes;
        let lanes = |step: u64| (0..expected.lanes).map(move |lane| (step, lane));
        let entry = |(step, lane): (u64, u32)| {
            let (epoch, nth) = ((step - 1) / per_epoch, (step - 1) % per_epoch);
            let first = nth * u64::from(expected.batch_size) + u64::from(lane * rows);
            let taken = Taken { epoch, first, rows, digest: epoch << 32 | first };
            Entry { step, lane, generation: Generation::new(1), taken }
        };
        (1..=expected.steps).flat_map(lanes).map(entry).collect()
    }

    fn audit(expected: Expected, entries: impl IntoIterator<Item = Entry>) -> Verdict {
        let mut audit = Audit::new(expected);
        entries.into_iter().for_each(|entry| audit.take(entry));
        audit.finish()
    }

    /// What is told first of a ledger that was right before `spoil`.
    fn check(spoil: impl FnOnce(&mut Vec<Entry>), told: &str) {
        let mut entries = right(&EXPECTED);
        spoil(&mut entries);
        let verdict = audit(EXPECTED, entries);
        assert!(!verdict.is_right());
        let first = &verdict.violations[0];
        let place = first.lane.map_or(String::new(), |lane| format!(" lane {lane}"));
        assert_eq!(format!("step {}{place}: {}", first.step, first.what), told);
    }

    #[test]
    fn a_right_ledger_is_found_right() {
        let verdict = audit(EXPECTED, right(&EXPECTED));
        assert!(verdict.is_right(), "{verdict:?}");
        let Verdict { steps, samples, epochs, generations, steps_repeated, records, .. } = verdict;
        assert_eq!((steps, samples, epochs), (5, 40, 3));
        assert_eq!((generations, steps_repeated, records), (1, 0, 10));
    }

    #[test]
    fn what_is_missing_is_told() {
        check(|entries| _ = entries.remove(3), "step 2 lane 1: nobody has recorded it");
        check(|entries| _ = entries.drain(2..4), "step 2: nobody has recorded it");
        check(|entries| entries.truncate(2), "step 2: nobody has recorded it and the 3 steps after it");
    }

    #[test]
    fn what_overlaps_or_leaves_a_gap_is_told() {
        let begins = |what: &str| {
            format!(
                "step 2 lane 0: it took 4 samples from {what}, expected them to begin at sample 8 of epoch 0"
            )
        };
        check(|entries| entries[2].taken.first = 7, &begins("7 on of epoch 0 (rows 0000000000000008)"));
        check(|entries| entries[2].taken.first = 9, &begins("9 on of epoch 0 (rows 0000000000000008)"));
        check(|entries| entries[2].taken.epoch = 1, &begins("8 on of epoch 1 (rows 0000000000000008)"));
    }

    #[test]
    fn what_is_not_of_the_job_is_told() {
        check(|entries| entries[9].taken.rows = 5, "step 5: its lanes took 9 samples, expected 8");
        let no_lane = "the job has no such lane or step: it has 2 lanes, and steps count from 1";
        check(|entries| entries[3].lane = 2, "step 2 lane 1: nobody has recorded it");
        check(|entries| entries.push(Entry { step: 0, ..entries[0] }), &format!("step 0 lane 0: {no_lane}"));
        let beyond = "it took 4 samples from 18 on of epoch 2 (rows 0000000200000004), but the training split has 20 rows";
        check(|entries| entries[9].taken.first = 18, &format!("step 5 lane 1: {beyond}"));
    }

    #[test]
    fn a_step_that_is_made_again_must_have_read_the_same_rows() {
        let again = |digest| {
            move |entries: &mut Vec<Entry>| {
                let taken = Taken { digest, ..entries[4].taken };
                entries.push(Entry { generation: Generation::new(2), taken, ..entries[4] });
            }
        };
        let mut entries = right(&EXPECTED);
        let same = entries[4].taken.digest;
        again(same)(&mut entries);
        let verdict = audit(EXPECTED, entries);
        assert!(verdict.is_right());
        assert_eq!((verdict.generations, verdict.steps_repeated), (2, 1));
        check(
            again(7),
            "step 3 lane 0: generation 1 took 4 samples from 0 on of epoch 1 (rows 0000000100000000), \
             generation 2 4 samples from 0 on of epoch 1 (rows 0000000000000007)",
        );
    }

    #[test]
    fn steps_beyond_the_last_that_is_checked_may_be_incomplete() {
        let expected = Expected { steps: 3, ..EXPECTED };
        let mut entries = right(&EXPECTED);
        entries.pop();
        let verdict = audit(expected, entries);
        assert!(verdict.is_right(), "{verdict:?}");
        assert_eq!((verdict.steps, verdict.samples), (3, 24));
    }

    #[test]
    fn a_verdict_stays_short() {
        let none = Entry { step: 0, ..right(&EXPECTED)[0] };
        let verdict = audit(EXPECTED, (0..1_000).map(|lane| Entry { lane, ..none }));
        assert_eq!((verdict.violation_count, verdict.violations.len()), (1_001, TOLD_MAX));
    }

    prop_compose! {
        fn job()(lanes in 1_u32..6, lane_rows in 1_u32..5, batches in 1_u64..5, rest in 0_u64..20, steps in 1_u64..20)
            -> Expected
        {
            let batch_size = lanes * lane_rows;
            let train_rows = batches * u64::from(batch_size) + rest % u64::from(batch_size);
            Expected { lanes, batch_size, train_rows, steps }
        }
    }

    /// Whether each place of each epoch, up to its last whole batch, is in exactly one step.
    fn takes_each_once(expected: &Expected, entries: &[Entry]) -> bool {
        let mut times = BTreeMap::new();
        for Taken { epoch, first, rows, .. } in entries.iter().map(|entry| entry.taken) {
            (first..first + u64::from(rows)).for_each(|at| *times.entry((epoch, at)).or_insert(0) += 1);
        }
        let samples = expected.steps * u64::from(expected.batch_size);
        let per_epoch = expected.train_rows - expected.train_rows % u64::from(expected.batch_size);
        let all = (0..samples).map(|sample| (sample / per_epoch, sample % per_epoch));
        times.into_iter().eq(all.map(|place| (place, 1)))
    }

    proptest! {
        #[test]
        fn any_history_of_a_right_job_is_right(
            expected in job(),
            again in prop::collection::vec((any::<prop::sample::Index>(), 1_u64..4), 0..20),
            seed: u64,
        ) {
            let mut entries = right(&expected);
            prop_assert!(takes_each_once(&expected, &entries));
            for (index, generation) in again {
                let generation = Generation::new(generation);
                entries.push(Entry { generation, ..entries[index.index(entries.len())] });
            }
            // Any order will do.
            entries.sort_by_key(|entry| entry.step.wrapping_mul(seed | 1) ^ u64::from(entry.lane));
            let verdict = audit(expected, entries);
            prop_assert!(verdict.is_right(), "{:?}", verdict.violations);
            prop_assert_eq!(verdict.samples, expected.steps * u64::from(expected.batch_size));
        }

        #[test]
        fn a_ledger_that_takes_a_sample_twice_or_never_is_wrong(
            expected in job(),
            at: prop::sample::Index,
            epoch in 0_u64..3,
            first in 0_u64..30,
            rows in 0_u32..6,
        ) {
            let mut entries = right(&expected);
            let spoiled = at.index(entries.len());
            let digest = entries[spoiled].taken.digest;
            entries[spoiled].taken = Taken { epoch, first, rows, digest };
            let verdict = audit(expected, entries.clone());
            prop_assert_eq!(verdict.is_right(), entries == right(&expected));
            prop_assert!(!verdict.is_right() || takes_each_once(&expected, &entries));
        }
    }
}
