"""Weak scaling of training steps: Phalanx's workers against PyTorch's DistributedDataParallel over Gloo.

    ddp.py --phalanx target/release/phalanx [--workers 2] [--lanes 1] [--rounds 5] [--seconds 2] JOB.toml...

Every worker is a process with one thread, and trains on as many samples a step as the job's batch has. In each
round each contender has a turn: one worker alone, all together, and all at the same time with nothing added up,
which is what the machine lets them reach. Efficiency is the second (or third) by the first and the number of
workers. The table has medians over the rounds. Run it by scripts/bench-ddp.sh.
"""

import contextlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import tomllib

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import report
import step

# Steps from which the length of a turn is estimated.
FIRST_STEPS = 3


def rank(number, workers, job, store, pipe):
    """One of PyTorch's workers: makes steps alone or together, as the pipe says, and answers how long they took."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", f"file://{store}", rank=number, world_size=workers)
    sides = {"alone": step.PyTorch(job), "together": step.PyTorch(job)}
    together = sides["together"]
    together.model = DistributedDataParallel(together.model, gradient_as_bucket_view=True)
    while True:
        kind, steps = pipe.recv()
        for _ in range(step.WARM_UP_STEPS):
            sides[kind].step()
        start = time.perf_counter()
        for _ in range(steps):
            sides[kind].step()
        pipe.send(time.perf_counter() - start)


class Ddp:
    """PyTorch's workers, which sleep while others have their turns."""

    def __init__(self, stack, options, job):
        store = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "store")
        context, self.pipes, self.batch = multiprocessing.get_context("spawn"), [], job["train"]["batch_size"]
        for number in range(options.workers):
            ours, theirs = context.Pipe()
            arguments = (number, options.workers, job, store, theirs)
            process = context.Process(target=rank, args=arguments, daemon=True)
            process.start()
            theirs.close()  # the end of the process is the end of the pipe
            stack.callback(process.terminate)
            self.pipes.append(ours)
        self.steps = FIRST_STEPS
        self.steps = max(FIRST_STEPS, round(options.seconds * self.turn("alone", 1) / self.batch))

    def turn(self, kind, workers):
        """Samples a second over so many workers."""
        for pipe in self.pipes[:workers]:
            pipe.send((kind, self.steps))
        return sum(self.steps * self.batch / pipe.recv() for pipe in self.pipes[:workers])

    def round(self):
        """One, together, apart."""
        workers = len(self.pipes)
        return self.turn("alone", 1), self.turn("together", workers), self.turn("alone", workers)


def phalanx(options, path, transport):
    """One turn of Phalanx's side."""
    with open(path, "rb") as file:
        batch = tomllib.load(file)["train"]["batch_size"]
    sizes = {"batch_size": batch * options.workers, "lanes": options.lanes * options.workers}
    settings = [word for key, value in sizes.items() for word in ("--set", f"train.{key}={value}")]
    workers = ["--workers", str(options.workers), "--rounds", "1"]
    return step.phalanx(options, path, *settings, *workers, "--transport", transport)


def measure(options, path):
    """The rows of one model."""
    rounds = {"Phalanx, shared memory": [], "Phalanx, TCP": [], "PyTorch DDP, Gloo": []}
    transports, ddp = ("shm", "tcp"), None
    with contextlib.ExitStack() as stack:
        for _ in range(options.rounds):
            for contender, transport in zip(rounds, transports):
                job = phalanx(options, path, transport)
                turn = job["scaling"]["rounds"][0]
                rounds[contender].append([turn[key] for key in ("one_worker", "together", "apart")])
            job["train"]["batch_size"] //= options.workers
            ddp = ddp or Ddp(stack, options, job)
            rounds["PyTorch DDP, Gloo"].append(ddp.round())
    model = f"{job['name']} ({step.models.only(job['model'])[0]}, {job['parameters']:,})"
    return [row(options, model, job["train"]["batch_size"], contender, turns) for contender, turns in rounds.items()]


def row(options, model, batch, contender, turns):
    ratios = [[several / (options.workers * one) for several in both] for one, *both in turns]
    efficiencies = [ratio[0] for ratio in ratios]
    print(f"{model}, {contender}:", *(f"{ratio:.3f}" for ratio in efficiencies), file=sys.stderr)
    one, together, _ = (statistics.median(column) for column in zip(*turns))
    efficiency, apart = (statistics.median(column) for column in zip(*ratios))
    return [model, str(batch), contender, rate(one), rate(together), f"{efficiency:.2f}", f"{apart:.2f}"]


def rate(number):
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def main():
    parser = report.parser(__doc__, "the phalanx binary", seconds=2.0)
    parser.add_argument("--workers", type=int, default=2, help="processes with one thread each")
    parser.add_argument("--lanes", type=int, default=1, help="lanes of each of Phalanx's workers")
    parser.add_argument("jobs", nargs="+", metavar="JOB", help="the job files whose steps are measured")
    options = parser.parse_args()
    rows = [row for job in options.jobs for row in measure(options, job)]
    note = (
        f"Samples per second, medians of {options.rounds} rounds of {options.seconds:g} s a turn, one thread a "
        f"worker, {os.cpu_count()} cores of {report.processors()[0]}, PyTorch {torch.__version__}."
    )
    workers = f"{options.workers} workers"
    head = ["model (parameters)", "samples a worker", "contender", "1 worker", workers, "efficiency", "nothing added up"]
    report.report(options, note, head, rows, texts=3)


if __name__ == "__main__":
    main()
