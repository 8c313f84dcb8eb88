"""How far annotators agree, by scikit-learn and statsmodels: JSON in (the file named first), JSON out.

A case is rows of labels, one of each annotator, null where one gave none. The answer has Cohen's kappa of each two over the
rows that both have labelled, and Fleiss' kappa where nobody has left a row out; null where it is not defined.
"""

import itertools
import json
import math
import sys
import warnings

from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

warnings.simplefilter("ignore")


def finite(value):
    return float(value) if math.isfinite(value) else None


def cohen(rows, a, b):
    both = [(row[a], row[b]) for row in rows if row[a] is not None and row[b] is not None]
    return finite(cohen_kappa_score(*zip(*both))) if both else None


def fleiss(rows):
    if any(label is None for row in rows for label in row):
        return None
    counts, _ = aggregate_raters(rows)
    return finite(fleiss_kappa(counts, method="fleiss"))


def answer(rows):
    pairs = itertools.combinations(range(len(rows[0])), 2)
    return {"cohen": [cohen(rows, a, b) for a, b in pairs], "fleiss": fleiss(rows)}


print(json.dumps([answer(rows) for rows in json.load(open(sys.argv[1]))]))
