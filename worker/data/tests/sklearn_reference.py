"""What scikit-learn makes of the cases in the file named first: JSON in, JSON out. Not a number is null.

Each case has training rows and all rows of a column of numbers (null is missing), of the same without gaps, and of
categories (null is missing), and the number of quantiles. All rows are encoded with what is fitted to the training rows.
"""

import json
import sys

import numpy as np
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)


def numbers(values):
    return np.array([[np.nan if value is None else value] for value in values], dtype=np.float64)


def categories(values):
    return np.array([[value] for value in values], dtype=object)


def fitted(encoder, train, rows):
    return encoder.fit(train).transform(rows)[:, 0]


def answer(case):
    train, rows = numbers(case["train_numbers"]), numbers(case["numbers"])
    whole_train, whole = numbers(case["train_whole"]), numbers(case["whole"])
    logarithm = lambda values: np.sign(values) * np.log1p(np.abs(values))
    quantile = QuantileTransformer(n_quantiles=case["quantiles"], subsample=None)
    of_numbers = {
        "standard": fitted(StandardScaler(), train, rows),
        "min_max": fitted(MinMaxScaler(), train, rows),
        "robust": fitted(RobustScaler(), train, rows),
        "log": fitted(StandardScaler(), logarithm(train), logarithm(rows)),
        "quantile": fitted(quantile, whole_train, whole),
    }
    train, rows = categories(case["train_categories"]), categories(case["categories"])
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train)
    known = len({value for value in case["train_categories"] if value is not None})
    has_missing = None in case["train_categories"]
    ordinal = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=-1,
        encoded_missing_value=known if has_missing else np.nan,
    )
    null = lambda value: None if np.isnan(value) else float(value)
    return {
        **{name: [null(value) for value in values] for name, values in of_numbers.items()},
        "one_hot": one_hot.transform(rows).tolist(),
        "ordinal": [float(value) for value in fitted(ordinal, train, rows)],
    }


with open(sys.argv[1], encoding="utf-8") as file:
    json.dump([answer(case) for case in json.load(file)], sys.stdout)
