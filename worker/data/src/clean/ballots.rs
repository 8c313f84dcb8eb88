//! Ballots: what annotators, or rules, say of the rows of a batch. One label is made of them, row by row,
//! and they are counted, to tell how far they agree.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::{Array as _, ArrayRef, Float64Array, StringArray};
use phalanx_protocol::spec::VoteBy;

use crate::agreement::{LabelReport, LabelSource, PairAgreement, cohen_kappa, fleiss_kappa};

/// The most different labels that are counted. More are no classes.
const LABELS_MAX: usize = 1_000;

/// Votes that differ by less are equal: 0.1 + 0.2 is 0.3 here.
const EQUAL: f64 = 1e-9;

/// What some say of the rows of a batch. All have as many cells.
#[derive(Debug)]
pub(super) struct Ballots {
    pub(super) cells: Cells,
    /// What the vote of each counts.
    pub(super) weights: Vec<f64>,
    /// Labels that are there before and stay.
    pub(super) given: Option<StringArray>,
}

/// The cells of each.
#[derive(Debug)]
pub(super) enum Cells {
    Labels(Vec<StringArray>),
    Numbers(Vec<Float64Array>, VoteBy),
}

/// What was counted of ballots.
#[derive(Debug, Default)]
pub(super) struct Count {
    rows: u64,
    labelled: u64,
    tied: u64,
    sources: BTreeMap<usize, Source>,
    pairs: BTreeMap<(usize, usize), Pair>,
    /// Of rows that so many have labelled, how many they are, and the squares of how many have given each label.
    raters: BTreeMap<u64, (u64, u64)>,
    /// How often each label was given to such rows.
    labels: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Source {
    labelled: u64,
    overlaps: u64,
    conflicts: u64,
    judged: (u64, u64),
}

#[derive(Debug, Default)]
struct Pair {
    rows: u64,
    same: u64,
    counts: BTreeMap<(String, String), u64>,
    difference: f64,
}

/// What becomes of a row.
enum Verdict<T> {
    Label(T),
    Tied,
    Nobody,
}

impl<T> Verdict<T> {
    fn label(self) -> Option<T> {
        match self {
            Self::Label(label) => Some(label),
            Self::Tied | Self::Nobody => None,
        }
    }
}

impl Ballots {
    fn rows(&self) -> usize {
        match &self.cells {
            Cells::Labels(cells) => cells.first().map_or(0, |cells| cells.len()),
            Cells::Numbers(cells, _) => cells.first().map_or(0, |cells| cells.len()),
        }
    }

    /// One label for each row.
    pub(super) fn labels(&self) -> ArrayRef {
        match &self.cells {
            Cells::Labels(cells) => {
                let label = |row| self.given(row).or_else(|| self.majority(cells, row).label());
                Arc::new((0..self.rows()).map(label).collect::<StringArray>())
            }
            Cells::Numbers(cells, by) => {
                let number = |row| self.middle(cells, *by, row).label();
                Arc::new((0..self.rows()).map(number).collect::<Float64Array>())
            }
        }
    }

    fn given(&self, row: usize) -> Option<&str> {
        self.given.as_ref().filter(|given| given.is_valid(row)).map(|given| given.value(row))
    }

    fn majority<'a>(&self, cells: &'a [StringArray], row: usize) -> Verdict<&'a str> {
        let mut votes: BTreeMap<&str, f64> = BTreeMap::new();
        for (cells, weight) in cells.iter().zip(&self.weights) {
            if cells.is_valid(row) {
                *votes.entry(cells.value(row)).or_default() += weight;
            }
        }
        let Some(most) = votes.values().copied().reduce(f64::max) else { return Verdict::Nobody };
        let mut first = votes.iter().filter(|(_, votes)| **votes >= most * (1.0 - EQUAL));
        match (first.next(), first.next()) {
            (Some((label, _)), None) if most > 0.0 => Verdict::Label(label),
            _ => Verdict::Tied,
        }
    }

    fn middle(&self, cells: &[Float64Array], by: VoteBy, row: usize) -> Verdict<f64> {
        let there =
            cells.iter().zip(&self.weights).filter(|(cells, weight)| cells.is_valid(row) && **weight > 0.0);
        let mut votes: Vec<(f64, f64)> = there.map(|(cells, weight)| (cells.value(row), *weight)).collect();
        let all: f64 = votes.iter().map(|(_, weight)| weight).sum();
        if votes.is_empty() {
            return Verdict::Nobody;
        }
        if by == VoteBy::Mean {
            return Verdict::Label(votes.iter().map(|(number, weight)| number * weight).sum::<f64>() / all);
        }
        votes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut below = 0.0;
        for (place, (number, weight)) in votes.iter().enumerate() {
            below += weight;
            if below > all / 2.0 + all * EQUAL {
                return Verdict::Label(*number);
            }
            if below >= all / 2.0 - all * EQUAL {
                let next = votes.get(place + 1).map_or(*number, |(next, _)| *next);
                return Verdict::Label(f64::midpoint(*number, next));
            }
        }
        Verdict::Nobody
    }

    /// Counts them.
    pub(super) fn count(&self) -> Count {
        let mut count = Count { rows: self.rows() as u64, ..Count::default() };
        for row in 0..self.rows() {
            match &self.cells {
                Cells::Labels(cells) => {
                    let there = cells.iter().enumerate().filter(|(_, cells)| cells.is_valid(row));
                    let said: Vec<(usize, &str)> =
                        there.map(|(source, cells)| (source, cells.value(row))).collect();
                    count.labels(&said, self.given(row));
                    match (self.given(row), self.majority(cells, row)) {
                        (Some(_), _) | (None, Verdict::Label(_)) => count.labelled += 1,
                        (None, Verdict::Tied) => count.tied += 1,
                        (None, Verdict::Nobody) => {}
                    }
                }
                Cells::Numbers(cells, _) => {
                    let there = cells.iter().enumerate().filter(|(_, cells)| cells.is_valid(row));
                    let said: Vec<(usize, f64)> =
                        there.map(|(source, cells)| (source, cells.value(row))).collect();
                    count.numbers(&said);
                    count.labelled += u64::from(!said.is_empty());
                }
            }
        }
        count
    }
}

