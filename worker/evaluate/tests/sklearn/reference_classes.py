"""Metrics of classes, by the names that a job file uses."""

import numpy as np
from scipy.stats import ks_2samp
from sklearn import metrics as sk

EPSILON = np.finfo(np.float32).eps
AVERAGES = ("macro", "micro", "weighted", "binary")


class Rows:
    def __init__(self, case):
        self.names = case["classes"]
        self.labels = list(range(len(self.names)))
        self.y = np.array(case["truths"])
        given = np.array(case["probabilities"], dtype=np.float32).reshape(len(self.y), len(self.labels))
        self.p = given.astype(np.float64)
        self.w = None if case["weights"] is None else np.array(case["weights"])
        self.predicted = given.argmax(axis=1)
        self.k = len(self.labels)
        counts = np.ones(len(self.y)) if self.w is None else self.w
        self.kept = counts > 0
        self.weighed = self.kept.any()


def answer(case):
    rows = Rows(case)
    values = {name: figure(rows, name) for name in case["names"]}
    confusion = sk.confusion_matrix(rows.y, rows.predicted, labels=rows.labels)
    return values | {"confusion": confusion.tolist()} | curves(rows)


def figure(rows, written):
    if not rows.weighed:
        return None
    head, _, name = written.removesuffix("]").partition("[")
    only = rows.names.index(name) if name else None
    head, _, parameter = head.partition("@")
    parameter = float(parameter) if parameter else None
    average = next((one for one in AVERAGES if head.endswith("_" + one)), None)
    head = head.removesuffix(f"_{average}") if average else head
    if head in COUNTED:
        return counted(rows, head, average or "macro", only, parameter)
    if head in WHOLE:
        return WHOLE[head](rows)
    if head in PROBABLE:
        return PROBABLE[head](rows, parameter)
    if head == "roc_auc_ovo":
        return one_vs_one(rows, average or "macro")
    return ranked(rows, head, average or "macro", only, parameter)


def specificity(at):
    return at[:, 0, 0], at[:, 0, 0] + at[:, 0, 1]


def negative_predictive_value(at):
    return at[:, 0, 0], at[:, 0, 0] + at[:, 1, 0]


def ratios(rows, of, average, only):
    """What scikit-learn has no function for, from its own counts."""
    counts = sk.multilabel_confusion_matrix(rows.y, rows.predicted, sample_weight=rows.w, labels=rows.labels)
    if average == "micro":
        counts = counts.sum(axis=0, keepdims=True)
    part, whole = of(counts)
    each = np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)
    if only is not None or average == "binary":
        return each[1 if only is None else only]
    return np.average(each, weights=counts[:, 1].sum(axis=1) if average == "weighted" else None)


COUNTED = {
    "precision": sk.precision_score,
    "recall": sk.recall_score,
    "f1": sk.f1_score,
    "f_beta": sk.fbeta_score,
    "jaccard": sk.jaccard_score,
    "specificity": specificity,
    "negative_predictive_value": negative_predictive_value,
}


def counted(rows, head, average, only, beta):
    if average == "binary" and rows.k != 2:
        return None
    of = COUNTED[head]
    if of in (specificity, negative_predictive_value):
        return ratios(rows, of, average, only)
    more = {"beta": beta} if beta is not None else {}
    if average == "binary" or only is not None:
        only, average = (1 if only is None else only), None
    value = of(
        rows.y, rows.predicted, labels=rows.labels, average=average, sample_weight=rows.w, zero_division=0, **more
    )
    return value if only is None else value[only]


def kappa(weights):
    def of(rows):
        return sk.cohen_kappa_score(
            rows.y, rows.predicted, labels=rows.labels, weights=weights, sample_weight=rows.w
        )

    return of


def likelihood(which):
    def of(rows):
        if rows.k != 2:
            return None
        return sk.class_likelihood_ratios(rows.y, rows.predicted, labels=[0, 1], sample_weight=rows.w)[which]

    return of


def balanced(adjusted):
    def of(rows):
        if adjusted and len(np.unique(rows.y[rows.kept])) < 2:
            return None
        return sk.balanced_accuracy_score(rows.y, rows.predicted, sample_weight=rows.w, adjusted=adjusted)

    return of


