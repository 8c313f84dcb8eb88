"""What others say of the cases that main.rs draws: scikit-learn, SciPy, sacrebleu, rouge-score and jiwer.

    reference.py CASES.json > ANSWERS.json

Each case has a kind, its data, and the names to measure; each answer is {name: value, or null where it is
undefined}. All is computed in float64.
"""

import json
import math
import sys
import warnings

import reference_classes
import reference_numbers
import reference_rows
import reference_texts
import sklearn

KINDS = {
    "classes": reference_classes.answer,
    "numbers": reference_numbers.answer,
    "labels": reference_rows.labels,
    "ranking": reference_rows.ranking,
    "clusters": reference_rows.clusters,
    "next_bytes": reference_texts.next_bytes,
    "texts": reference_texts.texts,
}


def plain(value):
    """As JSON has it: no NaN, no infinity, no numpy."""
    if value is None or isinstance(value, list):
        return value
    return float(value) if math.isfinite(value) else None


def main():
    # Undefined metrics, zero divisions and labels without rows are what many cases are about.
    warnings.simplefilter("ignore")
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    with open(sys.argv[1], encoding="utf-8") as cases:
        answers = [KINDS[case["kind"]](case) for case in json.load(cases)]
    json.dump([{name: plain(value) for name, value in one.items()} for one in answers], sys.stdout)


if __name__ == "__main__":
    main()