impl Count {
    fn labels(&mut self, said: &[(usize, &str)], given: Option<&str>) {
        self.sources(said);
        for (source, label) in said {
            if let Some(given) = given {
                let judged = &mut self.sources.entry(*source).or_default().judged;
                *judged = (judged.0 + 1, judged.1 + u64::from(given == *label));
            }
        }
        for (place, (a, ours)) in said.iter().enumerate() {
            for (b, theirs) in &said[place + 1..] {
                let pair = self.pair(*a, *b, ours == theirs);
                let counted = ((*ours).to_owned(), (*theirs).to_owned());
                *pair.counts.entry(counted).or_default() += 1;
            }
        }
        if said.len() > 1 {
            let mut of_label: BTreeMap<&str, u64> = BTreeMap::new();
            said.iter().for_each(|(_, label)| *of_label.entry(label).or_default() += 1);
            let (rows, squares) = self.raters.entry(said.len() as u64).or_default();
            *rows += 1;
            *squares += of_label.values().map(|count| count * count).sum::<u64>();
            of_label
                .into_iter()
                .for_each(|(label, count)| *self.labels.entry(label.to_owned()).or_default() += count);
        }
    }

    fn numbers(&mut self, said: &[(usize, f64)]) {
        self.sources(said);
        for (place, (a, ours)) in said.iter().enumerate() {
            for (b, theirs) in &said[place + 1..] {
                self.pair(*a, *b, ours == theirs).difference += (ours - theirs).abs();
            }
        }
    }

    fn sources<T: PartialEq>(&mut self, said: &[(usize, T)]) {
        for (source, label) in said {
            let counted = self.sources.entry(*source).or_default();
            counted.labelled += 1;
            counted.overlaps += u64::from(said.len() > 1);
            counted.conflicts += u64::from(said.iter().any(|(_, other)| other != label));
        }
    }

    fn pair(&mut self, a: usize, b: usize, same: bool) -> &mut Pair {
        let pair = self.pairs.entry((a, b)).or_default();
        pair.rows += 1;
        pair.same += u64::from(same);
        pair
    }

    /// Adds that of later rows.
    pub(super) fn add(&mut self, later: Self) -> Result<(), String> {
        self.rows += later.rows;
        self.labelled += later.labelled;
        self.tied += later.tied;
        for (source, more) in later.sources {
            let ours = self.sources.entry(source).or_default();
            ours.labelled += more.labelled;
            ours.overlaps += more.overlaps;
            ours.conflicts += more.conflicts;
            ours.judged = (ours.judged.0 + more.judged.0, ours.judged.1 + more.judged.1);
        }
        for (between, more) in later.pairs {
            let ours = self.pairs.entry(between).or_default();
            ours.rows += more.rows;
            ours.same += more.same;
            ours.difference += more.difference;
            more.counts
                .into_iter()
                .for_each(|(labels, count)| *ours.counts.entry(labels).or_default() += count);
        }
        for (raters, (rows, squares)) in later.raters {
            let ours = self.raters.entry(raters).or_default();
            *ours = (ours.0 + rows, ours.1 + squares);
        }
        later.labels.into_iter().for_each(|(label, count)| *self.labels.entry(label).or_default() += count);
        match self.labels.len() > LABELS_MAX {
            true => Err(format!(
                "there are more than {LABELS_MAX} different labels; if they are numbers, set `by = \"mean\"` or `\"median\"`"
            )),
            false => Ok(()),
        }
    }

