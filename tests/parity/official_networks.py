"""Checkpoints with the keys and shapes of the official ones, and what the official networks compute with them.

Written from the published description, in plain functions of the official state dict: no class of ours is used.
"""

import json

import torch
from torch.nn import functional

from .recorded import ECG_SELFSUPERVISED

KEYS = json.loads((ECG_SELFSUPERVISED / "official_checkpoint_keys.json").read_text())
# Our lead j is the official lead PLACES[j]: I, II, V1 to V6, III, aVR, aVL, aVF there.
PLACES = [0, 1, 8, 9, 10, 11, 2, 3, 4, 5, 6, 7]


def synthetic(kind: str) -> dict[str, torch.Tensor]:
    """Random tensors under the official keys; second copies are equal to the first."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in KEYS[kind].items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        elif len(shape) > 1:
            fan_in = torch.tensor(shape[1:]).prod().item()
            state[name] = torch.randn(shape, generator=generator) / fan_in**0.5
        else:
            state[name] = 0.3 + 0.1 * torch.randn(shape, generator=generator)
    for name in state:
        original = name.replace("convpath.0.", "convs.").replace("model.model.", "model.")
        state[name] = state.get(original, state[name])
    return state


def signals(samples: int = 250) -> tuple[torch.Tensor, torch.Tensor]:
    """The same records in our lead order and in the official one, float64."""
    ours = torch.randn(3, 12, samples, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    official = torch.empty_like(ours)
    official[:, PLACES] = ours
    return ours, official


def norm(state, prefix, x):
    """BatchNorm in evaluation."""
    part = [state[f"{prefix}.{name}"].double() for name in ("running_mean", "running_var", "weight", "bias")]
    return functional.batch_norm(x, *part)


def linear(state, prefix, x):
    bias = state.get(f"{prefix}.bias")
    return functional.linear(x, state[f"{prefix}.weight"].double(), None if bias is None else bias.double())


def convolution(state, prefix, x, stride=1):
    weight, bias = state[f"{prefix}.0.weight"].double(), state.get(f"{prefix}.0.bias")
    x = functional.conv1d(x, weight, None if bias is None else bias.double(), stride, (weight.shape[2] - 1) // 2)
    return norm(state, f"{prefix}.1", x)


def xresnet(state, prefix, x):
    """Pooled features of an official xresnet1d: maximum, then mean."""
    for layer in range(3):
        x = convolution(state, f"{prefix}{layer}", x, stride=1 if layer else 2).relu()
    x = functional.max_pool1d(x, 3, 2, 1)
    stage = 4
    while f"{prefix}{stage}.0.convs.0.0.weight" in state:
        block = 0
        while f"{prefix}{stage}.{block}.convs.0.0.weight" in state:
            name = f"{prefix}{stage}.{block}"
            layers = sum(f"{name}.convs.{layer}.0.weight" in state for layer in range(4))
            stride = 2 if stage > 4 and not block else 1
            branch = x
            for layer in range(layers):
                strided = layer == (1 if layers == 3 else 0)
                branch = convolution(state, f"{name}.convs.{layer}", branch, stride if strided else 1)
                branch = branch.relu() if layer < layers - 1 else branch
            shortcut = functional.avg_pool1d(x, 2, 2, ceil_mode=True) if stride == 2 else x
            for place in (0, 1):
                if f"{name}.idpath.{place}.0.weight" in state:
                    shortcut = convolution(state, f"{name}.idpath.{place}", shortcut)
            x = (branch + shortcut).relu()
            block += 1
        stage += 1
    return torch.cat([x.amax(dim=2), x.mean(dim=2)], dim=1)


def batch_norm_mlp(state, prefix, x):
    """Linear, BatchNorm, ReLU, Linear."""
    return linear(state, f"{prefix}.3", norm(state, f"{prefix}.1", linear(state, f"{prefix}.0", x)).relu())


def cpc(state, x, strides=(1, 1, 1, 1)):
    """Latents and LSTM states of the official CPC."""
    prefix = "model_cpc."
    for layer, stride in enumerate(strides):
        x = convolution(state, f"{prefix}encoder.{layer}", x, stride).relu()
    latents = tokens = x.transpose(1, 2)
    for layer in range(2):
        w, u, b, c = (
            state[f"{prefix}rnn.{kind}_l{layer}"].double() for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        hidden = cell = torch.zeros(len(tokens), u.shape[1], dtype=torch.float64)
        states = []
        for step in tokens.unbind(1):
            gates = step @ w.T + b + hidden @ u.T + c
            enter, forget, candidate, leave = gates.chunk(4, dim=1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            states.append(hidden)
        tokens = torch.stack(states, dim=1)
    return latents, tokens
