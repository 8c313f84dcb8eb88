"""One table of an all-reduce's times: Phalanx over shared memory and TCP against Gloo and MPIs.

    allreduce.py --phalanx EXAMPLE --contender gloo=PYTHON --contender openmpi=PYTHON --contender impi=PYTHON

All-reduce of f32, processes on this machine: over shared memory with vectors that lie in it and with vectors that
are copied into it, and over TCP. Each contender has a turn of its own in every round, so that all see the same
moods of the machine; each writes its vectors anew before each reduction, as training does. The table has the medians
over rounds of each turn's median. Run it by scripts/bench-allreduce.sh.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

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


def table(options, contenders, times):
    head = ["size", *contenders, "tcp / Gloo", "shm / Gloo", "shm / best MPI"]
    rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for number in options.bytes:
        median = {
            contender: statistics.median(turns[number] for turns in times[contender] if number in turns)
            if any(number in turns for turns in times[contender]) else None
            for contender in contenders
        }
        shm, tcp, gloo = median["ours, shm"], median["ours, tcp"], median.get("gloo")
        mpi = min((median[kind] for kind in ("openmpi", "impi") if median.get(kind)), default=None)
        row = [name(number), *(microseconds(median[contender]) for contender in contenders)]
        rows.append([*row, ratio(gloo, tcp), ratio(gloo, shm), ratio(mpi, shm)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phalanx", required=True, help="the collective's example")
    parser.add_argument("--contender", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--bytes", default="1KiB,64KiB,1MiB,4MiB,16MiB,64MiB", help="sizes of the vector")
    parser.add_argument("--rounds", type=int, default=5, help="turns that each contender has")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for one size in a turn")
    parser.add_argument("--markdown", help="file to write the table into as well")
    options = parser.parse_args()
    options.bytes = [size(text) for text in options.bytes.split(",")]
    contenders = dict(commands(options))
    times = {contender: [] for contender in contenders}
    for _ in range(options.rounds):
        for contender, command in contenders.items():
            times[contender].append(turn(command))
    note = f"All-reduce of f32, {options.ranks} ranks, medians of {options.rounds} rounds, {processor()}."
    text = f"{note}\n\n{table(options, contenders, times)}\n"
    print(text)
    if options.markdown:
        pathlib.Path(options.markdown).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
