"""One table of an all-reduce's times: Phalanx over shared memory and TCP against Gloo and MPIs.

    allreduce.py --phalanx EXAMPLE --contender gloo=PYTHON --contender openmpi=PYTHON --contender impi=PYTHON

All-reduce of f32, processes on this machine: over shared memory with vectors that lie in it and with vectors that
are copied into it, and over TCP. Each contender has a turn of its own in every round, so that all see the same
moods of the machine; each writes its vectors anew before each reduction, as training does. The table has the medians
over rounds of each turn's median. Run it by scripts/bench-allreduce.sh.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

import report

HERE = pathlib.Path(__file__).parent
SUFFIXES = {"KiB": 1 << 10, "MiB": 1 << 20}


def size(text):
    for suffix, factor in SUFFIXES.items():
        if text.endswith(suffix):
            return int(text.removesuffix(suffix)) * factor
    return int(text)


def name(number):
    fits = [(number // factor, suffix) for suffix, factor in SUFFIXES.items() if number >= factor]
    return "{} {}".format(*fits[-1]) if fits else f"{number} B"


def commands(options):
    """Of every contender the command of one turn."""
    ranks, seconds = str(options.ranks), str(options.seconds)
    sizes = ",".join(str(number) for number in options.bytes)
    ours = {"ours, shm": ("shm", "bucket"), "ours, shm, copied": ("shm", "caller"), "ours, tcp": ("tcp", "bucket")}
    for contender, (transport, memory) in ours.items():
        settings = ["--transport", transport, "--memory", memory, "--bytes", sizes, "--seconds", seconds]
        yield contender, [options.phalanx, "--ranks", ranks, *settings]
    for contender in options.contender:
        kind, python = contender.split("=", 1)
        if kind == "gloo":
            yield kind, [python, HERE / "allreduce_gloo.py", ranks, sizes, seconds]
            continue
        mpirun = [pathlib.Path(python).with_name("mpirun"), "-n", ranks]
        if kind == "openmpi":
            mpirun += ["--allow-run-as-root", "--oversubscribe"]
        yield kind, [*mpirun, python, HERE / "allreduce_mpi.py", sizes, seconds]


def turn(command):
    """Bytes and median seconds of one turn; nothing where it fails."""
    path = f"{pathlib.Path(command[0]).parent}:{os.environ['PATH']}"
    environment = dict(os.environ, PATH=path, I_MPI_FABRICS="shm", OMPI_MCA_btl="self,sm")
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{command[0]}: {error}: {getattr(error, 'stderr', '')}", file=sys.stderr)
        return {}
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["bytes"]: line["median_seconds"] for line in lines}


def microseconds(seconds):
    return f"{seconds * 1e6:,.1f} µs" if seconds else "–"


def ratio(theirs, ours):
    return f"{theirs / ours:.1f}×" if theirs and ours else "–"


def rows(options, contenders, times):
    for number in options.bytes:
        median = {
            contender: statistics.median(turns[number] for turns in times[contender] if number in turns)
            if any(number in turns for turns in times[contender]) else None
            for contender in contenders
        }
        shm, tcp, gloo = median["ours, shm"], median["ours, tcp"], median.get("gloo")
        mpi = min((median[kind] for kind in ("openmpi", "impi") if median.get(kind)), default=None)
        row = [name(number), *(microseconds(median[contender]) for contender in contenders)]
        yield [*row, ratio(gloo, tcp), ratio(gloo, shm), ratio(mpi, shm)]


def main():
    parser = report.parser(__doc__, "the collective's example", seconds=0.5, of="one size in a turn")
    parser.add_argument("--contender", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--bytes", default="1KiB,64KiB,1MiB,4MiB,16MiB,64MiB", help="sizes of the vector")
    options = parser.parse_args()
    options.bytes = [size(text) for text in options.bytes.split(",")]
    contenders = dict(commands(options))
    times = {contender: [] for contender in contenders}
    for _ in range(options.rounds):
        for contender, command in contenders.items():
            times[contender].append(turn(command))
    names = report.processors()
    note = (
        f"All-reduce of f32, {options.ranks} ranks, medians of {options.rounds} rounds, {len(names)} cores of {names[0]}."
    )
    head = ["size", *contenders, "tcp / Gloo", "shm / Gloo", "shm / best MPI"]
    report.report(options, note, head, rows(options, contenders, times))


if __name__ == "__main__":
    main()
