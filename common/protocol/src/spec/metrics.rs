//! The table of all metrics that a job can name.

use super::metric::{Average, MeasuredOn, Metric, MetricParameter};

use Average::{Binary, Macro, Micro, Weighted};
use MeasuredOn::{Classes, Everything, Numbers, Text};

/// From 0 to 1.
const SHARE: (f64, f64) = (0.0, 1.0);
/// From -1 to 1.
const SIGNED: (f64, f64) = (-1.0, 1.0);
/// 0 or more.
const POSITIVE: (f64, f64) = (0.0, f64::INFINITY);
/// 1 or less.
const SKILL: (f64, f64) = (f64::NEG_INFINITY, 1.0);
/// Any number.
const ANY: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

/// The averages of figures that come from counts.
const COUNTED: &[Average] = &[Macro, Micro, Weighted, Binary];
/// The averages of figures that come from the order of scores.
const RANKED: &[Average] = &[Macro, Micro, Weighted];

/// A metric that is the better, the higher it is.
const fn score(name: &'static str, on: MeasuredOn, range: (f64, f64), about: &'static str) -> Metric {
    Metric {
        name,
        about,
        more_is_better: true,
        measured_on: on,
        range,
        per_class: false,
        averages: &[],
        parameter: None,
    }
}

/// A metric that is the better, the lower it is.
const fn loss(name: &'static str, on: MeasuredOn, range: (f64, f64), about: &'static str) -> Metric {
    Metric { more_is_better: false, ..score(name, on, range, about) }
}

impl Metric {
    const fn per_class(self, averages: &'static [Average]) -> Self {
        Self { per_class: true, averages, ..self }
    }

    const fn averaged(self, averages: &'static [Average]) -> Self {
        Self { averages, ..self }
    }

    const fn with(self, meaning: &'static str, default: Option<f64>, least: f64, greatest: f64) -> Self {
        let parameter = MetricParameter { meaning, default, least, greatest, is_whole: false };
        Self { parameter: Some(parameter), ..self }
    }

    const fn with_whole(
        self,
        meaning: &'static str,
        default: Option<f64>,
        least: f64,
        greatest: f64,
    ) -> Self {
        let parameter = MetricParameter { meaning, default, least, greatest, is_whole: true };
        Self { parameter: Some(parameter), ..self }
    }
}

