//! How predictions look beside the truth: confusions, curves, calibration and threshold of classes,
//! residuals of numbers. Owns no state.

use phalanx_evaluate::{
    BinaryColumns, ClassScores, Predictions,
    calibration::{
        Binning, Platt, brier_parts, calibration, fit_isotonic, fit_temperature, mended, mended_classes,
        top_label,
    },
    interval::roc_auc_interval,
    threshold::at_threshold,
};
use phalanx_protocol::message::Confusion;
use phalanx_report::{
    CalibrationPart, ClassCurves, ClassPart, Mending, MendingMethod, NumberPart, Predictions as Part,
    TextPart, ThresholdPart,
};

use crate::assess::{Exam, Validation};

/// Bins of reliability curves.
const BINS: usize = 10;

/// The most classes whose curves are drawn.
const CURVES_MAX: usize = 20;

/// The part of the report about `decided`, which are the exam's predictions as they are served.
pub(crate) fn predicted(
    exam: &Exam<'_>,
    decided: &Predictions,
    confusion: Option<Confusion>,
) -> Option<Part> {
    Some(match (decided, exam.predictions) {
        (Predictions::Classes(decided), Predictions::Classes(raw)) => Part::Classes(Box::new(ClassPart {
            confusion,
            curves: curves(decided, exam.spec.intervals.level),
            calibration: calibrated(exam, raw),
            threshold: threshold(exam, decided),
        })),
        (Predictions::Numbers(numbers), _) => Part::Numbers(NumberPart::of(&numbers.columns().ok()?)),
        (Predictions::NextBytes(_), _) => Part::Text(TextPart::default()),
        (Predictions::Classes(_), Predictions::Numbers(_) | Predictions::NextBytes(_)) => return None,
    })
}

fn curves(scores: &ClassScores, level: f64) -> Vec<ClassCurves> {
    let first = usize::from(scores.classes.len() == 2);
    let curve = |class: usize| {
        let truths = scores.are(class);
        let probabilities: Vec<f32> = scores.rows().map(|row| row[class]).collect();
        let columns = BinaryColumns::new(&probabilities, &truths, None).ok()?;
        let interval = roc_auc_interval(&scores.of_class(class), &truths, level).ok();
        Some(ClassCurves { roc_auc_interval: interval, ..ClassCurves::of(&scores.classes[class], &columns) })
    };
    (first..scores.classes.len().min(CURVES_MAX)).filter_map(curve).collect()
}

/// One column of probabilities, and what came true: of two classes those of the second, of more the
/// highest of each row.
fn told(scores: &ClassScores) -> Option<(Vec<f64>, Vec<bool>)> {
    match scores.classes.len() {
        2 => Some((scores.of_class(1), scores.are(1))),
        classes => top_label(&wide(scores), &scores.truths, classes).ok(),
    }
}

fn wide(scores: &ClassScores) -> Vec<f64> {
    scores.probabilities.iter().copied().map(f64::from).collect()
}

/// What the model's own probabilities mean, and what mending them would bring, or brings.
fn calibrated(exam: &Exam<'_>, raw: &ClassScores) -> Option<CalibrationPart> {
    let (probabilities, happened) = told(raw)?;
    let curve = calibration(&probabilities, &happened, Binning::Uniform, BINS).ok()?;
    let mended = match &exam.validation {
        Some(Validation { split, predictions: Predictions::Classes(fitted_on), .. }) => {
            let all = [temperature(raw, fitted_on), platt(raw, fitted_on), isotonic(raw, fitted_on)];
            let of = |mending: Mending| Mending { fitted_on: (*split).to_owned(), ..mending };
            all.into_iter().flatten().map(of).collect()
        }
        Some(_) | None => Vec::new(),
    };
    Some(CalibrationPart {
        class: (raw.classes.len() == 2).then(|| raw.classes[1].clone()),
        adaptive: calibration(&probabilities, &happened, Binning::Quantile, BINS).ok(),
        brier: brier_parts(&probabilities, &happened, BINS).ok(),
        curve,
        mended,
    })
}

fn temperature(raw: &ClassScores, fitted_on: &ClassScores) -> Option<Mending> {
    let classes = raw.classes.len();
    let fitted = fit_temperature(&wide(fitted_on), &fitted_on.truths, classes).ok()?;
    let mut after = ClassScores { threshold: None, ..raw.clone() };
    let mut probabilities = wide(raw);
    fitted.apply(&mut probabilities, classes);
    after.probabilities = probabilities.iter().map(|probability| *probability as f32).collect();
    let (told_after, happened) = told(&after)?;
    let mut scores = mended_classes(&wide(raw), &raw.truths, classes, BINS, &fitted).ok()?;
    if classes == 2 {
        // As everywhere else, of two classes the probability of the second is what is looked at.
        let second: Vec<f64> = raw.of_class(1);
        let of = |p: f64| {
            let mut row = [1.0 - p, p];
            fitted.apply(&mut row, 2);
            row[1]
        };
        scores = mended(&second, &raw.are(1), BINS, of).ok()?;
    }
    let curve = calibration(&told_after, &happened, Binning::Uniform, BINS).ok();
    Some(Mending { method: MendingMethod::Temperature(fitted), fitted_on: String::new(), scores, curve })
}

fn platt(raw: &ClassScores, fitted_on: &ClassScores) -> Option<Mending> {
    let fitted = of_two(fitted_on).and_then(|(p, is)| Platt::of_probabilities(&p, &is).ok())?;
    binary(raw, MendingMethod::Platt(fitted), |p| fitted.mend(p))
}

fn isotonic(raw: &ClassScores, fitted_on: &ClassScores) -> Option<Mending> {
    let fitted = of_two(fitted_on).and_then(|(p, is)| fit_isotonic(&p, &is).ok())?;
    binary(raw, MendingMethod::Isotonic(fitted.clone()), |p| fitted.apply(p))
}

fn of_two(scores: &ClassScores) -> Option<(Vec<f64>, Vec<bool>)> {
    (scores.classes.len() == 2).then(|| (scores.of_class(1), scores.are(1)))
}

fn binary(raw: &ClassScores, method: MendingMethod, mend: impl Fn(f64) -> f64) -> Option<Mending> {
    let (probabilities, happened) = of_two(raw)?;
    let scores = mended(&probabilities, &happened, BINS, &mend).ok()?;
    let after: Vec<f64> = probabilities.into_iter().map(mend).collect();
    let curve = calibration(&after, &happened, Binning::Uniform, BINS).ok();
    Some(Mending { method, fitted_on: String::new(), scores, curve })
}

/// What the chosen threshold comes to on the exam's rows.
fn threshold(exam: &Exam<'_>, decided: &ClassScores) -> Option<ThresholdPart> {
    let chosen = exam.decision.threshold?;
    let (probabilities, truths) = of_two(decided)?;
    let at = |threshold: f64| at_threshold(&probabilities, &truths, threshold).ok();
    Some(ThresholdPart {
        class: decided.classes[1].clone(),
        chosen_on: exam.validation.as_ref().map_or("validation", |validation| validation.split).to_owned(),
        chosen,
        measured: at(chosen.validation.threshold),
        usual: at(0.5),
    })
}
