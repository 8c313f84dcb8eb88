//! Every figure that a gate may name, as a metric that can be resampled: of all rows, of a slice, of
//! groups. Owns no state.

use phalanx_evaluate::{
    ManyMetric, Predictions, RowMetric, SliceMetric, Together,
    fairness::{Fairness, Groups, Outcomes, class_fairness_metric, numbers_fairness_metric},
    named_metric,
};
use phalanx_protocol::spec::{FAIRNESS_FIGURES, Figure, MetricName, Subject};

use crate::{
    parts::{groups, slice, told},
    table::Table,
};

/// Some predictions with the columns of their rows.
#[derive(Clone, Copy)]
pub(crate) struct Figures<'a> {
    pub(crate) predictions: &'a Predictions,
    pub(crate) table: &'a dyn Table,
    pub(crate) fairness: Fairness,
}

impl<'a> Figures<'a> {
    /// What `figure` is of, whichever end of its interval is meant; or why there is none.
    pub(crate) fn metric(&self, figure: &Figure) -> Result<Box<dyn RowMetric + 'a>, String> {
        match &figure.subject {
            Subject::Whole { metric } => self.named(metric),
            Subject::Slice { metric, condition } => {
                let of = self.named(metric)?;
                Ok(Box::new(SliceMetric { of, slice: slice(condition, self.table)?.rows }))
            }
            Subject::Fairness { name, columns } => self.of_groups(name, &groups(columns, self.table)?),
        }
    }

    pub(crate) fn named(&self, name: &str) -> Result<Box<dyn RowMetric + 'a>, String> {
        let name = MetricName::parse(name).map_err(|invalid| format!("`{name}` {invalid}"))?;
        named_metric(self.predictions, &name).map_err(told)
    }

    /// Of several classes, that of the one that does worst.
    fn of_groups(&self, name: &str, groups: &Groups) -> Result<Box<dyn RowMetric + 'a>, String> {
        let scores = match self.predictions {
            Predictions::Classes(scores) => scores,
            Predictions::Numbers(numbers) => {
                let (truths, told_numbers) = (&numbers.truths, &numbers.predictions);
                let metric = numbers_fairness_metric(name, truths, told_numbers, groups, self.fairness);
                return Ok(Box::new(metric.map_err(told)?));
            }
            Predictions::NextBytes(_) => return Err("a text has no groups".to_owned()),
        };
        let decisions = scores.decisions();
        let of_class = |class: usize| -> Result<Box<dyn RowMetric + 'a>, String> {
            let truths = scores.are(class);
            let selected: Vec<bool> = decisions.iter().map(|taken| *taken as usize == class).collect();
            let outcomes = Outcomes { truths: &truths, selected: &selected, scores: None };
            let metric = class_fairness_metric(name, &outcomes, groups, self.fairness).map_err(told)?;
            Ok(Box::new(metric))
        };
        if scores.classes.len() == 2 {
            return of_class(1);
        }
        let each = (0..scores.classes.len()).map(of_class).collect::<Result<Vec<_>, _>>()?;
        let known = FAIRNESS_FIGURES.iter().find(|figure| figure.name == name);
        let more_is_fairer = known.is_some_and(|figure| figure.more_is_better);
        let together = if more_is_fairer { Together::Least } else { Together::Greatest };
        Ok(Box::new(ManyMetric { each, together }))
    }
}
