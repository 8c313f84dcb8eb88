"""Samples per second of training steps: Phalanx against PyTorch.

    step.py --phalanx target/release/phalanx [--rounds 5] [--seconds 2] [--markdown FILE] JOB.toml...

Both sides train the same model with the same batch, optimizer and clipping on one thread and one core, turn
about in each round; the table has the medians. A step is everything from gathering the rows to updated
parameters: scaling of the input, forward, backward, (for Phalanx: the sum over lanes,) clipping, update.
Run it by scripts/bench-step.sh, which pins it to a core.
"""

import json
import statistics
import subprocess
import sys
import time

import torch
from torch.nn import functional as F

import models
import report

WARM_UP_STEPS = 5

# Rows that PyTorch's batches are gathered from.
DATASET_ROWS = 4096


class PyTorch:
    """PyTorch's side of one model."""

    def __init__(self, job):
        torch.manual_seed(0)
        self.schema, self.train = job["schema"], job["train"]
        self.model = models.build(job["model"], self.schema).train()
        self.layout = torch.channels_last if "cnn" in job["model"] else torch.preserve_format
        self.model.to(memory_format=self.layout)  # the faster one for convolutions
        self.optimizer = models.optimizer(self.train, self.model.parameters())
        count = sum(parameter.numel() for parameter in self.model.parameters())
        if count != job["parameters"]:
            sys.exit(f"{job['name']}: PyTorch's model has {count} parameters, Phalanx's {job['parameters']}")
        self.inputs, self.truths = self.dataset(DATASET_ROWS)

    def dataset(self, rows):
        """Random rows in the form in which a data loader hands them over."""
        (kind, form), target = models.only(self.schema["features"]), self.schema["target"]
        if kind == "bytes":
            text = torch.randint(256, (rows, form["context"] + 1), dtype=torch.uint8)
            return text[:, :-1].contiguous(), text[:, 1:].contiguous()
        classes = len(target["classes"]) if "classes" in target else None
        truths = torch.randint(classes, (rows,)) if classes else torch.randn(rows, 1)
        if kind == "image":
            return torch.randint(256, (rows, *form["shape"]), dtype=torch.uint8), truths
        return torch.randn(rows, form["width"]), truths

    def loss(self):
        kind, form = models.only(self.schema["features"])
        rows = torch.randint(DATASET_ROWS, (self.train["batch_size"],))
        inputs, truths = self.inputs[rows], self.truths[rows]
        if kind == "bytes":
            return F.cross_entropy(self.model(inputs.long()), truths.long().flatten())
        if kind == "image":
            mean, deviation = (torch.tensor(form[key]).view(-1, 1, 1) for key in ("mean", "deviation"))
            inputs = (inputs.float() / 255 - mean) / deviation
            inputs = inputs.to(memory_format=self.layout)
        scores = self.model(inputs)
        return F.cross_entropy(scores, truths) if "classes" in self.schema["target"] else F.mse_loss(scores, truths)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        if clip := self.train.get("clip_norm"):
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.optimizer.step()
        return loss.item()

    def samples_per_second(self, seconds):
        for _ in range(WARM_UP_STEPS):
            self.step()
        steps, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            self.step()
            steps += 1
        return steps * self.train["batch_size"] / elapsed


def phalanx(options, job, *more):
    """One turn of Phalanx's side."""
    command = [options.phalanx, "bench", "step", job, "--seconds", str(options.seconds), "--json", *more]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure(options, path):
    """One row of the table."""
    torch_side, rates = None, {"PyTorch": [], "one lane": [], "all lanes": []}
    for _ in range(options.rounds):
        job = phalanx(options, path)
        torch_side = torch_side or PyTorch(job)
        rates["PyTorch"].append(torch_side.samples_per_second(options.seconds))
        rates["one lane"].append(phalanx(options, path, "--set", "train.lanes=1")["samples_per_second"])
        rates["all lanes"].append(job["samples_per_second"])
    medians = {side: statistics.median(values) for side, values in rates.items()}
    lanes, parameters = job["train"]["lanes"], job["parameters"]
    for side, values in rates.items():
        print(f"{job['name']}, {side}:", *(f"{value:,.0f}" for value in values), file=sys.stderr)
    return [
        f"{job['name']} ({models.only(job['model'])[0]})",
        f"{parameters:,}",
        str(job["train"]["batch_size"]),
        f"{medians['PyTorch']:,.0f}",
        f"{medians['one lane']:,.0f}",
        f"{medians['one lane'] / medians['PyTorch']:.2f}",
        f"{medians['all lanes']:,.0f} ({lanes})",
        f"{medians['all lanes'] / medians['PyTorch']:.2f}",
    ]


def main():
    parser = report.parser(__doc__, "the phalanx binary", seconds=2.0)
    parser.add_argument("jobs", nargs="+", metavar="JOB", help="the job files whose steps are measured")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    rows = [measure(options, job) for job in options.jobs]
    note = (
        f"Samples per second of one step, medians of {options.rounds} rounds of {options.seconds:g} s a side, "
        f"one thread on one core: {report.processors()[0]}, PyTorch {torch.__version__}."
    )
    head = ["model", "parameters", "batch", "PyTorch", "Phalanx, 1 lane", "ratio", "Phalanx (job's lanes)", "ratio"]
    report.report(options, note, head, rows)


if __name__ == "__main__":
    main()
