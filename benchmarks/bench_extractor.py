"""One 12-lead record through the extractor, compared with the bare SciPy calls that resample and z-score it.

    python benchmarks/bench_extractor.py [--rounds 1000]

The baseline is `scipy.signal.resample_poly` and a z-score in NumPy of a ready float32 array, nothing else: no check of
names, unit, rate or missing samples, no windows, no masks. The two run alternately, so that both meet the same machine.
Bar: at most 1.2 times the baseline.
"""

import argparse
import time

import numpy as np
import torch
from scipy.signal import resample_poly

from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.signals.synthesis import synthesize_record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = synthesize_record("SR", sampling_rate=500)
    print("| input | target | bare, us | extractor, us | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for rate, up, down in ((100, 1, 5), (360, 18, 25), (250, 1, 2)):
        extractor = EcgFeatureExtractor(sampling_rate=rate, window_size=10 * rate)

        def bare(signal, up=up, down=down):
            resampled = resample_poly(signal, up, down, axis=-1)
            return (resampled - resampled.mean(-1, keepdims=True)) / resampled.std(-1, keepdims=True)

        times = np.empty((options.rounds, 2))
        for row in times:
            start = time.perf_counter()
            bare(record.signal)
            middle = time.perf_counter()
            extractor(record)
            row[:] = middle - start, time.perf_counter() - middle
        theirs, ours = np.median(times, axis=0) * 1e6
        print(f"| 12 x 5000 at 500 Hz | {rate} Hz | {theirs:.0f} | {ours:.0f} | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()
