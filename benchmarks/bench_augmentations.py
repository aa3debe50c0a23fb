"""The two views of a MAE-MoCo step in records/s, compared with the nearest ones of `ecg-augmentations` (PyPI 1.0.1).

    pip install ecg-augmentations==1.0.1
    python benchmarks/bench_augmentations.py [--threads 1] [--batch 128] [--rounds 10]

Both make two views of 12 x 1000 float32 records, every operation with probability 0.5 per record: resized crop, one
lead set to zero, a silent window, noise, dropped samples. The other package has no window for its noise (it covers the
record) and drops no single samples, so it does less there; ours includes drawing and applying.
"""

import argparse
import time

import torch

from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.augmentations.views import MaeMocoViews


def ours(x):
    views, generator = MaeMocoViews(), RowGenerator(len(x), seed=0)

    def run():
        for _ in range(2):
            views.apply(x, views.draw(generator, *x.shape[1:]))

    return run


def theirs(x):
    import ecg_augmentations as other

    half = other.Compose(
        [
            other.RandomApply([other.RandomResizedCrop(1000)]),
            other.LeadMask(1, p=0.5),
            other.TimeMask(100, (0.0, 5.0), p=0.5),
            other.GaussianNoise(p=0.5),
        ]
    )
    generator = torch.Generator().manual_seed(0)

    def run():
        for _ in range(2):
            half(x, generator=generator)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x = torch.randn(options.batch, 12, 1000)
    runs = {"ecg_transformers": ours(x)}
    try:
        runs["ecg-augmentations"] = theirs(x)
    except ImportError:
        print("ecg-augmentations is not installed: pip install ecg-augmentations==1.0.1")
    best = {}
    for _ in range(options.rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            best[name] = min(best.get(name, float("inf")), time.perf_counter() - started)
    print(f"{'two views of a batch':<22}{'ms':>8}{'records/s':>12}{'ratio':>8}")
    for name, duration in best.items():
        rate = options.batch / duration
        print(f"{name:<22}{duration * 1e3:>8.1f}{rate:>12,.0f}{best['ecg_transformers'] / duration:>8.2f}")


if __name__ == "__main__":
    main()
