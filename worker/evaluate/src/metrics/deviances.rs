//! What one row's error costs, under every loss that a mean is taken of. Owns no state.

use crate::undefined::Undefined;

/// The loss of (truth, prediction), given the metric's parameter.
pub(crate) type Loss = fn(f64, f64, f64) -> Result<f64, Undefined>;

/// How the sum of losses becomes a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Summary {
    /// Their mean.
    Mean,
    /// The root of their mean.
    Root,
    /// Their sum by the sum of the truths' sizes.
    ByTruths,
}

/// The metrics that are summaries of losses.
pub(crate) const LOSSES: &[(&str, Summary, Loss)] = &[
    ("mse", Summary::Mean, squared),
    ("rmse", Summary::Root, squared),
    ("mae", Summary::Mean, |truth, prediction, _| Ok((truth - prediction).abs())),
    ("wmape", Summary::ByTruths, |truth, prediction, _| Ok((truth - prediction).abs())),
    ("mean_error", Summary::Mean, |truth, prediction, _| Ok(prediction - truth)),
    ("msle", Summary::Mean, squared_log),
    ("rmsle", Summary::Root, squared_log),
    ("mape", Summary::Mean, |truth, prediction, _| {
        Ok((truth - prediction).abs() / truth.abs().max(f64::EPSILON))
    }),
    ("smape", Summary::Mean, |truth, prediction, _| {
        let size = (truth.abs() + prediction.abs()) / 2.0;
        Ok(if size == 0.0 { 0.0 } else { (truth - prediction).abs() / size })
    }),
    ("pinball_loss", Summary::Mean, |truth, prediction, quantile| Ok(pinball(truth, prediction, quantile))),
    ("tweedie_deviance", Summary::Mean, tweedie),
    ("poisson_deviance", Summary::Mean, |truth, prediction, _| tweedie(truth, prediction, 1.0)),
    ("gamma_deviance", Summary::Mean, |truth, prediction, _| tweedie(truth, prediction, 2.0)),
    ("huber_loss", Summary::Mean, |truth, prediction, size| {
        let error = (truth - prediction).abs();
        Ok(if error <= size { error * error / 2.0 } else { size * (error - size / 2.0) })
    }),
    ("log_cosh", Summary::Mean, |truth, prediction, _| Ok(log_cosh(truth - prediction))),
];

fn squared(truth: f64, prediction: f64, _: f64) -> Result<f64, Undefined> {
    let error = truth - prediction;
    Ok(error * error)
}

fn squared_log(truth: f64, prediction: f64, _: f64) -> Result<f64, Undefined> {
    for actual in [truth, prediction] {
        if actual <= -1.0 {
            return Err(Undefined::OutsideDomain { what: "numbers above -1", actual });
        }
    }
    let error = truth.ln_1p() - prediction.ln_1p();
    Ok(error * error)
}

/// The loss of a predicted quantile: too low costs the quantile, too high the rest.
pub(crate) fn pinball(truth: f64, prediction: f64, quantile: f64) -> f64 {
    let error = truth - prediction;
    if error >= 0.0 { quantile * error } else { (quantile - 1.0) * error }
}

/// `ln cosh x`, without overflow and without cancellation near 0.
fn log_cosh(error: f64) -> f64 {
    let size = error.abs();
    if size < 1.0 {
        let half = (size / 2.0).sinh();
        (2.0 * half * half).ln_1p()
    } else {
        size + (-2.0 * size).exp().ln_1p() - std::f64::consts::LN_2
    }
}

/// The unit deviance of the Tweedie distribution of a power (Jørgensen 1987): 0 is normal,
/// 1 Poisson, 2 gamma, 3 inverse Gaussian. There is none between 0 and 1.
pub(crate) fn tweedie(truth: f64, prediction: f64, power: f64) -> Result<f64, Undefined> {
    let outside = |what, actual| Err(Undefined::OutsideDomain { what, actual });
    if power > 0.0 && power < 1.0 {
        return Err(Undefined::Unreachable(format!(
            "no Tweedie distribution has the power {power}: expected at most 0 or at least 1"
        )));
    }
    if power != 0.0 && prediction <= 0.0 {
        return outside("predictions above 0", prediction);
    }
    if (1.0..2.0).contains(&power) && truth < 0.0 {
        return outside("truths of at least 0", truth);
    }
    if power >= 2.0 && truth <= 0.0 {
        return outside("truths above 0", truth);
    }
    let deviance = match power {
        0.0 => (truth - prediction) * (truth - prediction),
        1.0 => {
            let surprise = if truth == 0.0 { 0.0 } else { truth * (truth / prediction).ln() };
            2.0 * (surprise - truth + prediction)
        }
        2.0 => 2.0 * ((prediction / truth).ln() + truth / prediction - 1.0),
        _ => {
            let own = truth.max(0.0).powf(2.0 - power) / ((1.0 - power) * (2.0 - power));
            let crossed = truth * prediction.powf(1.0 - power) / (1.0 - power);
            2.0 * (own - crossed + prediction.powf(2.0 - power) / (2.0 - power))
        }
    };
    // Near the truth the terms cancel, and their rounding may leave less than nothing.
    Ok(if deviance < 0.0 { 0.0 } else { deviance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_cosh_is_half_the_square_near_zero_and_the_size_far_away() {
        assert!((log_cosh(1e-9) - 5e-19).abs() < 1e-30);
        assert_eq!(log_cosh(-1e300), 1e300);
        assert!((log_cosh(1.0 - 1e-15) - log_cosh(1.0)).abs() < 1e-14);
    }

    #[test]
    fn there_is_no_tweedie_distribution_between_the_normal_and_poissons() {
        assert!(matches!(tweedie(1.0, 1.0, 0.5), Err(Undefined::Unreachable(_))));
        let negative = Err(Undefined::OutsideDomain { what: "truths of at least 0", actual: -1.0 });
        assert_eq!(tweedie(-1.0, 1.0, 1.0), negative);
    }
}
