"""Shuffled rows a second that PyTorch's DataLoader hands over: images of 28×28 bytes with a class, in batches of 128.

As many rows as the training split of examples/mnist.toml has, in memory. Run it by scripts/bench-loader.sh.
"""

import time

import torch
from torch.utils.data import DataLoader, TensorDataset

ROWS, BATCH, SECONDS = 6_400, 128, 3.0


def rows_per_second(**settings):
    images = torch.randint(256, (ROWS, 1, 28, 28), dtype=torch.uint8)
    dataset = TensorDataset(images, torch.randint(10, (ROWS,)))
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True, **settings)
    for _ in loader:  # workers start in the first epoch
        pass
    rows, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        rows += sum(len(images) for images, _ in loader)
    return rows / (time.perf_counter() - started)


for name, settings in {
    "one worker": {"num_workers": 1, "persistent_workers": True},
    "in the same process": {},
}.items():
    print(f"PyTorch's DataLoader, {name}: {rows_per_second(**settings) / 1e6:.3f} million shuffled rows/s")
