"""A day of Holter in bounded memory (slow: `pytest -m slow tests/pipelines`)."""

import json
import subprocess
import sys

import numpy as np
import pytest
from transformers import pipeline

from ecg_transformers.pipelines import register
from ecg_transformers.signals.wfdb.read import read_wfdb

RATE, HOURS, LEADS = 250, 24, ("I", "II", "V2")
PROGRAM = """
import json, resource, sys
from transformers import pipeline
import ecg_transformers
from ecg_transformers.pipelines import register, summarize

register()
classify = pipeline("ecg-classification", model=sys.argv[1], device="cpu")
kept = {}

def rows():
    for index, row in enumerate(classify.stream(sys.argv[2], window_seconds=10, batch_size=64, progress=False)):
        if index % 2160 == 7:
            kept[row["start"]] = [row["time"].isoformat(), row["scores"].tolist()]
        yield row

summary = summarize(rows())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"windows": summary.windows, "read": summary.read_seconds, "kept": kept, "peak": peak}))
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
def test_a_day_of_three_leads_stays_below_a_gigabyte(save_checkpoint, day, tmp_path):
    folder = save_checkpoint(tmp_path / "checkpoint", leads=LEADS, extractor={"missing_leads": "error"})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, str(day)], check=True, capture_output=True, text=True, timeout=900
    )
    report = json.loads(done.stdout.splitlines()[-1])
    print(f"peak memory {report['peak'] / 1e6:.0f} MB")
    assert (report["windows"], report["read"]) == (HOURS * 360, HOURS * 3600.0)
    assert report["peak"] < 1e9
    register()
    classify = pipeline("ecg-classification", model=folder, device="cpu")
    assert len(report["kept"]) == 4
    for start, (_, scores) in report["kept"].items():
        first = float(start) - 10  # a window before, so that resampling has settled
        begin = round(first * RATE)
        piece = read_wfdb(day, start=begin, stop=begin + 30 * RATE)
        np.testing.assert_allclose(scores, classify(piece, windows=True, as_array=True)[1], atol=1e-5)
    assert report["kept"]["70.0"][0] == "2024-05-01T08:01:10"
