"""What scikit-learn says of the cases that sklearn.rs draws.

    sklearn_reference.py CASES.json > ANSWERS.json

One answer a case: {"exact": {metric: value or null}, "as_given": {...}, "confusion": [[...]] or null}.
"exact" is computed in float64; "as_given" on the float32 probabilities themselves, whose rounding it has.
A metric that scikit-learn leaves undefined is null.
"""

import json
import math
import sys
import warnings

import numpy as np
import sklearn
from sklearn import metrics as sk


def classes(case):
    names, labels = case["classes"], list(range(len(case["classes"])))
    truths = np.array(case["truths"])
    given = np.array(case["probabilities"], dtype=np.float32).reshape(len(truths), len(labels))
    predicted = given.argmax(axis=1)
    values = {"accuracy": sk.accuracy_score(truths, predicted)}
    for average in ("macro", None):
        three = sk.precision_recall_fscore_support(
            truths, predicted, labels=labels, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), three):
            values.update({name: value} if average else {f"{name}[{c}]": v for c, v in zip(names, value)})
    values.update(roc_auc(names, labels, truths, given))
    if len(labels) > 1:
        # The same clipping as for float32, then everything in float64.
        epsilon = np.finfo(np.float32).eps
        clipped = np.clip(given, epsilon, 1 - epsilon).astype(np.float64)
        values["log_loss"] = sk.log_loss(truths, clipped, labels=labels)
        as_given = {"log_loss": sk.log_loss(truths, given, labels=labels)}
    else:
        values["log_loss"], as_given = math.nan, {}
    return values, as_given, sk.confusion_matrix(truths, predicted, labels=labels).tolist()


def roc_auc(names, labels, truths, given):
    if len(labels) == 1:
        return {"roc_auc": math.nan}
    if len(labels) == 2:
        return {"roc_auc": sk.roc_auc_score(truths, given[:, 1])}
    ask = {"multi_class": "ovr", "labels": labels}
    each = sk.roc_auc_score(truths, given, average=None, **ask)
    macro = sk.roc_auc_score(truths, given, average="macro", **ask)
    return {"roc_auc": macro} | {f"roc_auc[{name}]": value for name, value in zip(names, each)}


def numbers(case):
    truths, predictions = np.array(case["truths"]), np.array(case["predictions"])
    values = {
        "mse": sk.mean_squared_error(truths, predictions),
        "rmse": sk.root_mean_squared_error(truths, predictions),
        "mae": sk.mean_absolute_error(truths, predictions),
        "r2": sk.r2_score(truths, predictions),
    }
    return values, {}, None


def next_bytes(case):
    truths = np.array(case["truths"])
    nats = sk.log_loss(truths, np.array(case["probabilities"]).reshape(-1, 256), labels=list(range(256)))
    return {"bits_per_byte": nats / math.log(2), "perplexity": math.exp(nats)}, {}, None


def plain(values):
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


def main():
    # Undefined metrics, zero divisions and labels without rows are what many cases are about.
    warnings.simplefilter("ignore")
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    kinds = {"classes": classes, "numbers": numbers, "next_bytes": next_bytes}
    answers = []
    with open(sys.argv[1], encoding="utf-8") as cases:
        for case in json.load(cases):
            exact, as_given, confusion = kinds[case["kind"]](case)
            answers.append({"exact": plain(exact), "as_given": plain(as_given), "confusion": confusion})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
