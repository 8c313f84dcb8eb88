"""What fairlearn, scikit-learn, SciPy and statsmodels say of the cases that trust.rs draws.

    trust_reference.py CASES.json > ANSWERS.json

One answer a case, of the same shape as what Phalanx says; what has no value is null.
"""

import json
import math
import sys
import warnings

import numpy as np
import pandas as pd
from fairlearn import metrics as fl
from fairlearn.postprocessing import ThresholdOptimizer
from scipy import optimize, special, stats
from sklearn import metrics as sk
from sklearn import model_selection as ms
from sklearn.base import BaseEstimator
from sklearn.calibration import _SigmoidCalibration, calibration_curve
from sklearn.isotonic import IsotonicRegression
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint


def precision(y_true, y_pred):
    return sk.precision_score(y_true, y_pred, zero_division=0)


RATES = {
    "count": fl.count,
    "selection_rate": fl.selection_rate,
    "accuracy": sk.accuracy_score,
    "precision": precision,
    "tpr": fl.true_positive_rate,
    "fpr": fl.false_positive_rate,
    "tnr": fl.true_negative_rate,
    "fnr": fl.false_negative_rate,
}


PARITIES = {
    "demographic_parity": ["selection_rate"],
    "equalized_odds": ["tpr", "fpr"],
    "equal_opportunity": ["tpr"],
    "predictive_parity": ["precision"],
}


def fairness_figures(frame, method):
    apart, ratio = frame.difference(method=method), frame.ratio(method=method)
    figures = {}
    for name, rates in PARITIES.items():
        figures[f"{name}_difference"] = apart[rates].max()
        # Of NaN and a number, fairlearn takes whichever comes first; here it is the number.
        figures[f"{name}_ratio"] = ratio[rates].min()
    return figures


def named_figures(truths, selected, groups, figures):
    """The same by fairlearn's own functions of those names, which take long."""
    for name in figures:
        if not name.startswith("predictive") and not math.isnan(figures[name]):
            own = getattr(fl, name)(truths, selected, sensitive_features=groups)
            # Where one of two ratios is NaN, see above.
            figures[name] = figures[name] if math.isnan(own) else own
    return figures


def fairness(case):
    truths, selected = np.array(case["truths"], dtype=int), np.array(case["selected"], dtype=int)
    columns = pd.DataFrame({"a": case["columns"][0], "b": case["columns"][1]})

    def frame(groups):
        return fl.MetricFrame(metrics=RATES, y_true=truths, y_pred=selected, sensitive_features=groups)

    one, both = frame(columns["a"]), frame(columns)
    crossed = both.by_group.dropna(subset=["count"])
    between = fairness_figures(one, "between_groups")
    if case["named"]:
        between = named_figures(truths, selected, columns["a"], between)
    return {
        "groups": one.by_group.values.tolist(),
        "overall": one.overall.values.tolist(),
        "between": between,
        "to_overall": fairness_figures(one, "to_overall"),
        "crossed": crossed.values.tolist(),
        "crossed_figures": fairness_figures(both, "between_groups"),
        "extremes": [one.group_min()["selection_rate"], one.group_max()["selection_rate"]],
    }


def numbers_fairness(case):
    truths, told = np.array(case["truths"]), np.array(case["told"])
    rates = {"mean_error": lambda y_true, y_pred: (y_pred - y_true).mean(), "mae": sk.mean_absolute_error}
    frame = fl.MetricFrame(metrics=rates, y_true=truths, y_pred=told, sensitive_features=case["groups"])

    def figures(method):
        apart, ratio = frame.difference(method=method), frame.ratio(method=method)
        return [apart["mean_error"], apart["mae"], ratio["mae"]]

    by_group = {name: frame.by_group[name].tolist() for name in ("mae", "mean_error")}
    return by_group | {"figures": figures("between_groups"), "to_overall": figures("to_overall")}


def reweighing(case):
    table = pd.DataFrame({"group": case["groups"], "label": case["labels"]})
    share = lambda columns: table.groupby(columns)["label"].transform("size") / len(table)
    return {"weights": (share(["group"]) * share(["label"]) / share(["group", "label"])).tolist()}


