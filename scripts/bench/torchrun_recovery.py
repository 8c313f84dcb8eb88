"""How fast PyTorch's elastic agent recovers from a killed worker.

    torchrun_recovery.py [--workers 4] [--rounds 8]

torchrun starts the workers, which train a perceptron (784-512-512-10) over Gloo and save a checkpoint every 100 steps.
Each round kills one of them and waits for the next finished step; the agent restarts all workers, which go on from the
checkpoint. Prints the times, and how many rounds were survived. Run it by scripts/bench-recovery.sh.
"""

import argparse
import glob
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

# Seconds after which a round counts as lost, for the first import of PyTorch from a cold disk, and of training between
# two rounds.
LOST_AFTER = 30
STARTED_AFTER = 180
REST = 3


def train(folder):
    """One worker: appends a line a step to `steps`, as rank 0, and its own process id to `pids`."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, checkpoint = dist.get_rank(), os.path.join(folder, "checkpoint.pt")
    with open(os.path.join(folder, f"pid-{rank}"), "w") as file:
        file.write(str(os.getpid()))
    torch.manual_seed(7)
    sizes = [784, 512, 512, 10]
    layers = [layer for i in range(3) for layer in (torch.nn.Linear(sizes[i], sizes[i + 1]), torch.nn.ReLU())][:-1]
    model = DistributedDataParallel(torch.nn.Sequential(*layers))
    optimizer, step = torch.optim.AdamW(model.parameters(), lr=0.003), 0
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    inputs, targets = torch.randn(32, 784), torch.randint(10, (32,))
    while True:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        step += 1
        if rank == 0:
            with open(os.path.join(folder, "steps"), "a") as file:
                file.write(f"{time.time()} {step}\n")
            if step % 100 == 0:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
                torch.save(state, checkpoint + ".new")
                os.replace(checkpoint + ".new", checkpoint)


def last_step(folder):
    """When the last step was finished; 0 before the first."""
    try:
        with open(os.path.join(folder, "steps")) as file:
            lines = file.read().splitlines()
        return float(lines[-1].split()[0]) if lines else 0.0
    except (FileNotFoundError, ValueError, IndexError):
        return 0.0


def wait(folder, after, agent, limit=LOST_AFTER):
    """Waits for a step that was finished after this moment; `None` where none comes or the agent has given up."""
    begin = time.time()
    while time.time() - begin < limit and agent.poll() is None:
        if last_step(folder) > after:
            return last_step(folder)
        time.sleep(0.005)
    return None


def stop(agent, folder):
    """Ends the agent and all of its workers: those that hang, too, and those that are only starting."""
    agent.kill()
    agent.wait()
    for command in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(command) as file:
                if folder in file.read():
                    os.kill(int(command.split("/")[2]), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--workers", type=int, default=4)
    options.add_argument("--rounds", type=int, default=8)
    options = options.parse_args()
    times, lost, agent = [], 0, None
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={options.workers}",
                   "--max-restarts=1000", "--monitor-interval=0.1", os.path.abspath(__file__), "--train", folder]
        for _ in range(options.rounds):
            if agent is None:
                agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                if wait(folder, time.time(), agent, STARTED_AFTER) is None:
                    stop(agent, folder)
                    sys.exit("torchrun_recovery.py: torchrun makes no step: run it by hand to see why")
            time.sleep(REST)
            with open(os.path.join(folder, f"pid-{random.randrange(options.workers)}")) as file:
                killed, moment = int(file.read()), time.time()
            os.kill(killed, signal.SIGKILL)
            # Steps that were under way may still be written.
            time.sleep(0.2)
            stepped = wait(folder, max(moment + 0.2, last_step(folder)), agent)
            if stepped is None:
                lost += 1
                stop(agent, folder)
                agent = None
            else:
                times.append(stepped - moment)
        if agent is not None:
            stop(agent, folder)
    shown = f"median {statistics.median(times):.2f} s, worst {max(times):.2f} s" if times else "none survived"
    print(f"torchrun, SIGKILL of a worker to the next finished step: {shown}; {options.rounds - lost} of {options.rounds} survived")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(sys.argv[2])
    else:
        main()