WHOLE = {
    "accuracy": lambda rows: sk.accuracy_score(rows.y, rows.predicted, sample_weight=rows.w),
    "zero_one_loss": lambda rows: sk.zero_one_loss(rows.y, rows.predicted, sample_weight=rows.w),
    "hamming_loss": lambda rows: sk.hamming_loss(rows.y, rows.predicted, sample_weight=rows.w),
    "balanced_accuracy": balanced(False),
    "balanced_accuracy_adjusted": balanced(True),
    "matthews_corrcoef": lambda rows: sk.matthews_corrcoef(rows.y, rows.predicted, sample_weight=rows.w),
    "cohen_kappa": kappa(None),
    "cohen_kappa_linear": kappa("linear"),
    "cohen_kappa_quadratic": kappa("quadratic"),
    "positive_likelihood_ratio": likelihood(0),
    "negative_likelihood_ratio": likelihood(1),
}


def log_loss(rows, _):
    if rows.k < 2:
        return None
    # The same clipping as for float32, then everything in float64.
    clipped = np.clip(rows.p, EPSILON, 1 - EPSILON)
    return sk.log_loss(rows.y, clipped, labels=rows.labels, sample_weight=rows.w)


def brier(rows, _):
    if rows.k < 2:
        return None
    if rows.k == 2:
        return sk.brier_score_loss(rows.y, rows.p[:, 1], sample_weight=rows.w, pos_label=1)
    return sk.brier_score_loss(rows.y, rows.p, sample_weight=rows.w, labels=rows.labels)


def d2(of):
    def skill(rows, _):
        if rows.k < 2 or len(rows.y) < 2 or len(np.unique(rows.y[rows.kept])) < 2:
            return None
        return of(rows)

    return skill


def d2_log_loss(rows):
    clipped = np.clip(rows.p, EPSILON, 1 - EPSILON)
    return sk.d2_log_loss_score(rows.y, clipped, labels=rows.labels, sample_weight=rows.w)


def d2_brier(rows):
    if rows.k == 2:
        return sk.d2_brier_score(rows.y, rows.p[:, 1], sample_weight=rows.w, pos_label=1)
    return sk.d2_brier_score(rows.y, rows.p, labels=rows.labels, sample_weight=rows.w)


def top_k(rows, k):
    if k >= rows.k:
        return 1.0
    if rows.k == 2:
        return sk.accuracy_score(rows.y, rows.predicted, sample_weight=rows.w)
    # Of equal probabilities, scikit-learn puts the last class first, and Phalanx the first.
    last, flipped = rows.k - 1, rows.p[:, ::-1]
    return sk.top_k_accuracy_score(last - rows.y, flipped, k=int(k), labels=rows.labels, sample_weight=rows.w)


PROBABLE = {
    "log_loss": log_loss,
    "brier_score": brier,
    "d2_log_loss": d2(d2_log_loss),
    "d2_brier_score": d2(d2_brier),
    "top_k_accuracy": top_k,
}


def one_vs_one(rows, average):
    if rows.k < 2 or rows.w is not None or len(np.unique(rows.y)) < 2:
        return None
    if rows.k == 2:
        return sk.roc_auc_score(rows.y, rows.p[:, 1])
    return sk.roc_auc_score(rows.y, rows.p, multi_class="ovo", average=average, labels=rows.labels)


def ranked(rows, head, average, only, parameter):
    if rows.k < 2:
        return None
    y, p = rows.y[rows.kept], rows.p[rows.kept]
    w = None if rows.w is None else rows.w[rows.kept]
    of = CURVES[head]
    if rows.k == 2:
        only = 1 if only is None else only
    if only is not None:
        return of(y == only, p[:, only], w, parameter)
    hot = y[:, None] == np.array(rows.labels)
    if head == "roc_auc":
        return sk.roc_auc_score(
            y, p, multi_class="ovr", average=average, labels=rows.labels, sample_weight=w
        )
    if head == "average_precision":
        return sk.average_precision_score(hot, p, average=average, sample_weight=w)
    if average == "micro":
        repeated = None if w is None else np.repeat(w, rows.k)
        return of(hot.ravel(), p.ravel(), repeated, parameter)
    each = [of(hot[:, label], p[:, label], w, parameter) for label in rows.labels]
    if average == "macro":
        return None if None in each else np.mean(each)
    weights = hot.sum(axis=0) if w is None else (hot * w[:, None]).sum(axis=0)
    counted = weights > 0
    chosen = [value for value, counts in zip(each, counted) if counts]
    return None if None in chosen else np.average(chosen, weights=weights[counted])


