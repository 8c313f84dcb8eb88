"""Metrics of labels, rankings and clusters."""

import numpy as np
from sklearn import metrics as sk


def labels(case):
    names = case["labels"]
    y = np.array(case["truths"], dtype=int).reshape(-1, len(names))
    s = np.array(case["scores"], dtype=np.float32).astype(np.float64).reshape(-1, len(names))
    w = None if case["weights"] is None else np.array(case["weights"])
    if w is not None:
        y, s, w = y[w > 0], s[w > 0], w[w > 0]
    if len(y) == 0:
        return {name: None for name in case["names"]}
    p = (s >= case["threshold"]).astype(int)
    values = {
        "exact_match": sk.accuracy_score(y, p, sample_weight=w),
        "hamming_loss": sk.hamming_loss(y, p, sample_weight=w),
        "coverage_error": sk.coverage_error(y, s, sample_weight=w),
        "label_ranking_loss": sk.label_ranking_loss(y, s, sample_weight=w),
        "label_ranking_average_precision": sk.label_ranking_average_precision_score(y, s, sample_weight=w),
        "average_precision_samples": sk.average_precision_score(y, s, average="samples", sample_weight=w),
    }
    counted = {
        "precision": sk.precision_score,
        "recall": sk.recall_score,
        "f1": sk.f1_score,
        "jaccard": sk.jaccard_score,
    }
    for name, of in counted.items():
        for average in ("macro", "micro", "weighted", "samples"):
            key = name if average == "macro" else f"{name}_{average}"
            values[key] = of(y, p, average=average, sample_weight=w, zero_division=0)
        each = of(y, p, average=None, sample_weight=w, zero_division=0)
        values |= {f"{name}[{label}]": value for label, value in zip(names, each)}
    for name, of in (("roc_auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        for average in ("macro", "micro", "weighted"):
            key = name if average == "macro" else f"{name}_{average}"
            values[key] = of(y, s, average=average, sample_weight=w)
        values |= {f"{name}[{n}]": v for n, v in zip(names, of(y, s, average=None, sample_weight=w))}
    return values


def ranking(case):
    sums, total = {}, 0.0
    for query in case["queries"]:
        total += query["weight"]
        for name, value in one_query(query, case["cutoffs"]).items():
            sums[name] = sums.get(name, 0.0) + query["weight"] * value
    return {name: value / total if total else None for name, value in sums.items()}


def one_query(query, cutoffs):
    scores, gains = np.array(query["scores"], dtype=np.float32), np.array(query["gains"])
    order = np.argsort(-scores, kind="stable")
    relevant = gains[order] > 0
    ranks = np.flatnonzero(relevant) + 1
    values = {"mrr": 1 / ranks[0] if len(ranks) else 0.0}
    for cutoff in (None, *cutoffs):
        suffix = f"@{cutoff}" if cutoff else ""
        values["dcg" + suffix] = sk.dcg_score([gains], [scores], k=cutoff)
        values["ndcg" + suffix] = sk.ndcg_score([gains], [scores], k=cutoff)
        top = ranks[ranks <= (cutoff or len(gains))]
        reachable = min(len(ranks), cutoff or len(gains))
        precisions = (np.arange(len(top)) + 1) / top if len(top) else np.zeros(1)
        values["map" + suffix] = precisions.sum() / reachable if reachable else 0.0
        values["precision" + suffix] = len(top) / (cutoff or len(gains))
        values["recall" + suffix] = len(top) / len(ranks) if len(ranks) else 0.0
        values["hit_rate" + suffix] = float(len(top) > 0)
    return values


def clusters(case):
    t, c = case["groups"], case["clusters"]
    return {
        "adjusted_rand": sk.adjusted_rand_score(t, c),
        "fowlkes_mallows": sk.fowlkes_mallows_score(t, c),
        "mutual_information": sk.mutual_info_score(t, c),
        "homogeneity": sk.homogeneity_score(t, c),
        "completeness": sk.completeness_score(t, c),
        "normalized_mutual_information": sk.v_measure_score(t, c),
    }
