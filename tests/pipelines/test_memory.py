"""`max_memory` of the pipelines: the peak of a process, the same results with any bound, too little is refused."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from ecg_transformers import pipelines
from ecg_transformers.cli import main
from ecg_transformers.errors import ArgumentsError, CorpusError
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.pipelines.memory import fit_batch
from ecg_transformers.signals.wfdb.read import write_wfdb

PROGRAM = """
import json, resource, sys
from transformers import pipeline
from ecg_transformers.pipelines import register

register()
embed = pipeline("ecg-feature-extraction", model=sys.argv[1], device="cpu")
folder = sys.argv[2]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

embed.to_table(folder, folder + ".parquet", batch_size=512, max_memory="800MB")
list(embed.stream(folder + "/r0", batch_size=512, max_memory="800MB", progress=False))
bounded = peak()
embed.to_table(folder, folder + "_free.parquet", batch_size=512)
print(json.dumps([bounded, peak()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is in kilobytes on Linux only")
def test_a_process_stays_within_the_bound(save_checkpoint, make_record, tmp_path):
    wide = save_checkpoint(tmp_path / "wide", classifier=False, config={"intermediate_size": 8192})
    write_wfdb(make_record(5120, 100, name="r0"), tmp_path / "records")

    command = [sys.executable, "-c", PROGRAM, wide, str(tmp_path / "records")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    bounded, free = json.loads(done.stdout.splitlines()[-1])
    assert bounded < 800e6 < free


def test_the_bound_changes_the_passes_and_not_the_results(embed, make_record, monkeypatch):
    passes = []
    forward = embed.model.forward
    monkeypatch.setattr(
        embed.model, "forward", lambda **inputs: passes.append(len(inputs["input_values"])) or forward(**inputs)
    )
    record = make_record(70, 100)
    free = embed(record, batch_size=64)
    assert passes == [7]
    monkeypatch.setattr("ecg_transformers.pipelines.files.fit_batch", lambda *args, **kwargs: 3)
    passes.clear()
    np.testing.assert_allclose(embed(record, max_memory="2GB"), free, atol=1e-6)
    assert passes == [3, 3, 1]


def test_windows_are_counted_by_the_tensors_of_a_pass(monkeypatch):
    extractor = EcgFeatureExtractor(sampling_rate=100, window_size=1000)
    layer = nn.Linear(1000, 10_000)  # windows of 48 kB become 480 kB, times the workspaces
    monkeypatch.setattr("ecg_transformers.pipelines.memory._RESERVE", 0)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: SimpleNamespace(rss=0))

    def run(features):
        with torch.no_grad():
            layer(features["input_values"]).sum()

    assert fit_batch(run, extractor, run, "142MB", at_most=1000) == pytest.approx(100, abs=2)
    assert fit_batch(run, extractor, run, "135MB", at_most=64) == 64
    assert fit_batch(run, extractor, run, None, at_most=1000) == 1000


def test_what_an_earlier_pass_left_to_the_allocator_does_not_count_again(monkeypatch):
    extractor = EcgFeatureExtractor(sampling_rate=100, window_size=1000)
    held = iter([300 * 10**6, 780 * 10**6])
    monkeypatch.setattr(psutil.Process, "memory_info", lambda self: SimpleNamespace(rss=next(held)))

    def run(features):
        return features["input_values"] + 1

    first, second = (fit_batch(run, extractor, run, "800MB", at_most=10**6) for _ in range(2))
    assert first == second > 1000


@pytest.mark.parametrize("command", ["classify", "embed"])
def test_too_little_is_refused_with_what_is_needed(command, classifier_folder, encoder_folder, data_dir, capsys):
    folder = classifier_folder if command == "classify" else encoder_folder
    pipelines.register()
    assert main([command, folder, str(data_dir / "ptbxl"), "--output", "none.csv", "--max_memory", "1MB"]) == 2
    assert "max_memory is 1MB; libraries, model and a pass of one window need about" in capsys.readouterr().err


def test_calls_tables_and_streams_refuse_too_little(embed, make_record, tmp_path):
    record = make_record(10, 100)
    for run in (
        lambda: embed(record, max_memory="1MB"),
        lambda: embed.to_table([record], tmp_path / "x.parquet", max_memory="1MB"),
        lambda: next(embed.stream(record, max_memory="1MB", progress=False)),
    ):
        with pytest.raises(ArgumentsError, match=r"need about \d[\d,]* MB\. Set it to that or more"):
            run()
    with pytest.raises(CorpusError, match="expected a number with a unit"):
        embed(record, max_memory="much")
    assert not list(tmp_path.iterdir())
