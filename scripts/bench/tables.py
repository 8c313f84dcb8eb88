"""Time and memory of preparing a table: Phalanx against Polars and DuckDB, with the same plan, turn about.

    tables.py --phalanx target/release/phalanx [--rows 10000000] [--rounds 3] [--format parquet|csv] [--folder DIR]

The table is made up: 20 columns of fractions, whole numbers and texts, with missing cells, blanks around texts, rows
that come twice and categories that are rare. The plan is that of PLAN: trim, filter, derive, drop duplicates, divide,
fill with medians, means and modes of the training split, clip, fold, standardise, one-hot encode, write. Each side is
a process of its own; memory is the most that it had resident. Only Phalanx also keeps the raw rows of the validation and
test splits, takes a census and sketches of all columns and hashes what it reads. Run it by scripts/bench-data.sh.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

PLAN = """
name = "table"
[data]
target = "y"
clean = [
    { trim = {} },
    { filter = "n0 > -4.0" },
    { derive = { gap = "n1 - n2" } },
    { drop_duplicates = {} },
    { impute = { columns = ["n3", "n4"], with = "median" } },
    { impute = { columns = ["n5", "n6"], with = "mean" } },
    { impute = { columns = ["t0"], with = "mode" } },
    { outliers = { columns = ["n7", "n8"], by = "z_score", then = "clip" } },
    { fold_rare = { columns = ["t1"], below = 0.01 } },
]
[data.SOURCE]
path = "PATH"
[model.linear]
[train]
batch_size = 256
epochs = 1
learning_rate = 0.1
"""

NUMBERS = [f"n{number}" for number in range(10)]
WHOLE = [f"i{number}" for number in range(5)]
TEXTS = [f"t{number}" for number in range(4)]


def make(rows, path):
    """Writes the table."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(0)
    columns = {name: random.standard_normal(rows) for name in NUMBERS}
    columns |= {name: random.integers(0, 1000, rows) for name in WHOLE}
    kinds = np.array([f" kind-{kind} " for kind in range(40)])
    shares = 0.8 ** np.arange(40)
    for name in TEXTS:
        columns[name] = kinds[random.choice(40, rows, p=shares / shares.sum())]
    columns["y"] = np.where(columns["n0"] + columns["n9"] > 0, "yes", "no")
    table = pl.DataFrame(columns)
    missing = {name: pl.Series(random.random(rows) < 0.05) for name in ["n3", "n4", "n5", "n6", "t0"]}
    table = table.with_columns(
        pl.when(gone).then(None).otherwise(pl.col(name)).alias(name) for name, gone in missing.items()
    )
    twice = max(rows // 100, 1)
    table = table.head(rows - twice).vstack(table.head(twice))
    table.write_parquet(path, row_group_size=1 << 20) if path.suffix == ".parquet" else table.write_csv(path)


def polars(path, to):
    """The plan in Polars."""
    import numpy as np
    import polars as pl
    import polars.selectors as cs

    table = pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_csv(path)
    table = table.with_columns(cs.string().str.strip_chars()).filter(pl.col("n0") > -4.0)
    table = table.with_columns(gap=pl.col("n1") - pl.col("n2")).collect()
    table = table.unique(maintain_order=True, keep="first")
    rows = table.height
    order = np.random.default_rng(0).permutation(rows)
    split = np.where(order < rows * 0.8, 0, np.where(order < rows * 0.9, 1, 2))
    table = table.with_columns(split=pl.Series(split, dtype=pl.UInt8))
    train = table.filter(pl.col("split") == 0)
    table = table.with_columns(
        *(pl.col(name).fill_null(train[name].median()) for name in ["n3", "n4"]),
        *(pl.col(name).fill_null(train[name].mean()) for name in ["n5", "n6"]),
        pl.col("t0").fill_null(train["t0"].drop_nulls().mode().sort()[0]),
        *(
            pl.col(name).clip(
                train[name].mean() - 3 * train[name].std(ddof=0), train[name].mean() + 3 * train[name].std(ddof=0)
            )
            for name in ["n7", "n8"]
        ),
    )
    counts = train["t1"].value_counts().filter(pl.col("count") >= 0.01 * train.height)["t1"].to_list()
    table = table.with_columns(pl.when(pl.col("t1").is_in(counts)).then(pl.col("t1")).otherwise(pl.lit("other")))
    train = table.filter(pl.col("split") == 0)
    figures = [*NUMBERS, *WHOLE, "gap"]
    scaled = [
        ((pl.col(name) - train[name].mean()) / (train[name].std(ddof=0) or 1)).cast(pl.Float32) for name in figures
    ]
    dummies = [
        (pl.col(name) == kind).cast(pl.Float32).alias(f"{name}={kind}")
        for name in TEXTS
        for kind in train[name].unique().sort()
    ]
    target = (pl.col("y") == "yes").cast(pl.UInt32)
    for number in range(3):
        table.filter(pl.col("split") == number).select(*scaled, *dummies, target).write_ipc(to / f"{number}.arrow")


def duckdb(path, to):
    """The plan in DuckDB, which may use as much memory as it likes and writes Parquet: it has no writer of Arrow files."""
    import duckdb

    db = duckdb.connect()
    db.execute(f"SET temp_directory = '{to / 'duckdb'}'")
    source = f"read_parquet('{path}', file_row_number = true)" if path.suffix == ".parquet" else f"read_csv('{path}', types = {{'y': 'VARCHAR'}})"
    place = "file_row_number" if path.suffix == ".parquet" else "row_number() OVER ()"
    texts = ", ".join(f"trim({name}) AS {name}" for name in [*TEXTS, "y"])
    raw = ", ".join([*NUMBERS, *WHOLE])
    db.execute(f"""CREATE TABLE clean AS
        SELECT {raw}, {", ".join([*TEXTS, "y"])}, gap, min(place) AS place, (hash(min(place)) % 10)::UTINYINT AS tenth
        FROM (SELECT {raw}, {texts}, n1 - n2 AS gap, {place} AS place FROM {source} WHERE n0 > -4.0) GROUP BY ALL ORDER BY place""")

    def learnt(expressions):
        return db.execute(f"SELECT {', '.join(expressions)} FROM clean WHERE tenth < 8").fetchone()

    filled = ["median(n3)", "median(n4)", "avg(n5)", "avg(n6)"]
    clipped = [bound for n in ["n7", "n8"] for bound in [f"avg({n}) - 3 * stddev_pop({n})", f"avg({n}) + 3 * stddev_pop({n})"]]
    *fill, mode, low7, high7, low8, high8 = learnt([*filled, "mode(t0)", *clipped])
    count = "SELECT t1 FROM clean WHERE tenth < 8 GROUP BY t1 HAVING count(*) >= 0.01 * (SELECT count(*) FROM clean WHERE tenth < 8)"
    common = ", ".join(f"'{kind}'" for (kind,) in db.execute(count).fetchall())
    replaced = [f"coalesce(n{number}, {value!r}) AS n{number}" for number, value in enumerate(fill, 3)]
    replaced += [f"least(greatest(n7, {low7!r}), {high7!r}) AS n7", f"least(greatest(n8, {low8!r}), {high8!r}) AS n8"]
    replaced += [f"coalesce(t0, '{mode}') AS t0", f"CASE WHEN t1 IN ({common}) THEN t1 ELSE 'other' END AS t1"]
    db.execute(f"CREATE VIEW whole AS SELECT * REPLACE ({', '.join(replaced)}) FROM clean")
    figures = [*NUMBERS, *WHOLE, "gap"]
    scales = [f"{figure}({name})" for name in figures for figure in ["avg", "stddev_pop"]]
    scales = db.execute(f"SELECT {', '.join(scales)} FROM whole WHERE tenth < 8").fetchone()
    encoded = [
        f"(({name} - {mean!r}) / {deviation or 1!r})::FLOAT AS {name}"
        for name, mean, deviation in zip(figures, scales[::2], scales[1::2])
    ]
    for name in TEXTS:
        kinds = db.execute(f"SELECT DISTINCT {name} FROM whole WHERE tenth < 8 AND {name} IS NOT NULL ORDER BY 1").fetchall()
        encoded += [f"({name} = '{kind}')::INT::FLOAT AS \"{name}={kind}\"" for (kind,) in kinds]
    for number, tenths in enumerate(["tenth < 8", "tenth = 8", "tenth = 9"]):
        rows = f"SELECT {', '.join(encoded)}, (y = 'yes')::UINTEGER AS y FROM whole WHERE {tenths} ORDER BY place"
        db.execute(f"COPY ({rows}) TO '{to / f'{number}.parquet'}' (COMPRESSION uncompressed)")


def measured(command):
    """Seconds and the most bytes resident of a process."""
    before = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {command}")
    return time.perf_counter() - before, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--phalanx")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--format", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()))
    parser.add_argument("--polars", nargs=2, type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--duckdb", nargs=2, type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.polars:
        return polars(*arguments.polars)
    if arguments.duckdb:
        return duckdb(*arguments.duckdb)
    if arguments.make:
        return make(arguments.rows, arguments.make)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        folder = pathlib.Path(folder)
        path, job = folder / f"table.{arguments.format}", folder / "job.toml"
        us = [sys.executable, __file__]
        subprocess.run([*us, "--rows", str(arguments.rows), "--make", path], check=True)
        job.write_text(PLAN.replace("SOURCE", arguments.format).replace("PATH", str(path)))
        found = {"Phalanx": [], "Polars": [], "DuckDB": []}
        for number in range(arguments.rounds):
            home = folder / f"home-{number}"
            found["Phalanx"].append(measured([arguments.phalanx, "data", "prepare", job, "--home", home]))
            found["Polars"].append(measured([*us, "--polars", path, folder]))
            found["DuckDB"].append(measured([*us, "--duckdb", path, folder]))
            subprocess.run(["rm", "-rf", home], check=True)
        print(f"{arguments.rows:,} rows × 20 columns of {arguments.format} ({path.stat().st_size / 1e9:.2f} GB)")
        for side, runs in found.items():
            seconds, memory = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
            print(f"{side:8} {seconds:7.1f} s   {memory / 2**30:5.2f} GiB")


if __name__ == "__main__":
    main()