def delong(a, b, truths):
    """By all pairs of a positive and a negative row."""
    if truths.all() or not truths.any() or len(truths) <= 2:
        return None
    kernels = []
    for scores in (a, b):
        apart = scores[truths][:, None] - scores[~truths][None, :]
        kernels.append((apart > 0) + 0.5 * (apart == 0))
    aucs = [kernel.mean() for kernel in kernels]
    apart = kernels[1] - kernels[0]
    variance = sum(
        np.var(apart.mean(axis=axis), ddof=1) / apart.shape[1 - axis] if apart.shape[1 - axis] > 1 else 0
        for axis in (0, 1)
    )
    error, difference = math.sqrt(variance), aucs[1] - aucs[0]
    if error < 1e-12:
        return aucs + [0.0, difference, difference, 1.0 if abs(difference) < 1e-12 else 0.0]
    reach = stats.norm.ppf(0.95) * error
    p = 2 * stats.norm.sf(abs(difference) / error)
    return aucs + [error, difference - reach, difference + reach, p]


def pairs(case):
    truths = np.array(case["truths"], dtype=bool)
    a, b = np.array(case["a"]), np.array(case["b"])
    right = [(scores >= 0.5) == truths for scores in (a, b)]
    table = [[np.sum((right[0] == i) & (right[1] == j)) for j in (True, False)] for i in (True, False)]
    exact = mcnemar(table, exact=True)
    chi = mcnemar(table, exact=False, correction=True) if table[0][1] + table[1][0] else None
    return {
        "exact_p": exact.pvalue,
        "chi_squared": chi.statistic if chi else 0.0,
        "chi_squared_p": chi.pvalue if chi else 1.0,
        "delong": delong(a, b, truths),
    }


def errors(case):
    a, b = np.array(case["a"]), np.array(case["b"])
    apart = b - a
    if np.ptp(apart) == 0:
        mean = float(apart[0])
        t = [1.0 if mean == 0 else 0.0, mean, mean]
    else:
        test = stats.ttest_rel(b, a)
        ends = test.confidence_interval(0.9)
        t = [test.pvalue, ends.low, ends.high]
    if not apart.any():
        return {"t": t, "wilcoxon": [0.0, 1.0]}
    ranks = stats.wilcoxon(b, a, method="exact" if case["exact"] else "asymptotic", correction=False)
    return {"t": t, "wilcoxon": [ranks.statistic, ranks.pvalue]}


def interval(case):
    level, values = case["level"], np.array(case["values"])
    tail = (1 - level) / 2
    left_out = np.array(case["left_out"])
    bias = special.ndtri(((values < case["estimate"]).mean() + (values <= case["estimate"]).mean()) / 2)
    influence = left_out.mean() - left_out
    skew = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    shifted = [bias + special.ndtri(p) for p in (tail, 1 - tail)]
    corrected = [special.ndtr(bias + z / (1 - skew * z)) for z in shifted]
    folds = np.array(case["folds"])
    mean, deviation, n = folds.mean(), folds.std(ddof=1), len(folds)
    plain = stats.t.interval(level, n - 1, loc=mean, scale=deviation / math.sqrt(n))
    wide = stats.t.interval(level, n - 1, loc=mean, scale=deviation * math.sqrt(1 / n + 0.25))
    return {
        "wilson": list(proportion_confint(case["hits"], case["trials"], 1 - level, method="wilson")),
        "percentile": np.quantile(values, [tail, 1 - tail]).tolist(),
        "bca": np.quantile(values, corrected).tolist(),
        "folds": [mean, deviation, *plain],
        "corrected": list(wide),
    }


def calibration(case):
    told, happened = np.array(case["told"]), np.array(case["happened"], dtype=int)
    bins = case["bins"]

    def curve(strategy):
        shares, means = calibration_curve(happened, told, pos_label=1, n_bins=bins, strategy=strategy)
        edges = np.linspace(0, 1, bins + 1)
        edges = edges if strategy == "uniform" else np.percentile(told, edges * 100)
        counts = np.bincount(np.searchsorted(edges[1:-1], told), minlength=bins)
        counts = counts[counts > 0]
        error = (counts * np.abs(shares - means)).sum() / len(told)
        return {"shares": shares.tolist(), "means": means.tolist(), "error": error}

    isotonic = IsotonicRegression(out_of_bounds="clip").fit(told, happened)
    return {
        "uniform": curve("uniform"),
        "quantile": curve("quantile"),
        "brier": np.mean((told - happened) ** 2),
        "isotonic": isotonic.predict(case["asked"]).tolist(),
    }


