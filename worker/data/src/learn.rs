//! What is learnt of one column from the training split, cell by cell, and the encoding that comes of it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use phalanx_protocol::spec::{CategoryEncoding, ColumnEncoding, EncodeSpec, NumberEncoding, parse_time};

use crate::{
    dates::{Date, DateRule, PartValue, is_cycle},
    encoding::{Encoding, NumberRule, logarithm, needs_sample},
    error::{CellProblem, ColumnProblem, shown},
    manifest::ColumnValues,
    moments::Moments,
    plan::{ColumnKind, ColumnPlan},
    profile::sorted,
    sample::Sample,
    source::Cells,
};

/// The most categories of a column that becomes a number for each.
pub(crate) const CATEGORIES_MAX: usize = 1_000;

/// The most categories of a column that becomes one number.
const NUMBERED_MAX: usize = 100_000;

/// What is learnt of one column.
#[derive(Debug, Clone)]
pub(crate) enum Learnt {
    Numbers(LearntNumbers),
    /// Counts of each text, up to one more than there may be.
    Categories {
        encoding: CategoryEncoding,
        counts: BTreeMap<String, u64>,
        missing: u64,
        max: usize,
    },
    /// Nothing: a hash needs none.
    Texts(Encoding),
    Dates {
        parts: Vec<(DateRule, Moments)>,
        seconds: Moments,
    },
}

/// What is learnt of numbers.
#[derive(Debug, Clone)]
pub(crate) struct LearntNumbers {
    encoding: NumberEncoding,
    moments: Moments,
    logarithms: Moments,
    sample: Option<Sample>,
}

/// Why a column cannot be learnt from.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// A cell is not what the first pass found there.
    Changed,
    /// A cell is wrong.
    Cell(usize, CellProblem),
}

impl LearntNumbers {
    /// Of one of `columns` columns or elements.
    pub(crate) fn new(encoding: NumberEncoding, columns: usize) -> Self {
        Self {
            encoding,
            moments: Moments::default(),
            logarithms: Moments::default(),
            sample: needs_sample(encoding).then(|| Sample::of_columns(columns)),
        }
    }

    pub(crate) fn add(&mut self, number: f64) {
        self.moments.add(number);
        if self.encoding == NumberEncoding::Log {
            self.logarithms.add(logarithm(number));
        }
        if let Some(sample) = &mut self.sample {
            sample.add(number);
        }
    }

    /// Of no numbers yet: for a part of them, which is then merged.
    pub(crate) fn part(&self) -> Self {
        Self {
            encoding: self.encoding,
            moments: Moments::default(),
            logarithms: Moments::default(),
            sample: self.sample.as_ref().map(|_| Sample::of(usize::MAX)),
        }
    }

    /// Adds what was learnt of a later part.
    pub(crate) fn merge(&mut self, later: Self) {
        self.moments.merge(later.moments);
        self.logarithms.merge(later.logarithms);
        if let (Some(ours), Some(theirs)) = (&mut self.sample, later.sample) {
            ours.append(theirs);
        }
    }

    pub(crate) fn moments(&self) -> &Moments {
        &self.moments
    }

    pub(crate) fn rule(self, quantiles: usize) -> NumberRule {
        let moments = match self.encoding {
            NumberEncoding::Log => self.logarithms.scale(),
            NumberEncoding::Standard
            | NumberEncoding::MinMax
            | NumberEncoding::Robust
            | NumberEncoding::Quantile
            | NumberEncoding::None => self.moments.scale(),
        };
        let sample = self.sample.unwrap_or_else(|| Sample::of(0)).sorted();
        NumberRule::fitted(self.encoding, moments, self.moments.range(), &sample, quantiles)
    }
}

impl Learnt {
    /// Of the column `plan`, one of `columns`.
    pub(crate) fn new(plan: &ColumnPlan, spec: &EncodeSpec, columns: usize) -> Self {
        let by_type = match plan.kind {
            ColumnKind::Numbers | ColumnKind::Untyped => spec.numbers.into(),
            ColumnKind::Text => spec.categories.into(),
        };
        let encoding = plan.encoding.unwrap_or(by_type);
        if let Some(encoding) = encoding.of_numbers() {
            return Self::Numbers(LearntNumbers::new(encoding, columns));
        }
        let categories =
            |encoding, max| Self::Categories { encoding, counts: BTreeMap::new(), missing: 0, max };
        let buckets = spec.buckets as usize;
        match encoding {
            ColumnEncoding::Ordinal => categories(CategoryEncoding::Ordinal, NUMBERED_MAX),
            ColumnEncoding::Frequency => categories(CategoryEncoding::Frequency, NUMBERED_MAX),
            ColumnEncoding::Hashing => Self::Texts(Encoding::Hashing { buckets }),
            ColumnEncoding::Words => Self::Texts(Encoding::Words { buckets }),
            ColumnEncoding::Date => {
                let rule = |part| (DateRule { part, scale: None }, Moments::default());
                Self::Dates {
                    parts: spec.dates.iter().copied().map(rule).collect(),
                    seconds: Moments::default(),
                }
            }
            ColumnEncoding::OneHot
            | ColumnEncoding::Standard
            | ColumnEncoding::MinMax
            | ColumnEncoding::Robust
            | ColumnEncoding::Log
            | ColumnEncoding::Quantile
            | ColumnEncoding::None => categories(CategoryEncoding::OneHot, CATEGORIES_MAX),
        }
    }