def both(of):
    """Undefined where all rows are of one kind."""
    return lambda y, s, w, parameter: of(y, s, w, parameter) if 0 < y.sum() < len(y) else None


def any_positive(of):
    return lambda y, s, w, parameter: of(y, s, w, parameter) if y.any() else None


def thresholds(y, s, w):
    _, fps, _, tps, _ = sk.confusion_matrix_at_thresholds(y, s, sample_weight=w, pos_label=True)
    return fps, tps


def pr_auc(y, s, w, _):
    precision, recall, _ = sk.precision_recall_curve(y, s, sample_weight=w, pos_label=True)
    return sk.auc(recall, precision)


def ks(y, s, w, _):
    if w is None:
        return ks_2samp(s[y], s[~y]).statistic
    fps, tps = thresholds(y, s, w)
    return np.abs(tps / tps[-1] - fps / fps[-1]).max()


def gain(y, s, w, share):
    fps, tps = thresholds(y, s, w)
    rows = np.concatenate([[0], fps + tps])
    return np.interp(share * rows[-1], rows, np.concatenate([[0], tps])) / tps[-1]


def precision_at_recall(y, s, w, least):
    precision, recall, _ = sk.precision_recall_curve(y, s, sample_weight=w, pos_label=True)
    return precision[:-1][recall[:-1] >= least].max()


def recall_at_precision(y, s, w, least):
    precision, recall, _ = sk.precision_recall_curve(y, s, sample_weight=w, pos_label=True)
    return recall[:-1][precision[:-1] >= least].max(initial=0)


def recall_at_specificity(y, s, w, least):
    fps, tps = thresholds(y, s, w)
    return (tps / tps[-1])[(fps[-1] - fps) / fps[-1] >= least].max(initial=0)


CURVES = {
    "roc_auc": both(lambda y, s, w, _: sk.roc_auc_score(y, s, sample_weight=w)),
    "partial_roc_auc": both(lambda y, s, w, most: sk.roc_auc_score(y, s, sample_weight=w, max_fpr=most)),
    "average_precision": lambda y, s, w, _: sk.average_precision_score(y, s, sample_weight=w),
    "pr_auc": any_positive(pr_auc),
    "gini": both(lambda y, s, w, _: 2 * sk.roc_auc_score(y, s, sample_weight=w) - 1),
    "ks_statistic": both(ks),
    "lift": any_positive(lambda y, s, w, share: gain(y, s, w, share) / share),
    "gain": any_positive(gain),
    "precision_at_recall": any_positive(precision_at_recall),
    "recall_at_precision": any_positive(recall_at_precision),
    "recall_at_specificity": both(recall_at_specificity),
}


def curves(rows):
    """The curves of the second class, as lists of coordinates."""
    empty = {"roc": None, "pr": None, "det": None}
    positive = rows.y == 1
    if rows.k != 2 or not rows.weighed or not 0 < positive[rows.kept].sum() < rows.kept.sum():
        return empty
    ask = {"sample_weight": rows.w, "pos_label": True, "drop_intermediate": False}
    fpr, tpr, _ = sk.roc_curve(positive, rows.p[:, 1], **ask)
    precision, recall, _ = sk.precision_recall_curve(positive, rows.p[:, 1], **ask)
    false_positive, false_negative, _ = sk.det_curve(positive, rows.p[:, 1], **ask)
    return {
        "roc": [*fpr, *tpr],
        "pr": [*recall[::-1], *precision[::-1]],
        "det": [*false_positive[::-1], *false_negative[::-1]],
    }
