"""Recipes of views in views/s: a batch at once, and the same records one by one.

    python benchmarks/bench_views.py [--threads 1] [--batch 128] [--rounds 10]

Drawing and applying, views of 12 x 250 float32 at 100 Hz. Targets: `rrc_to` at least 6 times as fast in a batch,
`physio` 8 times.
"""

import argparse
import time
from collections.abc import Callable

import torch

from ecg_transformers.augmentations.recipes import OPERATIONS, RECIPES, view_recipe
from ecg_transformers.augmentations.row_generator import RowGenerator

TARGETS = {"rrc_to": 6, "physio": 8}


def fastest(run: Callable[[], None], rounds: int) -> float:
    duration = float("inf")
    for _ in range(rounds + 1):
        started = time.perf_counter()
        run()
        duration = min(duration, time.perf_counter() - started)
    return duration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    signal = torch.randn(options.batch, 12, 250)
    print(f"{'recipe':<24}{'batch, views/s':>16}{'one by one':>12}{'ratio':>8}{'target':>8}")
    for name in [*(name for name in RECIPES if name != "times"), *([name] for name in OPERATIONS)]:
        recipe = view_recipe(name, sampling_rate=100)

        def together(recipe=recipe):
            recipe.apply(signal, recipe.draw(RowGenerator(len(signal)), *signal.shape[1:]))

        def alone(recipe=recipe):
            for record in signal.split(1):
                recipe.apply(record, recipe.draw(RowGenerator(1), *record.shape[1:]))

        batch, single = (options.batch / fastest(run, options.rounds) for run in (together, alone))
        label = name if isinstance(name, str) else name[0]
        target = TARGETS.get(name, "") if isinstance(name, str) else ""
        print(f"{label:<24}{batch:>16,.0f}{single:>12,.0f}{batch / single:>8.1f}{target:>8}")


if __name__ == "__main__":
    main()