/// All metrics.
pub const METRICS: &[Metric] = &[
    score("accuracy", Classes, SHARE, "share of rows whose most probable class is the true one"),
    score("precision", Classes, SHARE, "share of a class's predictions that are right").per_class(COUNTED),
    score("recall", Classes, SHARE, "share of a class's rows that are found").per_class(COUNTED),
    score("f1", Classes, SHARE, "harmonic mean of precision and recall").per_class(COUNTED),
    score("roc_auc", Classes, SHARE, "area under the ROC curve, one class against the rest")
        .per_class(RANKED),
    loss("log_loss", Classes, POSITIVE, "mean of -ln p(true class)"),
    score("balanced_accuracy", Classes, SHARE, "mean of the recall of the classes that have rows"),
    score("balanced_accuracy_adjusted", Classes, SKILL, "the same, less chance: 0 for a guess, 1 at best"),
    score("top_k_accuracy", Classes, SHARE, "share of rows whose class is among the k most probable")
        .with_whole("k", Some(2.0), 1.0, 1_000.0),
    score("f_beta", Classes, SHARE, "precision and recall, recall counting β times as much")
        .per_class(COUNTED)
        .with("β", None, 0.0, 1e6),
    score("jaccard", Classes, SHARE, "rows both predicted and true, of those that are either")
        .per_class(COUNTED),
    score(
        "specificity",
        Classes,
        SHARE,
        "share of the rows of other classes that are not taken for this one",
    )
    .per_class(COUNTED),
    score(
        "negative_predictive_value",
        Classes,
        SHARE,
        "share of rows not taken for this class that are right",
    )
    .per_class(COUNTED),
    score("matthews_corrcoef", Classes, SIGNED, "correlation of predicted and true classes (MCC)"),
    score("cohen_kappa", Classes, SIGNED, "agreement beyond chance"),
    score("cohen_kappa_linear", Classes, SIGNED, "the same, a mistake counting by its distance in classes"),
    score("cohen_kappa_quadratic", Classes, SIGNED, "the same, by the square of that distance"),
    loss("hamming_loss", Classes, SHARE, "share of labels that are wrong; one a row, so 1 - accuracy"),
    loss("zero_one_loss", Classes, SHARE, "share of rows that are wrong"),
    score(
        "positive_likelihood_ratio",
        Classes,
        POSITIVE,
        "recall by the false positive rate; two classes only",
    ),
    loss("negative_likelihood_ratio", Classes, POSITIVE, "miss rate by specificity; two classes only"),
    loss(
        "brier_score",
        Classes,
        (0.0, 2.0),
        "mean squared error of the probabilities; halved for two classes",
    ),
    score("d2_log_loss", Classes, SKILL, "share of the log-loss of constant frequencies that is saved"),
    score("d2_brier_score", Classes, SKILL, "the same of the Brier score"),
    score("roc_auc_ovo", Classes, SHARE, "area under the ROC curve, each class against each other")
        .averaged(&[Macro, Weighted]),
    score("partial_roc_auc", Classes, SHARE, "area up to a false positive rate, 0.5 for a guess (McClish)")
        .per_class(RANKED)
        .with("the highest false positive rate", None, 1e-9, 1.0),
    score("average_precision", Classes, SHARE, "precision averaged over recall, step by step")
        .per_class(RANKED),
    score("pr_auc", Classes, SHARE, "area under the precision-recall curve, by trapezoids").per_class(RANKED),
    score("gini", Classes, SIGNED, "2 × ROC-AUC - 1").per_class(RANKED),
    score("ks_statistic", Classes, SHARE, "greatest distance of true and false positive rate")
        .per_class(RANKED),
    score("lift", Classes, POSITIVE, "how many times as frequent positives are among the top rows")
        .per_class(RANKED)
        .with("the share of rows at the top", None, 1e-9, 1.0),
    score("gain", Classes, SHARE, "share of all positives that are among the top rows")
        .per_class(RANKED)
        .with("the share of rows at the top", None, 1e-9, 1.0),
    score("precision_at_recall", Classes, SHARE, "highest precision of a threshold that has a recall")
        .per_class(RANKED)
        .with("the recall", None, 0.0, 1.0),
    score("recall_at_precision", Classes, SHARE, "highest recall of a threshold that has a precision")
        .per_class(RANKED)
        .with("the precision", None, 0.0, 1.0),
    score("recall_at_specificity", Classes, SHARE, "highest recall of a threshold that has a specificity")
        .per_class(RANKED)
        .with("the specificity", None, 0.0, 1.0),
    loss("mse", Numbers, POSITIVE, "mean squared error"),
    loss("rmse", Numbers, POSITIVE, "its root"),
    loss("mae", Numbers, POSITIVE, "mean absolute error"),
    score("r2", Numbers, SKILL, "share of the variance that is explained"),
    score("adjusted_r2", Numbers, SKILL, "the same, less what features explain by chance").with_whole(
        "the number of features",
        None,
        0.0,
        1e9,
    ),
    score("explained_variance", Numbers, SKILL, "the same as R², a constant error forgiven"),
    loss("median_absolute_error", Numbers, POSITIVE, "half of the absolute errors are no larger"),
    loss("max_error", Numbers, POSITIVE, "largest absolute error"),
    score("mean_error", Numbers, ANY, "mean of prediction less truth; 0 at best, so gates need two bounds"),
    loss("msle", Numbers, POSITIVE, "mean squared error of ln(1 + x)"),
    loss("rmsle", Numbers, POSITIVE, "its root"),
    loss("mape", Numbers, POSITIVE, "mean of absolute errors by the truth's size; 1 is 100 %"),
    loss("smape", Numbers, (0.0, 2.0), "mean of absolute errors by the mean size of truth and prediction"),
    loss("wmape", Numbers, POSITIVE, "sum of absolute errors by the sum of the truths' sizes"),
    loss("pinball_loss", Numbers, POSITIVE, "loss of a predicted quantile").with(
        "the quantile",
        Some(0.5),
        0.0,
        1.0,
    ),
    loss(
        "tweedie_deviance",
        Numbers,
        POSITIVE,
        "mean Tweedie deviance; power 0 is squared error, 1 Poisson, 2 gamma",
    )
    .with("the power", None, -100.0, 100.0),
    loss("poisson_deviance", Numbers, POSITIVE, "mean Poisson deviance, for counts"),
    loss("gamma_deviance", Numbers, POSITIVE, "mean gamma deviance, for positive amounts"),
    score("d2_absolute_error", Numbers, SKILL, "share of the median's absolute error that is saved"),
    score("d2_pinball", Numbers, SKILL, "share of the constant quantile's pinball loss that is saved").with(
        "the quantile",
        Some(0.5),
        0.0,
        1.0,
    ),
    score("d2_tweedie", Numbers, SKILL, "share of the mean's Tweedie deviance that is saved").with(
        "the power",
        None,
        -100.0,
        100.0,
    ),
    score("pearson", Numbers, SIGNED, "correlation of predictions and truths"),
    score("spearman", Numbers, SIGNED, "correlation of their ranks"),
    score("kendall", Numbers, SIGNED, "pairs in the same order less pairs in the opposite one (tau-b)"),
    score(
        "concordance",
        Numbers,
        SIGNED,
        "Lin's concordance correlation: correlation, less for bias and scale",
    ),
    loss("huber_loss", Numbers, POSITIVE, "squared error up to a size, absolute above").with(
        "the size",
        Some(1.0),
        1e-300,
        1e300,
    ),
    loss("log_cosh", Numbers, POSITIVE, "mean of ln cosh of the error"),
    loss("bits_per_byte", Text, POSITIVE, "bits that a byte costs an ideal coder"),
    loss("perplexity", Text, (1.0, f64::INFINITY), "e to the mean of -ln p(byte)"),
    loss("loss", Everything, POSITIVE, "what training lowers"),
];
