//! What more rows would bring: a metric by the number of rows that a model learned from. Owns no
//! state.

use serde::{Deserialize, Serialize};

use crate::{
    average::mean,
    input::{self, InputError},
    interval::{deviation, mean_interval},
};

/// The most points of one curve.
pub const POINTS_MAX: usize = 1_000;

/// Exponents that are tried for the power law.
const EXPONENTS: (f64, f64) = (0.01, 3.0);

/// A metric of models that learned from so many rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Rows that each of them learned from.
    pub rows: u64,
    /// The metric of each, from other draws of the rows.
    pub values: Vec<f64>,
}

/// A point of the curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearningPoint {
    /// Rows that models learned from.
    pub rows: u64,
    /// How many models.
    pub models: u64,
    /// The mean of their metric.
    pub mean: f64,
    /// Its standard deviation over models.
    pub deviation: f64,
    /// The lower end of the mean's interval (Student's t, at 95 %); absent of a single model.
    pub lower: Option<f64>,
    /// The upper end.
    pub upper: Option<f64>,
}

/// The power law `limit + scale × rows^-exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerLaw {
    /// Where the metric goes with ever more rows.
    pub limit: f64,
    /// How far from it one row would be.
    pub scale: f64,
    /// How fast it gets there.
    pub exponent: f64,
    /// The root of the mean squared distance of points and law.
    pub root_mean_square_error: f64,
}

impl PowerLaw {
    /// What the law says of so many rows.
    pub fn at(&self, rows: u64) -> f64 {
        self.limit + self.scale * (rows as f64).powf(-self.exponent)
    }
}

/// A metric by rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearningCurve {
    /// The metric's name.
    pub metric: String,
    /// Point by point, by rising rows.
    pub points: Vec<LearningPoint>,
    /// The law nearest to them, where there are four points at least.
    pub power_law: Option<PowerLaw>,
    /// What the law says of twice as many rows as the last point has: a guess, not a measurement.
    pub with_twice_the_rows: Option<f64>,
}

/// Sums up the curve.
///
/// # Errors
///
/// Where there is no point, one has no rows or no values, two have as many rows, or a value is not
/// finite.
pub fn learning_curve(metric: &str, mut learned: Vec<Learned>) -> Result<LearningCurve, InputError> {
    input::within("points", learned.len(), 1, POINTS_MAX)?;
    learned.sort_by_key(|point| point.rows);
    if let Some(two) = learned.windows(2).find(|two| two[0].rows == two[1].rows) {
        let (actual, expected) =
            (format!("{} twice", two[0].rows), "another number for each point".to_owned());
        return Err(InputError::Setting { setting: "rows", actual, expected });
    }
    let describe = |Learned { rows, values }: Learned| {
        if rows == 0 {
            return Err(InputError::NoRows);
        }
        input::within("values", values.len(), 1, input::ROWS_MAX)?;
        input::finite("metric", &values)?;
        let interval = mean_interval(&values, 0.95).ok();
        Ok(LearningPoint {
            rows,
            models: values.len() as u64,
            mean: mean(values.len(), values.iter().copied()),
            deviation: deviation(&values),
            lower: interval.map(|interval| interval.lower),
            upper: interval.map(|interval| interval.upper),
        })
    };
    let points = learned.into_iter().map(describe).collect::<Result<Vec<_>, InputError>>()?;
    let power_law = power_law(&points);
    let twice = points.last().map(|last| last.rows.saturating_mul(2));
    let with_twice_the_rows = power_law.zip(twice).map(|(law, rows)| law.at(rows));
    Ok(LearningCurve { metric: metric.to_owned(), points, power_law, with_twice_the_rows })
}

/// The law nearest to the points: for each exponent the best limit and scale follow from a straight
/// line, and the exponent is searched for, first widely and then around the best.
fn power_law(points: &[LearningPoint]) -> Option<PowerLaw> {
    if points.len() < 4 {
        return None;
    }
    let (mut low, mut high) = (EXPONENTS.0.ln(), EXPONENTS.1.ln());
    let mut best = None;
    for _ in 0..12 {
        let tried = (0..=20).map(|step| low + (high - low) * f64::from(step) / 20.0);
        let (at, law) = tried
            .filter_map(|at| Some((at, line(points, at.exp())?)))
            .min_by(|a, b| a.1.root_mean_square_error.total_cmp(&b.1.root_mean_square_error))?;
        let reach = (high - low) / 10.0;
        (low, high) = ((at - reach).max(EXPONENTS.0.ln()), (at + reach).min(EXPONENTS.1.ln()));
        best = Some(law);
    }
    best
}

/// The least squares line through `(rows^-exponent, mean)`.
fn line(points: &[LearningPoint], exponent: f64) -> Option<PowerLaw> {
    let count = points.len();
    let xs: Vec<f64> = points.iter().map(|point| (point.rows as f64).powf(-exponent)).collect();
    let (mean_x, mean_y) =
        (mean(count, xs.iter().copied()), mean(count, points.iter().map(|point| point.mean)));
    let (mut xx, mut xy) = (0.0, 0.0);
    for (x, point) in xs.iter().zip(points) {
        xx += (x - mean_x).powi(2);
        xy += (x - mean_x) * (point.mean - mean_y);
    }
    let scale = xy / xx;
    let limit = mean_y - scale * mean_x;
    let squares = xs.iter().zip(points).map(|(x, point)| (limit + scale * x - point.mean).powi(2));
    let root_mean_square_error = mean(count, squares).sqrt();
    let law = PowerLaw { limit, scale, exponent, root_mean_square_error };
    (scale.is_finite() && root_mean_square_error.is_finite()).then_some(law)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_is_found_again() {
        let truth = PowerLaw { limit: 0.9, scale: -2.0, exponent: 0.6, root_mean_square_error: 0.0 };
        let rows = [100, 200, 400, 800, 1_600, 3_200];
        let learned = rows.map(|rows| Learned { rows, values: vec![truth.at(rows)] }).to_vec();
        let curve = learning_curve("accuracy", learned).unwrap();
        let law = curve.power_law.unwrap();
        assert!((law.limit - 0.9).abs() < 1e-4 && (law.exponent - 0.6).abs() < 1e-3, "{law:?}");
        assert!((curve.with_twice_the_rows.unwrap() - truth.at(6_400)).abs() < 1e-5);
        assert!(curve.points.iter().all(|point| point.lower.is_none()));
    }

    #[test]
    fn a_flat_curve_stays_flat_and_short_ones_have_no_law() {
        let flat = |points: u64| (1..=points).map(|rows| Learned { rows, values: vec![0.5, 0.5] }).collect();
        let curve = learning_curve("accuracy", flat(5)).unwrap();
        assert!((curve.with_twice_the_rows.unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(learning_curve("accuracy", flat(3)).unwrap().power_law, None);
        let twice = vec![Learned { rows: 5, values: vec![0.5] }; 2];
        let error = learning_curve("accuracy", twice).unwrap_err().to_string();
        assert_eq!(error, "`rows` is 5 twice, expected another number for each point");
    }
}
