"""The models of a job file in PyTorch, as one would write them there.

What is trained, and on what, comes from `phalanx bench step --json` (`model`, `schema` and `train` of its
answer), so that both sides build the same model; the caller compares the numbers of parameters.
"""

import torch
from torch import nn
from torch.nn import functional as F

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def build(model, schema):
    """The model of a job, initialised."""
    (kind, spec), (features, target) = only(model), (schema["features"], schema["target"])
    if kind == "gpt":
        return Gpt(spec, features["bytes"]["context"])
    scores = len(target["classes"]) if "classes" in target else 1
    if kind == "cnn":
        return cnn(spec, features["image"]["shape"], scores)
    hidden = spec["hidden"] if kind == "mlp" else []
    layers = mlp(width(features), hidden, scores, spec.get("activation", "relu"), spec.get("dropout", 0.0))
    return nn.Sequential(nn.Flatten(), *layers)


def only(table):
    """Key and value of a table that has one."""
    ((key, value),) = table.items()
    return key, value


def width(features):
    kind, form = only(features)
    return form["width"] if kind == "dense" else torch.Size(form["shape"]).numel()


def mlp(inputs, hidden, scores, activation, dropout):
    layers, last = [], inputs
    for size in hidden:
        layers += [nn.Linear(last, size), ACTIVATIONS[activation]()]
        layers += [nn.Dropout(dropout)] if dropout else []
        last = size
    return [*layers, nn.Linear(last, scores)]


def cnn(spec, shape, scores):
    channels, height, breadth = shape
    layers = []
    for size in spec["channels"]:
        layers.append(nn.Conv2d(channels, size, spec["kernel"], padding=spec["kernel"] // 2))
        layers += [nn.BatchNorm2d(size)] if spec["norm"] == "batch" else []
        # Pooling before a rising function gives the same numbers with less work.
        pair = [nn.MaxPool2d(2), ACTIVATIONS[spec["activation"]]()]
        layers += pair if spec["activation"] in ("relu", "tanh") else pair[::-1]
        channels, height, breadth = size, height // 2, breadth // 2
    inputs = channels * height * breadth
    return nn.Sequential(
        *layers, nn.Flatten(), *mlp(inputs, spec["hidden"], scores, spec["activation"], spec["dropout"])
    )


class Gpt(nn.Module):
    """GPT-2's shape over bytes, with fused attention, rotary or learned positions."""

    def __init__(self, spec, context):
        super().__init__()
        size = spec["width"]
        self.embedding = nn.Embedding(256, size)
        learned = spec["positions"] == "learned"
        self.positions = nn.Parameter(torch.zeros(context, size)) if learned else None
        self.blocks = nn.ModuleList(Block(spec, context) for _ in range(spec["layers"]))
        self.norm = nn.LayerNorm(size)
        self.output = nn.Linear(size, 256, bias=False)
        self.dropout = nn.Dropout(spec["dropout"])
        if spec["tied"]:
            self.output.weight = self.embedding.weight
        nn.init.normal_(self.output.weight, std=0.02)

    def forward(self, text):
        x = self.embedding(text)
        if self.positions is not None:
            x = x + self.positions[: text.shape[1]]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x)).flatten(0, 1)


class Block(nn.Module):
    def __init__(self, spec, context):
        super().__init__()
        size = spec["width"]
        self.attention_norm, self.mlp_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = Attention(spec, context)
        self.mlp = nn.Sequential(
            nn.Linear(size, 4 * size, bias=False),
            nn.GELU(),
            nn.Linear(4 * size, size, bias=False),
            nn.Dropout(spec["dropout"]),
        )

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Attention(nn.Module):
    def __init__(self, spec, context):
        super().__init__()
        self.heads, self.dropout = spec["heads"], spec["dropout"]
        size = spec["width"]
        self.qkv = nn.Linear(size, 3 * size, bias=False)
        self.output = nn.Linear(size, size, bias=False)
        self.rope = spec["positions"] == "rope"
        if self.rope:
            pairs = torch.arange(0, size // self.heads, 2) / (size // self.heads)
            angles = torch.outer(torch.arange(context), 10_000.0**-pairs)
            self.register_buffer("rotation", torch.polar(torch.ones_like(angles), angles), persistent=False)

    def forward(self, x):
        rows, context, size = x.shape
        parts = self.qkv(x).view(rows, context, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        if self.rope:
            query, key = self.rotate(query), self.rotate(key)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        mixed = self.output(mixed.transpose(1, 2).reshape(rows, context, size))
        return F.dropout(mixed, self.dropout, self.training)

    def rotate(self, x):
        """Turns each pair of neighbouring numbers by its angle: a product of complex numbers."""
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.rotation[: x.shape[2]]).flatten(-2)


def optimizer(train, parameters):
    """The job's update rule, in PyTorch's fused form where there is one."""
    spec, rate = train["optimizer"], train["learning_rate"]
    common = {"lr": rate, "weight_decay": spec["weight_decay"], "fused": True}
    adam = {"betas": (spec.get("beta_1", 0.9), spec.get("beta_2", 0.999)), "eps": spec.get("epsilon", 1e-8)}
    match spec["kind"]:
        case "adamw":
            return torch.optim.AdamW(parameters, **adam, **common)
        case "adam":
            return torch.optim.Adam(parameters, **adam, **common)
        case "sgd":
            momentum = spec.get("momentum", 0.0)
            return torch.optim.SGD(parameters, momentum=momentum, nesterov=spec.get("nesterov", False), **common)
        case kind:
            raise SystemExit(f"the benchmark has no `{kind}` on PyTorch's side: use adamw, adam or sgd")
