"""One turn of an MPI, started by its mpirun: the median time of an all-reduce, per size, as lines of JSON.

    mpirun -n RANKS python allreduce_mpi.py BYTES SECONDS          BYTES like 1024,65536; SECONDS per size
"""

import json
import statistics
import sys
import time

import numpy
from mpi4py import MPI

WORLD = MPI.COMM_WORLD


def main():
    sizes, seconds = [int(size) for size in sys.argv[1].split(",")], float(sys.argv[2])
    for size in sizes:
        vector, total = numpy.zeros(size // 4, numpy.float32), numpy.zeros(size // 4, numpy.float32)
        rounds, times = 3, []
        while rounds:
            WORLD.Barrier()
            for _ in range(rounds):
                vector.fill(1.0)
                begin = time.perf_counter()
                WORLD.Allreduce(vector, total)
                times.append(time.perf_counter() - begin)
            rounds = WORLD.bcast(max(0, min(5000, int((seconds - sum(times)) / statistics.median(times)))))
        if WORLD.rank == 0:
            print(json.dumps({"bytes": size, "median_seconds": statistics.median(times)}), flush=True)


if __name__ == "__main__":
    main()