    /// What was counted of these sources, with these weights; `rules` are judged by labels that were there before.
    pub(super) fn report(&self, into: &str, names: &[String], weights: &[f64], rules: bool) -> LabelReport {
        let source = |(number, (name, weight)): (usize, (&String, &f64))| {
            let counted = self.sources.get(&number).copied().unwrap_or_default();
            LabelSource {
                name: name.clone(),
                weight: *weight,
                labelled: counted.labelled,
                overlaps: counted.overlaps,
                conflicts: counted.conflicts,
                judged: Some(counted.judged).filter(|(rows, _)| rules && *rows > 0),
            }
        };
        let pair = |(&(a, b), pair): (&(usize, usize), &Pair)| {
            let counts = pair.counts.iter().map(|((a, b), count)| ((a.as_str(), b.as_str()), *count));
            PairAgreement {
                a: names[a].clone(),
                b: names[b].clone(),
                rows: pair.rows,
                same: pair.same,
                cohen_kappa: cohen_kappa(counts),
                difference: pair.counts.is_empty().then(|| pair.difference / pair.rows.max(1) as f64),
            }
        };
        let raters = self.raters.iter().map(|(raters, counted)| (*raters, *counted));
        LabelReport {
            into: into.to_owned(),
            rows: self.rows,
            labelled: self.labelled,
            tied: self.tied,
            sources: names.iter().zip(weights).enumerate().map(source).collect(),
            pairs: self.pairs.iter().map(pair).collect(),
            fleiss_kappa: fleiss_kappa(raters, self.labels.values()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballots(cells: &[[Option<&str>; 3]], weights: [f64; 3]) -> Ballots {
        let column = |source: usize| cells.iter().map(|row| row[source]).collect::<StringArray>();
        Ballots { cells: Cells::Labels((0..3).map(column).collect()), weights: weights.to_vec(), given: None }
    }

    #[test]
    fn the_label_with_the_most_votes_wins_and_equal_votes_give_none() {
        let check = |row: [Option<&str>; 3], weights: [f64; 3], expected: Option<&str>| {
            let labels = ballots(&[row], weights).labels();
            let labels = labels.as_any().downcast_ref::<StringArray>().unwrap();
            assert_eq!(labels.iter().next().unwrap(), expected, "{row:?} {weights:?}");
        };
        check([Some("a"), Some("b"), Some("a")], [1.0; 3], Some("a"));
        check([Some("a"), Some("b"), None], [1.0; 3], None);
        check([Some("a"), Some("b"), None], [1.0, 2.0, 1.0], Some("b"));
        check([Some("a"), Some("a"), Some("b")], [0.1, 0.2, 0.3], None);
        check([None; 3], [1.0; 3], None);
        check([Some("a"), None, None], [0.0, 1.0, 1.0], None);
    }

    #[test]
    fn numbers_meet_in_the_middle() {
        let check = |row: [Option<f64>; 3], weights: [f64; 3], by: VoteBy, expected: Option<f64>| {
            let cells = row.iter().map(|cell| Float64Array::from(vec![*cell])).collect();
            let ballots =
                Ballots { cells: Cells::Numbers(cells, by), weights: weights.to_vec(), given: None };
            let labels = ballots.labels();
            let labels = labels.as_any().downcast_ref::<Float64Array>().unwrap();
            assert_eq!(labels.iter().next().unwrap(), expected, "{row:?} {weights:?}");
        };
        check([Some(1.0), Some(2.0), Some(9.0)], [1.0; 3], VoteBy::Mean, Some(4.0));
        check([Some(1.0), Some(2.0), Some(9.0)], [1.0; 3], VoteBy::Median, Some(2.0));
        check([Some(9.0), None, Some(2.0)], [1.0; 3], VoteBy::Median, Some(5.5));
        check([Some(9.0), None, Some(2.0)], [3.0, 1.0, 1.0], VoteBy::Median, Some(9.0));
        check([None; 3], [1.0; 3], VoteBy::Mean, None);
    }

    #[test]
    fn who_contradicts_whom_is_counted_the_same_in_parts() {
        let rows = [
            [Some("a"), Some("a"), None],
            [Some("a"), Some("b"), Some("a")],
            [Some("b"), None, None],
            [None, Some("b"), Some("a")],
        ];
        let names = ["x", "y", "z"].map(str::to_owned);
        let whole = ballots(&rows, [1.0; 3]).count().report("l", &names, &[1.0; 3], false);
        let mut parts = ballots(&rows[..1], [1.0; 3]).count();
        parts.add(ballots(&rows[1..], [1.0; 3]).count()).unwrap();
        assert_eq!(parts.report("l", &names, &[1.0; 3], false), whole);
        assert_eq!((whole.rows, whole.labelled, whole.tied), (4, 3, 1));
        let x = &whole.sources[0];
        assert_eq!((x.labelled, x.overlaps, x.conflicts, x.judged), (3, 2, 1, None));
        let pairs: Vec<(&str, u64, u64)> =
            whole.pairs.iter().map(|pair| (pair.b.as_str(), pair.rows, pair.same)).collect();
        assert_eq!(pairs, [("y", 2, 1), ("z", 1, 1), ("z", 2, 0)]);
        assert_eq!(whole.sentence(), "`l`: 3 of 4 rows labelled, 1 tied, Fleiss' kappa -0.361");
    }
}
