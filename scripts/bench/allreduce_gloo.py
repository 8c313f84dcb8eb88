"""One turn of PyTorch's Gloo: the median time of an all-reduce, per size, as lines of JSON.

    allreduce_gloo.py RANKS BYTES SECONDS          BYTES like 1024,65536; SECONDS per size
"""

import datetime
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time

import torch
import torch.distributed as dist


def rank(number, ranks, sizes, seconds, store):
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    timeout = datetime.timedelta(seconds=120)
    dist.init_process_group("gloo", f"file://{store}", rank=number, world_size=ranks, timeout=timeout)
    for size in sizes:
        vector = torch.zeros(size // 4)
        rounds, times = 3, []
        while rounds:
            dist.barrier()
            for _ in range(rounds):
                vector.fill_(1.0)
                begin = time.perf_counter()
                dist.all_reduce(vector)
                times.append(time.perf_counter() - begin)
            more = torch.tensor([min(5000, int((seconds - sum(times)) / statistics.median(times)))])
            dist.broadcast(more, 0)
            rounds = max(0, more.item())
        if number == 0:
            print(json.dumps({"bytes": size, "median_seconds": statistics.median(times)}), flush=True)
    dist.destroy_process_group()


def main():
    ranks, sizes, seconds = int(sys.argv[1]), [int(size) for size in sys.argv[2].split(",")], float(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        arguments = (ranks, sizes, seconds, os.path.join(folder, "store"))
        processes = [multiprocessing.Process(target=rank, args=(number, *arguments)) for number in range(ranks)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        sys.exit(any(process.exitcode for process in processes))


if __name__ == "__main__":
    main()
