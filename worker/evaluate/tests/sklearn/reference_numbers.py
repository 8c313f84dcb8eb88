"""Metrics of numbers, by the names that a job file uses."""

import numpy as np
from scipy import stats
from sklearn import metrics as sk


class Rows:
    def __init__(self, case):
        self.t, self.p = np.array(case["truths"]), np.array(case["predictions"])
        self.given = case["weights"] is not None
        self.w = np.array(case["weights"]) if self.given else np.ones(len(self.t))
        self.n = len(self.t)

    def counting(self):
        """Without the rows of weight 0."""
        kept = Rows.__new__(Rows)
        at = self.w > 0
        kept.t, kept.p, kept.w, kept.given, kept.n = self.t[at], self.p[at], self.w[at], self.given, self.n
        return kept


def answer(case):
    rows = Rows(case)
    return {name: figure(rows, name) for name in case["names"]}


def figure(rows, name):
    head, _, parameter = name.partition("@")
    if not rows.w.any():
        return None
    try:
        return METRICS[head](rows, float(parameter) if parameter else None)
    except ValueError:
        # Outside of the metric's domain.
        return None


def of(function, **more):
    return lambda rows, _: function(rows.t, rows.p, sample_weight=rows.w if rows.given else None, **more)


def with_parameter(function, key):
    return lambda rows, value: of(function, **{key: value})(rows, None)


def counting(metric):
    return lambda rows, parameter: metric(rows.counting(), parameter)


def mean(rows, values):
    return np.average(values, weights=rows.w)


def smape(rows, _):
    size = (np.abs(rows.t) + np.abs(rows.p)) / 2
    errors = np.abs(rows.t - rows.p)
    return mean(rows, np.divide(errors, size, out=np.zeros(len(size)), where=size > 0))


def wmape(rows, _):
    sizes = (rows.w * np.abs(rows.t)).sum()
    return None if sizes == 0 else (rows.w * np.abs(rows.t - rows.p)).sum() / sizes


def explained_variance(rows, _):
    errors = rows.counting().t - rows.counting().p
    # scikit-learn's mean of these may round, and then it finds a variance.
    return 1.0 if (errors == errors[0]).all() else of(sk.explained_variance_score)(rows, None)


def adjusted_r2(rows, features):
    if rows.n <= features + 1:
        return None
    r2 = of(sk.r2_score)(rows, None)
    return 1 - (1 - r2) * (rows.n - 1) / (rows.n - features - 1)


def d2_tweedie(rows, power):
    rows = rows.counting()
    if rows.n < 2 or (rows.t == rows.t[0]).all():
        return None
    return with_parameter(sk.d2_tweedie_score, "power")(rows, power)


def covariance(rows):
    return np.cov(rows.t, rows.p, aweights=rows.w, ddof=0)


def pearson(rows, _):
    rows = rows.counting()
    if rows.n < 2 or (rows.t == rows.t[0]).all() or (rows.p == rows.p[0]).all():
        return None
    if not rows.given:
        return stats.pearsonr(rows.t, rows.p).statistic
    (truths, both), (_, predictions) = covariance(rows)
    return both / np.sqrt(truths) / np.sqrt(predictions)


def concordance(rows, _):
    rows = rows.counting()
    if (rows.t == rows.t[0]).all() and (rows.p == rows.t[0]).all():
        return None
    if len(rows.t) == 1:
        return 0
    (truths, both), (_, predictions) = covariance(rows)
    bias = mean(rows, rows.t - rows.p)
    return 2 * both / (truths + predictions + bias**2)


def unweighted(function):
    return lambda rows, _: None if rows.given or rows.n < 2 else function(rows.t, rows.p).statistic


def huber(rows, size):
    errors = np.abs(rows.t - rows.p)
    return mean(rows, np.where(errors <= size, errors**2 / 2, size * (errors - size / 2)))


METRICS = {
    "mse": of(sk.mean_squared_error),
    "rmse": of(sk.root_mean_squared_error),
    "mae": of(sk.mean_absolute_error),
    "r2": of(sk.r2_score),
    "adjusted_r2": adjusted_r2,
    "explained_variance": explained_variance,
    "median_absolute_error": of(sk.median_absolute_error),
    "max_error": counting(lambda rows, _: sk.max_error(rows.t, rows.p)),
    "mean_error": lambda rows, _: mean(rows, rows.p - rows.t),
    "msle": counting(of(sk.mean_squared_log_error)),
    "rmsle": counting(of(sk.root_mean_squared_log_error)),
    "mape": of(sk.mean_absolute_percentage_error),
    "smape": smape,
    "wmape": wmape,
    "pinball_loss": with_parameter(sk.mean_pinball_loss, "alpha"),
    "tweedie_deviance": counting(with_parameter(sk.mean_tweedie_deviance, "power")),
    "poisson_deviance": counting(of(sk.mean_poisson_deviance)),
    "gamma_deviance": counting(of(sk.mean_gamma_deviance)),
    "d2_absolute_error": of(sk.d2_absolute_error_score),
    "d2_pinball": with_parameter(sk.d2_pinball_score, "alpha"),
    "d2_tweedie": d2_tweedie,
    "pearson": pearson,
    "spearman": unweighted(stats.spearmanr),
    "kendall": unweighted(stats.kendalltau),
    "concordance": concordance,
    "huber_loss": huber,
    "log_cosh": lambda rows, _: mean(rows, np.logaddexp(rows.t - rows.p, rows.p - rows.t) - np.log(2)),
}
