"""The loss of contrastive predictive coding and a loop over anchors: time (s) and memory of both passes.

    python benchmarks/bench_cpc.py [--threads 1] [--batch 16] [--steps 1000] [--size 512] [--everywhere]

Both get the same predictions, latents and negatives (128 of 12 steps ahead, as in the public code ecg-selfsupervised),
and their losses and gradients are compared. The loop makes one cross-entropy per anchor, as that code does; it takes
minutes and 5 GB. Each runs in a process of its own, whose largest resident memory beyond its inputs is printed.
Targets for the negatives of the own record: at least 10 times as fast, at most a sixth of the memory; a batch of 32
below 4 GiB.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
from torch.nn import functional

from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.objectives.cpc import cpc_loss, negative_records, negative_times, num_anchors

OFFSET, NEGATIVES = 12, 128


def loop(predictions, latents, times, records):
    """One anchor after the other."""
    own = torch.arange(len(latents))[:, None]
    total = 0.0
    for position in range(times.shape[1]):
        rows = own if records is None else records[:, position]
        candidates = torch.cat([latents[:, position + OFFSET, None], latents[rows, times[:, position]]], dim=1)
        scores = (candidates * predictions[:, position, None]).sum(dim=-1)
        total = total + functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
    return total / times.shape[1]


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(options: argparse.Namespace) -> None:
    """Run one of the two and print seconds of both passes, memory, loss and norm of the gradients."""
    torch.set_num_threads(options.threads)
    generator, anchors = RowGenerator(options.batch, seed=0), num_anchors(options.steps, OFFSET)
    latents, predictions = (
        generator.normal(options.steps, options.size).div_(options.size**0.25).requires_grad_() for _ in range(2)
    )
    times = negative_times(generator.uniform(anchors, NEGATIVES), OFFSET)
    records = negative_records(generator.uniform(anchors, NEGATIVES), options.batch) if options.everywhere else None
    # Space of the gradients, which any objective needs.
    latents.grad, predictions.grad = torch.zeros_like(latents), torch.zeros_like(predictions)
    before, start = peak_mib(), time.perf_counter()
    if options.measure == "loop":
        loss = loop(predictions, latents, times, records)
    else:
        loss = cpc_loss(predictions, latents, OFFSET, times, records).loss
    middle = time.perf_counter()
    loss.backward()
    end = time.perf_counter()
    norm = (latents.grad.norm() + predictions.grad.norm()).item()
    print(middle - start, end - middle, peak_mib() - before, loss.item(), norm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--everywhere", action="store_true", help="negatives from all records of the batch")
    parser.add_argument("--only", choices=["loop", "ours"], help="measure one of the two")
    parser.add_argument("--measure", choices=["loop", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options)
        return
    print(f"{options.batch} records of {options.steps} steps, {options.size} wide, {options.threads} thread(s)")
    print(f"{'':<8}{'forward, s':>12}{'backward, s':>13}{'memory, MiB':>13}{'loss':>12}{'gradients':>13}")
    results = {}
    for kind in [options.only] if options.only else ["ours", "loop"]:
        command = [sys.executable, __file__, "--measure", kind, *sys.argv[1:]]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        results[kind] = forward, backward, memory, loss, norm = [float(number) for number in output.split()]
        print(f"{kind:<8}{forward:>12.2f}{backward:>13.2f}{memory:>13.0f}{loss:>12.6f}{norm:>13.6f}")
    if len(results) == 2:
        ours, other = results["ours"], results["loop"]
        faster, leaner = sum(other[:2]) / sum(ours[:2]), other[2] / ours[2]
        print(f"{faster:.1f} times as fast (target 10), {leaner:.1f} times less memory (target 6)")


if __name__ == "__main__":
    main()
