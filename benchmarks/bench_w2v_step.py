"""A step of Wav2Vec 2.0 + CMSC + random lead masking against its bare products, and what its parts cost, on one CPU.

    python benchmarks/bench_w2v_step.py [--threads 1] [--rounds 5] [--cpu_time] [--only base small]

- `base`: the published size, 2 recordings of two windows of 2,500 samples, every dropout on. Baseline: only the linear
  layers, attention products and convolutions of the step, forward and backward (two products per forward product), with
  the same shapes and type. Targets: in float32 at least 75 % of the step are products; bfloat16 takes at most .6 of
  float32. The largest resident memory is that of the process so far, so `base` comes first.
- `small`: the step of `training/configs/w2v_cmsc_rlm_ptbxl.yaml` in bfloat16 in records of 10 s beside the one of
  `mae_moco_ptbxl.yaml`; shares of the position convolution, and of the dropout of attention weights if it is on.

The step has everything: draws, passes, losses, backward pass, clipping, optimizer. The sides take turns, and each ratio
is that of the fastest rounds.
"""

import argparse
import itertools
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForPreTraining

from ecg_transformers import EcgWav2vec2Config, EcgWav2vec2ForPreTraining
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.commands.settings import read_settings

CONFIGS = Path(__file__).parents[1] / "training" / "configs"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Recordings of a step.
BASE_BATCH, SMALL_BATCH, MAE_MOCO_BATCH = 2, 64, 128
LEAST_PRODUCTS, LARGEST_BF16 = 0.75, 0.6