def scaling(case):
    odds, happened = np.array(case["odds"]), np.array(case["happened"], dtype=int)
    platt = None
    if 0 < happened.sum() < len(happened):
        # SciPy stops early where it may; Newton's method does not, and from there it is a short way.
        start = _SigmoidCalibration().fit(odds, happened)
        hits, misses = happened.sum(), (1 - happened).sum()
        target = np.where(happened == 1, (hits + 1) / (hits + 2), 1 / (misses + 2))
        loss = lambda ab: np.sum(np.logaddexp(0, ab[0] * odds + ab[1]) - target * (ab[0] * odds + ab[1]))
        options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 5000, "maxfev": 5000}
        best = optimize.minimize(loss, [-start.a_, -start.b_], method="Nelder-Mead", options=options).x
        platt = special.expit(best[0] * odds + best[1]).tolist()
    signed = np.where(happened == 1, -odds, odds)
    cooled = lambda log: np.logaddexp(0, signed * math.exp(log)).mean()
    tried = [cooled(log) for log in np.linspace(-6.907755, 6.907755, 2001)]
    around = np.linspace(-6.907755, 6.907755, 2001)[int(np.argmin(tried))]
    best = optimize.minimize_scalar(cooled, bounds=(around - 0.01, around + 0.01), method="bounded")
    return {"platt": platt, "temperature_loss": min(best.fun, *tried)}


def threshold(case):
    told, happened = np.array(case["told"]), np.array(case["happened"], dtype=int)
    if happened.all() or not happened.any():
        return {"f1": None, "youden": None, "precision_at_recall": None}
    precisions, recalls, _ = sk.precision_recall_curve(happened, told)
    precisions, recalls = precisions[:-1], recalls[:-1]
    both = precisions + recalls
    f1 = np.divide(2 * precisions * recalls, both, out=np.zeros_like(both), where=both > 0)
    fpr, tpr, _ = sk.roc_curve(happened, told)
    return {
        "f1": f1.max(),
        "youden": (tpr - fpr).max(),
        "precision_at_recall": precisions[recalls >= case["recall"]].max(),
    }


def folds(case):
    classes, groups, count = np.array(case["classes"]), np.array(case["groups"]), case["folds"]
    rows = np.zeros((len(classes), 1))

    def split(splitter, *more):
        try:
            return [[train.tolist(), test.tolist()] for train, test in splitter.split(rows, *more)]
        except ValueError:
            return None

    by_group = split(ms.GroupKFold(count), classes, groups)
    return {
        "k": split(ms.KFold(count)),
        "stratified": split(ms.StratifiedKFold(count), classes),
        "group_sizes": by_group and sorted(len(test) for _, test in by_group),
        "stratified_group": by_group and split(ms.StratifiedGroupKFold(count), classes, groups),
        "time": split(ms.TimeSeriesSplit(count, gap=case["gap"])),
        "leave_one_out": split(ms.LeaveOneGroupOut(), classes, groups),
    }


def correction(case):
    adjusted = lambda ps, method: multipletests(ps, method=method)[1].tolist()
    return {
        "benjamini_hochberg": adjusted(case["slice_ps"], "fdr_bh"),
        "holm": adjusted(case["ps"], "holm"),
    }


class Scores(BaseEstimator):
    """A model that is its only feature."""

    def fit(self, x, y):
        self.fitted_ = True
        return self

    def predict(self, x):
        return np.asarray(x)[:, 0]


def group_thresholds(case):
    told, happened = np.array(case["told"]).reshape(-1, 1), np.array(case["happened"], dtype=int)
    accuracies = []
    for constraints in ("demographic_parity", "true_positive_rate_parity"):
        model = ThresholdOptimizer(
            estimator=Scores().fit(told, happened), constraints=constraints, prefit=True,
            predict_method="predict",
        )
        model.fit(told, happened, sensitive_features=case["groups"])
        chances = model._pmf_predict(told, sensitive_features=case["groups"])
        accuracies.append(chances[np.arange(len(happened)), happened].mean())
    return {"accuracy": accuracies}


def bootstrap(case):
    def ends(method):
        found = stats.bootstrap((case["values"],), np.mean, n_resamples=20_000, method=method, rng=1)
        return [*found.confidence_interval, found.standard_error]

    return {"percentile": ends("percentile"), "bca": ends("BCa")}


def plain(value):
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def main():
    # Zero divisions and labels without rows are what many cases are about.
    warnings.simplefilter("ignore")
    kinds = {
        kind.__name__: kind
        for kind in (
            fairness, numbers_fairness, reweighing, pairs, errors, interval, calibration, scaling,
            threshold, folds, correction, group_thresholds, bootstrap,
        )
    }
    with open(sys.argv[1], encoding="utf-8") as cases:
        answers = [plain(kinds[case["kind"]](case)) for case in json.load(cases)]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
