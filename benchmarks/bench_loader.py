"""Corpus to batches that a model can take, in one process: what training draws from, against a bare NumPy gather.

The baseline takes the same random rows out of the same int16 table and makes them float32; the loader also divides by
the gain, normalizes as the contract says, looks up the ids and goes through a DataLoader. Run it on a machine that does
nothing else:

    python benchmarks/bench_loader.py --corpus path/to/prepared/ptbxl
"""

import argparse
import time

import numpy as np
import torch
from torch.utils.data import DataLoader

from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.models.mae_moco.feature_extraction_mae_moco import MaeMocoFeatureExtractor
from ecg_transformers.trainer import EpochSampler, WindowDataset
from ecg_transformers.trainer.data import identity_collator


def loader_rate(data: WindowDataset, batch_size: int) -> float:
    loader = DataLoader(
        data, batch_size=batch_size, sampler=EpochSampler(len(data)), collate_fn=identity_collator, drop_last=True
    )
    started, records = time.perf_counter(), 0
    for batch in loader:
        records += len(batch["input_values"])
    return records / (time.perf_counter() - started)


def gather_rate(table: np.ndarray, batch_size: int) -> float:
    order = np.random.default_rng(0).permutation(len(table))
    started, records = time.perf_counter(), 0
    for first in range(0, len(order) - batch_size + 1, batch_size):
        records += len(table[order[first : first + batch_size]].astype(np.float32))
    return records / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="prepared corpus at 100 Hz with records of 10 s")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="the best of so many")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus = load_corpus(options.corpus).select(folds=options.folds)
    table = corpus.packed().values.reshape(len(corpus), -1)
    print(f"{len(corpus)} records of {corpus.name}, 12 x 1000, {options.threads} thread(s), best of {options.repeats}")
    print(f"{'normalization':>14} {'batch':>6} {'gather/s':>10} {'loader/s':>10} {'ratio':>6}")
    for normalization in ("constants", "record_lead"):
        extractor = MaeMocoFeatureExtractor(
            sampling_rate=100,
            window_size=1000,
            normalization=normalization,
            normalization_std=[0.2] * 12 if normalization == "constants" else None,
        )
        data = WindowDataset(corpus, extractor)
        for batch_size in (64, 128, 1024):
            gathered = max(gather_rate(table, batch_size) for _ in range(options.repeats))
            loaded = max(loader_rate(data, batch_size) for _ in range(options.repeats))
            print(f"{normalization:>14} {batch_size:>6} {gathered:>10,.0f} {loaded:>10,.0f} {loaded / gathered:>6.2f}")


if __name__ == "__main__":
    main()