class Products:
    """The bare products of a step, forward and backward.

    Args:
        config: Configuration of the model.
        windows: Windows of a step.
        dtype: Type of the products.
    """

    def __init__(self, config: EcgWav2vec2Config, windows: int, dtype: torch.dtype):
        self.config, self.windows, self.dtype = config, windows, dtype
        self.calls = []
        samples, channels = config.window_size, config.num_leads
        for size, kernel, stride in zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True):
            self.convolution(channels, size, kernel, samples, stride=stride)
            samples, channels = (samples - kernel) // stride + 1, size
        width, heads, positions = config.hidden_size, config.num_attention_heads, config.num_conv_pos_embeddings
        groups = config.num_conv_pos_embedding_groups
        self.convolution(width, width, positions, samples, padding=positions // 2, groups=groups)
        rows = windows * samples
        self.product((rows, channels), (channels, width))
        attention, size = windows * heads, width // heads
        for _ in range(config.num_hidden_layers):
            for _ in range(4):
                self.product((rows, width), (width, width))
            self.product((attention, samples, size), (attention, size, samples))
            self.product((attention, samples, samples), (attention, samples, size))
            self.product((rows, width), (width, config.intermediate_size))
            self.product((rows, config.intermediate_size), (config.intermediate_size, width))

    def tensor(self, *shape: int) -> torch.Tensor:
        """A leaf with gradient."""
        return torch.randn(*shape, dtype=self.dtype).requires_grad_()

    def product(self, left: tuple[int, ...], right: tuple[int, ...]) -> None:
        """Add a product of these shapes."""
        first, second = self.tensor(*left), self.tensor(*right)
        self.calls.append((torch.matmul, (first, second), torch.randn(*left[:-1], right[-1], dtype=self.dtype)))

    def convolution(self, inputs: int, outputs: int, kernel: int, samples: int, **options: int) -> None:
        """Add a convolution over so many samples."""
        signal = self.tensor(self.windows, inputs, samples)
        weight = self.tensor(outputs, inputs // options.get("groups", 1), kernel)
        apply = partial(functional.conv1d, **options)
        with torch.no_grad():
            shape = apply(signal, weight).shape
        self.calls.append((apply, (signal, weight), torch.randn(shape, dtype=self.dtype)))

    def __call__(self) -> None:
        """Run all of them, forward and backward."""
        for function, arguments, gradient in self.calls:
            torch.autograd.grad(function(*arguments), arguments, gradient)


def build(recipe: str, *words: str) -> nn.Module:
    """The pretraining model of a recipe, in training mode."""
    settings = read_settings([str(CONFIGS / f"{recipe}.yaml"), "--corpus=-", "--output_dir=-", "--use_cpu", *words])
    return AutoModelForPreTraining.from_config(settings.config, attn_implementation="eager").train()


def training_step(model: nn.Module, batch: int, dtype: torch.dtype) -> Callable[[], None]:
    """A function that makes one whole training step, as `PretrainingTrainer` does."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    config, ids, steps = model.config, torch.arange(batch), itertools.count()
    segments = (2,) if getattr(config, "num_segments", 1) == 2 else ()
    inputs = {"input_values": torch.randn(batch, *segments, config.num_leads, config.window_size)}

    def run() -> None:
        draws = model.apply_draws(inputs, model.draw(RowGenerator(batch, seed=next(steps))))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(**inputs, **draws, patient_ids=ids).loss
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return run


def fastest(runs: dict[str, Callable[[], None]], options: argparse.Namespace) -> dict[str, float]:
    """Seconds of the fastest round of each, the sides in turn, after one round to warm up."""
    clock = time.process_time if options.cpu_time else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(options.rounds + 1):
        for name, run in runs.items():
            started = clock()
            run()
            if number:
                times[name].append(clock() - started)
    return {name: min(values) for name, values in times.items()}


def print_row(name: str, seconds: float, note: str = "") -> None:
    print(f"{name:<56}{1e3 * seconds:>10.0f} ms   {note}", flush=True)


def verdict(value: float, target: float, *, least: bool) -> str:
    met = value >= target if least else value <= target
    return f"{value:.2f} ({'at least' if least else 'at most'} {target:.2f}: {'met' if met else 'MISSED'})"


def base(options: argparse.Namespace) -> None:
    """The published size against its products."""
    config = EcgWav2vec2Config(attn_implementation="eager")
    steps = {}
    for name, dtype in TYPES.items():
        torch.manual_seed(0)
        step = training_step(EcgWav2vec2ForPreTraining(config).train(), BASE_BATCH, dtype)
        times = fastest({"step": step, "products": Products(config, 2 * BASE_BATCH, dtype)}, options)
        steps[name] = times["step"]
        share = times["products"] / times["step"]
        note = f"products {1e3 * times['products']:.0f} ms, share {share:.2f}"
        if name == "float32":
            note = f"products {1e3 * times['products']:.0f} ms, share {verdict(share, LEAST_PRODUCTS, least=True)}"
        print_row(f"base, {BASE_BATCH} recordings, {name}", times["step"], note)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{'':<4}largest resident memory {memory:.2f} GiB")
    print(f"bfloat16 / float32: {verdict(steps['bfloat16'] / steps['float32'], LARGEST_BF16, least=False)}")


def small(options: argparse.Namespace) -> None:
    """The shipped recipe: rate, and shares of two parts."""
    recipe, dtype = "w2v_cmsc_rlm_ptbxl", torch.bfloat16
    model = build(recipe)
    position = model.encoder.position_embedding
    tokens = torch.randn(2 * SMALL_BATCH, model.encoder.num_tokens(model.config.window_size), model.config.hidden_size)
    tokens.requires_grad_()

    def positions() -> None:
        with torch.autocast("cpu", dtype=dtype):
            added = position(tokens)
        added.backward(torch.ones_like(added))

    times = fastest(
        {
            "step": training_step(model, SMALL_BATCH, dtype),
            "attention dropout": training_step(build(recipe, "--attention_probs_dropout_prob=0.1"), SMALL_BATCH, dtype),
            "MAE-MoCo": training_step(build("mae_moco_ptbxl"), MAE_MOCO_BATCH, dtype),
            "positions": positions,
        },
        options,
    )
    rate, other = SMALL_BATCH / times["step"], MAE_MOCO_BATCH / times["MAE-MoCo"]
    print_row(f"small, {SMALL_BATCH} recordings, bfloat16", times["step"], f"{rate:.0f} records/s")
    print_row("MAE-MoCo, small, 128 recordings", times["MAE-MoCo"], f"{other:.0f} records/s, ratio {rate / other:.2f}")
    print_row("position convolution", times["positions"], f"share {times['positions'] / times['step']:.2f}")
    more = times["attention dropout"] - times["step"]
    print_row("attention dropout of .1, beyond the step", more, f"share {more / times['attention dropout']:.2f}")


PARTS = {"base": base, "small": small}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu_time", action="store_true", help="processor time, for a machine that is not idle")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.only:
        PARTS[name](options)


if __name__ == "__main__":
    main()
