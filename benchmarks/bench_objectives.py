"""Pretraining steps of the ViT family in units of MAE-MoCo's, the share of the choice of positives, inner layers.

    python benchmarks/bench_objectives.py [--threads 1] [--rounds 7] [--batch 128] [--float32] [--cpu_time]
        [--only steps]

All rows are for the small encoder of `training/configs/*_ptbxl.yaml` (width 192, 4 blocks) on windows of 12 x 1000, by
default under bfloat16 autocast. The sides of a comparison alternate round by round in one process, and a ratio is that
of the fastest rounds.

- `steps`: whole training steps (draws, views, passes, losses, backward pass, clipping, AdamW, momentum update, queue)
  of the shipped recipes, and of MAE-MoCo with one of its tasks left out.
- `selection`: InfoNCE with a choice of positives, forward and backward, beyond plain InfoNCE on the same keys, as a
  share of the step of MAE-MoCo at a batch of 256.
- `layers`: embedding windows at an inner layer against the whole encoder.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import AutoModelForPreTraining

from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.commands.settings import read_settings
from ecg_transformers.inference.encode import embed_windows
from ecg_transformers.objectives.infonce import PLAIN, info_nce
from ecg_transformers.objectives.progress import Progress
from ecg_transformers.objectives.selection import SelectionRule
from ecg_transformers.readout import Readout

CONFIGS = Path(__file__).parents[1] / "training" / "configs"
# Recipe, changes, and the largest permitted ratio to MAE-MoCo's step.
STEPS: dict[str, tuple[str, list[str], float | None]] = {
    "MAE-MoCo": ("mae_moco_ptbxl", [], None),
    "MAE-NextClip": ("mae_nextclip_ptbxl", [], 0.80),
    "MoCo v3": ("moco_v3_ptbxl", [], 1.70),
    "MAE alone": ("mae_moco_ptbxl", ["--contrastive_weight", "0"], 0.30),
    "contrast alone": ("mae_moco_ptbxl", ["--reconstruction_weight", "0"], None),
    "NextClip alone": ("mae_nextclip_ptbxl", ["--reconstruction_weight", "0"], None),
    "MoCo v3, 128 wide, 3 blocks": (
        "moco_v3_ptbxl",
        ["--hidden_size=128", "--num_hidden_layers=3", "--num_attention_heads=4", "--intermediate_size=256"],
        None,
    ),
}
SELECTION_BATCH = 256
# Candidates (a queue; the other records of the batch) and the largest permitted share of the step.
CANDIDATES = {"queue of 65,536 keys": (65_536, 0.10), "keys of the batch": (SELECTION_BATCH - 1, 0.02)}
# Layer, and the smallest permitted gain over the whole encoder of 4 layers.
LAYERS = {1: 3.0, 2: 1.8}


def build(recipe: str, *words: str) -> Any:
    """The pretraining model of a recipe, in training mode."""
    settings = read_settings([str(CONFIGS / f"{recipe}.yaml"), "--corpus=-", "--output_dir=-", "--use_cpu", *words])
    torch.manual_seed(0)
    return AutoModelForPreTraining.from_config(settings.config, attn_implementation="eager").train()


def training_step(model: Any, batch: int, dtype: torch.dtype) -> Callable[[], Any]:
    """A function that makes one whole training step, as `PretrainingTrainer` does."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    inputs = {"input_values": torch.randn(batch, model.config.num_leads, model.config.window_size)}
    ids, steps = torch.arange(batch), itertools.count()

    def run() -> None:
        step = next(steps)
        if hasattr(model, "before_step"):
            model.before_step(Progress(step, 1_000_000, 0.0))
        draws = model.apply_draws(inputs, model.draw(RowGenerator(batch, seed=step)))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(**inputs, **draws, patient_ids=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return run


def contrast(candidates: int, rule: SelectionRule) -> Callable[[], Any]:
    """A function that computes InfoNCE and its gradient."""
    generator = torch.Generator().manual_seed(0)
    queries, keys = (normalize(torch.randn(SELECTION_BATCH, 128, generator=generator), dim=1) for _ in range(2))
    columns = normalize(torch.randn(candidates, 128, generator=generator), dim=1).T.contiguous()
    queries.requires_grad_()
    return lambda: info_nce(queries, keys, columns, 0.2, rule).loss.backward()


def fastest(runs: Mapping[str, Callable[[], Any]], options: argparse.Namespace) -> dict[str, float]:
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


def print_row(name: str, seconds: float, ratio: float, target: float | None, *, least: bool = False) -> None:
    """One row: time, ratio, and whether the ratio meets its target."""
    words = "-"
    if target is not None:
        met = ratio >= target if least else ratio <= target
        words = f"{'at least' if least else 'at most'} {target:.2f}: {'met' if met else 'MISSED'}"
    print(f"{name:<40}{1e3 * seconds:>10.1f} ms{ratio:>9.3f}   {words}", flush=True)


def steps(options: argparse.Namespace, dtype: torch.dtype) -> None:
    """Whole steps in units of MAE-MoCo's."""
    runs = {
        name: training_step(build(recipe, *words), options.batch, dtype) for name, (recipe, words, _) in STEPS.items()
    }
    times = fastest(runs, options)
    for name, seconds in times.items():
        print_row(f"step of {name}, batch {options.batch}", seconds, seconds / times["MAE-MoCo"], STEPS[name][2])


def selection(options: argparse.Namespace, dtype: torch.dtype) -> None:
    """What a choice of positives adds to a step."""
    for name, (candidates, target) in CANDIDATES.items():
        size = candidates if candidates >= SELECTION_BATCH else 0
        model = build("mae_moco_ptbxl", "--queue_size", str(size))
        rules = {"none": PLAIN, **{word: SelectionRule(word) for word in ("srcl", "n_sam", "ds")}}
        runs = {word: contrast(candidates, rule) for word, rule in rules.items()}
        times = fastest({"step": training_step(model, SELECTION_BATCH, dtype), **runs}, options)
        print_row(f"step of MAE-MoCo, {name}", times["step"], 1.0, None)
        for word in runs:
            added = times[word] - (times["none"] if word != "none" else 0.0)
            print_row(f"  {word}", added, added / times["step"], None if word == "none" else target)


def layers(options: argparse.Namespace, dtype: torch.dtype) -> None:
    """Embedding at an inner layer."""
    encoder = build("mae_moco_ptbxl").encoder.eval()
    inputs = {"input_values": torch.randn(256, encoder.config.num_leads, encoder.config.window_size)}

    def embed(layer: int) -> Callable[[], Any]:
        @torch.inference_mode()
        def run() -> None:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                embed_windows(encoder, inputs, Readout("cls", layer))

        return run

    times = fastest({str(layer): embed(layer) for layer in (-1, *LAYERS)}, options)
    print_row("256 windows, output of 4 layers", times["-1"], 1.0, None)
    for layer, target in LAYERS.items():
        print_row(f"  layer {layer}", times[str(layer)], times["-1"] / times[str(layer)], target, least=True)


def main() -> None:
    """Print all rows, or those of one group."""
    groups = {group.__name__: group for group in (steps, selection, layers)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cpu_time", action="store_true", help="processor time, for a machine that is not idle")
    parser.add_argument("--batch", type=int, default=128, help="batch of the steps")
    parser.add_argument("--float32", action="store_true", help="without autocast to bfloat16")
    parser.add_argument("--only", choices=groups, help="one group of rows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = torch.float32 if options.float32 else torch.bfloat16
    print(f"{options.threads} threads, torch {torch.__version__}, {str(dtype).removeprefix('torch.')}")
    for name, group in groups.items():
        if options.only in (None, name):
            group(options, dtype)


if __name__ == "__main__":
    main()
