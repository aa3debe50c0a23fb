"""Beats: preparing recordings, detecting R peaks, and scoring by BeatGAN, compared with its bare forward pass.

    python benchmarks/bench_beats.py --source MITDB [--records 4] [--rounds 5]

Scoring is what score_beats.py does: windows of a prepared corpus, scaled, in batches of 64. The baseline is the forward
pass of the generator on the same batches, already scaled. All in processor time of one thread, the sides alternating,
fastest of the rounds. Bar: at most 1.1 times the baseline.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ecg_transformers import BeatganConfig, BeatganFeatureExtractor, BeatganForAnomalyDetection
from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.sources.mitdb import MITDB
from ecg_transformers.corpora.sources.mitdb_beats import beats_definition, cut_recording
from ecg_transformers.signals.beats import detect_r_peaks
from ecg_transformers.signals.formats.readers import read_record
from ecg_transformers.trainer.data import WindowDataset

BATCH = 64


def prepared(source: Path, count: int):
    """Rows of the first recordings with MLII, and the time of each preparation."""
    root, records = MITDB.find(source, None)
    rows = [MITDB.read(root, record) for record in records]
    rows = [row for row in rows if "MLII" in row.leads][:count]
    seconds = {}
    for preparation in ("corrected", "published"):
        started = time.process_time()
        beats = [beat for row in rows for beat in cut_recording(row, preparation)]
        seconds[preparation] = (time.process_time() - started, len(beats))
    return rows, beats, seconds


def scoring(beats, rounds: int, folder: Path) -> list[tuple[int, float, float]]:
    """Beats per second of the bare forward pass and of scoring, by width."""
    definition = beats_definition("published")
    info = {"name": "mitdb_beats", "preprocessed_by": definition.stored_after()}
    corpus = write_corpus(beats, folder / "beats", info, label_sets=definition.label_sets("NVF"))
    corpus = corpus.select(np.arange(min(len(corpus), 8 * BATCH)))
    found = []
    for width in (8, 32):
        model = BeatganForAnomalyDetection(BeatganConfig(base_channels=width)).eval()
        dataset = WindowDataset(corpus, BeatganFeatureExtractor())
        ready = [dataset.__getitems__(rows)["input_values"] for rows in batches(len(dataset))]
        times = np.empty((rounds, 2))
        with torch.inference_mode():
            for row in times:
                started = time.process_time()
                for batch in ready:
                    generated = model.decoder(model.beatgan(batch).pooler_output)
                    (batch - generated).square().mean(dim=(1, 2))
                middle = time.process_time()
                for rows in batches(len(dataset)):
                    model(input_values=dataset.__getitems__(rows)["input_values"]).score.numpy()
                row[:] = middle - started, time.process_time() - middle
        found.append((width, *(len(dataset) / times.min(axis=0))))
    return found


def batches(count: int) -> list[np.ndarray]:
    return np.split(np.arange(count), range(BATCH, count, BATCH))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--records", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, beats, seconds = prepared(options.source, options.records)
    print("| operation | ours | reference | ratio |")
    print("| --- | --- | --- | --- |")
    for preparation, (spent, count) in seconds.items():
        each = spent / len(rows)
        print(f"| half an hour into beats, {preparation} | {each:.2f} s, {count / spent:.0f} beats/s | - | - |")
    record = read_record(options.source / rows[0].name)
    started = time.process_time()
    detect_r_peaks(record)
    print(f"| R peaks of half an hour, GQRS and refinement | {time.process_time() - started:.1f} s | - | - |")
    with tempfile.TemporaryDirectory() as folder:
        for width, bare, ours in scoring(beats, options.rounds, Path(folder)):
            cost = f"{bare / ours:.2f}"
            print(f"| scoring, width {width} | {ours:.0f} beats/s | forward pass, {bare:.0f} beats/s | {cost} |")


if __name__ == "__main__":
    main()
