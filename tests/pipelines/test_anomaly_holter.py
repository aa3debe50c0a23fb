"""The beats of a day of Holter in bounded memory (slow: `pytest -m slow tests/pipelines`)."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from transformers import pipeline

from ecg_transformers import BeatganConfig, BeatganFeatureExtractor, BeatganForAnomalyDetection
from ecg_transformers.pipelines import register
from ecg_transformers.signals.wfdb.read import read_wfdb

RATE, HOURS, LEADS = 250, 24, ("I", "II", "V2")
PROGRAM = """
import json, resource, sys, time
from transformers import pipeline
import ecg_transformers
from ecg_transformers.pipelines import register, summarize_beats

register()
find = pipeline("ecg-anomaly-detection", model=sys.argv[1], device="cpu")
kept, started = [], time.monotonic()

def rows():
    for row in find.stream(sys.argv[2], treat_as={"II": "MLII"}, detector=sys.argv[3], progress=False):
        if 3600.0 <= row["peak"] < 3660.0:
            kept.append([row["peak"], row["time"].isoformat(), row["score"]])
        yield row

summary = summarize_beats(rows())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
report = {"beats": summary.beats, "gaps": len(summary.gaps), "kept": kept, "peak": peak}
print(json.dumps(report | {"seconds": time.monotonic() - started}))
"""


@pytest.fixture
def day(make_record, tmp_path):
    """24 hours, 3 leads, 250 Hz: 130 MB on disk, no two windows alike."""
    block = make_record(600, RATE, leads=LEADS).signal.T * 1000
    with open(tmp_path / "day.dat", "wb") as file:
        for number in range(HOURS * 6):
            file.write((block * (1 + number / 100)).astype("<i2").tobytes())
    lines = [f"day {len(LEADS)} {RATE} {HOURS * 3600 * RATE} 08:00:00 01/05/2024"]
    lines += [f"day.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS]
    (tmp_path / "day.hea").write_text("\n".join(lines) + "\n")
    return tmp_path / "day.hea"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_beats_of_a_day_stay_below_a_gigabyte_and_are_those_of_the_whole(day, tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "checkpoint"
    config = BeatganConfig(base_channels=4, latent_size=10, anomaly_threshold=0.5)
    model, extractor = BeatganForAnomalyDetection(config).eval(), BeatganFeatureExtractor()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    detector = "sleepecg" if find_spec("sleepecg") else "gqrs"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(day), detector],
        check=True,
        capture_output=True,
        text=True,
        timeout=2300,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    print(f"{report['beats']} beats, peak memory {report['peak'] / 1e6:.0f} MB, {report['seconds']:.0f} s, {detector}")
    assert report["beats"] > HOURS * 3600 * 0.8
    assert report["peak"] < 1e9
    register()
    find = pipeline("ecg-anomaly-detection", model=str(folder), device="cpu")
    hour = read_wfdb(day, start=3590 * RATE, stop=3670 * RATE)
    peaks = np.array([round(peak * RATE) for peak, _, _ in report["kept"]])
    assert len(peaks) > 40
    scores = [row["score"] for row in find(hour, peaks=peaks - 3590 * RATE, treat_as={"II": "MLII"})]
    np.testing.assert_allclose([score for _, _, score in report["kept"]], scores, rtol=1e-3)
    assert report["kept"][0][1].startswith("2024-05-01T08:59:59") or report["kept"][0][1].startswith("2024-05-01T09:00")