    /// Of no rows yet: for a part of them, which is then merged.
    pub(crate) fn part(&self) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(numbers.part()),
            Self::Categories { encoding, max, .. } => {
                Self::Categories { encoding: *encoding, counts: BTreeMap::new(), missing: 0, max: *max }
            }
            Self::Texts(encoding) => Self::Texts(encoding.clone()),
            Self::Dates { parts, .. } => {
                let part = |(rule, _): &(DateRule, Moments)| (rule.clone(), Moments::default());
                Self::Dates { parts: parts.iter().map(part).collect(), seconds: Moments::default() }
            }
        }
    }

    /// Adds what was learnt of a later part of the same column.
    pub(crate) fn merge(&mut self, later: Self) {
        match (self, later) {
            (Self::Numbers(ours), Self::Numbers(theirs)) => ours.merge(theirs),
            (
                Self::Categories { counts, missing, max, .. },
                Self::Categories { counts: more, missing: more_missing, .. },
            ) => {
                *missing += more_missing;
                for (text, count) in more {
                    if let Some(known) = counts.get_mut(&text) {
                        *known += count;
                    } else if counts.len() <= *max {
                        counts.insert(text, count);
                    }
                }
            }
            (Self::Dates { parts, seconds }, Self::Dates { parts: more, seconds: more_seconds }) => {
                seconds.merge(more_seconds);
                parts.iter_mut().zip(more).for_each(|((_, ours), (_, theirs))| ours.merge(theirs));
            }
            (Self::Numbers(_) | Self::Categories { .. } | Self::Texts(_) | Self::Dates { .. }, _) => {}
        }
    }

    /// Learns from the rows `train` of a column's cells.
    pub(crate) fn observe(&mut self, cells: &Cells, train: &[usize]) -> Result<(), Unfit> {
        match self {
            Self::Numbers(numbers) => {
                for row in train {
                    if let Some(number) = cells.number(*row).map_err(|_| Unfit::Changed)? {
                        numbers.add(number);
                    }
                }
            }
            Self::Categories { counts, missing, .. } => {
                let mut seen: HashMap<Cow<'_, str>, u64> = HashMap::new();
                for row in train {
                    match cells.text(*row) {
                        Some(text) => *seen.entry(text).or_default() += 1,
                        None => *missing += 1,
                    }
                }
                // A part has few rows; whoever merges parts sees to the most that are kept.
                for (text, count) in seen {
                    *counts.entry(text.into_owned()).or_default() += count;
                }
            }
            Self::Texts(_) => {}
            Self::Dates { parts, seconds } => {
                for row in train {
                    let Some(text) = cells.text(*row) else { continue };
                    let date = Date::parse(&text)
                        .ok_or_else(|| Unfit::Cell(*row, CellProblem::NotADate { found: shown(&text) }))?;
                    seconds.add(date.seconds());
                    for (rule, moments) in &mut *parts {
                        if let PartValue::Number(number) = date.part(rule.part) {
                            moments.add(number);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The encoding of the column called `name`, and what is told of its values.
    pub(crate) fn finish(
        self,
        name: &str,
        spec: &EncodeSpec,
    ) -> Result<(Encoding, ColumnValues), ColumnProblem> {
        match self {
            Self::Numbers(numbers) => {
                let values = numbers.moments().values();
                Ok((Encoding::Number(numbers.rule(spec.quantiles as usize)), values))
            }
            Self::Categories { counts, max, .. } if counts.len() > max => {
                let encoding = if counts.keys().all(|text| is_date(text)) { "date" } else { "hashing" };
                Err(ColumnProblem::TooManyCategories { column: name.to_owned(), max, encoding })
            }
            Self::Categories { encoding, counts, missing, .. } => {
                let order = spec.order.get(name);
                if let Some(category) = order.and_then(|order| counts.keys().find(|key| !order.contains(key)))
                {
                    return Err(ColumnProblem::NotInOrder { category: shown(category) });
                }
                let encoding = of_categories(encoding, &counts, missing, order);
                Ok((encoding, ColumnValues::Categories(counts)))
            }
            Self::Texts(encoding) => Ok((encoding, ColumnValues::Texts)),
            Self::Dates { parts, seconds } => {
                let finish = |(rule, moments): (DateRule, Moments)| {
                    let scale = (!is_cycle(rule.part)).then(|| moments.scale());
                    DateRule { part: rule.part, scale }
                };
                Ok((Encoding::Date(parts.into_iter().map(finish).collect()), seconds.values()))
            }
        }
    }
}

/// Whether a text is a date and nothing else.
fn is_date(text: &str) -> bool {
    text.parse::<f64>().is_err() && parse_time(text).is_some()
}

fn of_categories(
    encoding: CategoryEncoding,
    counts: &BTreeMap<String, u64>,
    missing: u64,
    order: Option<&Vec<String>>,
) -> Encoding {
    let categories: Vec<String> = counts.keys().cloned().collect();
    match encoding {
        CategoryEncoding::OneHot | CategoryEncoding::Hashing => {
            Encoding::OneHot { categories, missing: missing > 0 }
        }
        CategoryEncoding::Ordinal => {
            let in_order = match order {
                Some(order) => order.clone(),
                None => sorted(counts.iter().map(|(name, count)| (name.clone(), *count)))
                    .into_iter()
                    .map(|(name, _)| name)
                    .collect(),
            };
            let after_last = in_order.len() as u32;
            let numbered: BTreeMap<String, u32> = in_order.into_iter().zip(0..).collect();
            let (categories, numbers) = numbered.into_iter().unzip();
            Encoding::Ordinal { categories, numbers, missing: (missing > 0).then_some(after_last) }
        }
        CategoryEncoding::Frequency => {
            let rows = counts.values().sum::<u64>() + missing;
            let share = |count: u64| count as f64 / rows.max(1) as f64;
            let shares = counts.values().map(|count| share(*count)).collect();
            Encoding::Frequency { categories, shares, missing: share(missing) }
        }
    }
}
