"""`training/benchmark.py` on systems that score beats: killed and resumed, teachers, claims, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from ecg_transformers.commands import benchmark
from ecg_transformers.commands.benchmark_beats import BeatBenchmark, Comparison, read_beat_benchmark
from ecg_transformers.corpora.beat_splits import PATIENT_FOLDS
from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.corpora.sources.mitdb_beats import beats_definition
from ecg_transformers.errors import ArgumentsError

from ..conftest import CONFIGS, script

TINY = {
    "base_channels": 2, "latent_size": 4, "num_train_epochs": 1, "max_steps": 2, "per_device_train_batch_size": 16,
    "eval_steps": 1, "eval_strategy": "steps", "save_strategy": "steps", "save_steps": 1, "bf16": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """14 normal and 11 abnormal beats of each patient."""
    random, definition = np.random.default_rng(0), beats_definition("corrected")
    time = np.arange(320) - 140
    shapes = {"N": np.exp(-((time / 6) ** 2)), "V": -np.exp(-((time / 20) ** 2))}
    rows = []
    for patient in [patient for fold in PATIENT_FOLDS for patient in fold]:
        whole = CorpusRecord(
            np.zeros((1, 8_000), np.float32), 360, ("MLII",), record_id=patient, name=str(patient), patient_id=patient
        )
        for number, symbol in enumerate("NV" * 11 + "NNN"):
            beat = whole.part(300 * number, 300 * number + 320, labels=(symbol,))
            signal = shapes[symbol] + 0.02 * random.normal(size=320)
            rows.append(replace(beat, signal=signal[None].astype(np.float32)))
    info = {"name": "mitdb_beats", "version": "1.0.0, corrected", "preprocessed_by": definition.stored_after()}
    folder = tmp_path_factory.mktemp("x") / "beats"
    write_corpus(rows, folder, info, label_sets=definition.label_sets("NV"))
    return folder


def config(folder, **changes):
    settings = {
        "systems": [
            {"name": "BeatGAN", "config": str(CONFIGS / "beatgan_mitdb_small.yaml"), **TINY},
            {
                "name": "V2", "config": str(CONFIGS / "si_beatgan_mitdb_small.yaml"), **TINY, "teacher": "BeatGAN",
                "seed_offset": 100, "contrastive_weight": 0.1,
            },
        ],
        "splits": ["patients/0", "patients/3"],
        "seeds": [0],
        "claims": [{"claim": "Students learn more", "system": "V2", "against": "BeatGAN"}],
        "resamples": 20,
    }  # fmt: skip
    file = folder / "benchmark.yaml"
    file.write_text(yaml.safe_dump(settings | changes))
    return file


def test_it_is_killed_resumed_and_judged(corpus, tmp_path, capsys, monkeypatch):
    main = script("benchmark").main
    words = [str(config(tmp_path)), "--corpus", str(corpus), "--output_dir", str(tmp_path / "runs")]
    trained = []
    train = benchmark.PretrainingRun.train

    def dying(run):
        trained.append(run.folder.name)
        if len(trained) == 3:
            raise KeyboardInterrupt
        train(run)

    monkeypatch.setattr(benchmark.PretrainingRun, "train", dying)
    with pytest.raises(KeyboardInterrupt):
        main(words)
    assert main(words) == 0
    assert [name.rpartition("_")[0] for name in trained] == [
        "BeatGAN_patients-0_seed0", "V2_patients-0_seed0", "BeatGAN_patients-3_seed0",
        "BeatGAN_patients-3_seed0", "V2_patients-3_seed0",
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "last epoch, mean of the runs in brackets" in said
    assert "epoch of the smallest validation error" in said
    assert "BeatGAN (2)" in said
    assert "Students learn more: V2 minus BeatGAN" in said
    # The student learned from the run of the same split.
    for fold in (0, 3):
        [student] = (tmp_path / "runs" / "runs").glob(f"V2_patients-{fold}_*")
        written = json.loads((student / "config.json").read_text())
        assert f"BeatGAN_patients-{fold}_seed0" in written["teacher"]
        assert written["teacher_hash"]
        assert written["anomaly_threshold"] > 0
        assert json.loads((student / "run.json").read_text())["seed"] == 100
    # Nothing is repeated; another setting is another run.
    assert main(words) == 0
    assert len(trained) == 5
    again = read_beat_benchmark([str(config(tmp_path, seeds=[0, 1])), *words[1:]])
    states = [cell.state for cell in BeatBenchmark(again).cells]
    assert states == ["done"] * 4 + ["missing"] * 4
    with pytest.raises(ArgumentsError, match=r"measured with 20 resamples, this call has 30"):
        BeatBenchmark(read_beat_benchmark([str(config(tmp_path, resamples=30)), *words[1:]]))
    with pytest.raises(ArgumentsError, match="one CONFIG"):
        read_beat_benchmark([words[0], *words])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"claims": [{"claim": "x", "system": "V3", "against": "V2"}]}, "V3"),
        ({"systems": [{"name": "V2", "config": str(CONFIGS / "si_beatgan_mitdb_small.yaml"), "teacher": "other"}],
          "claims": []}, "name of a system above"),
        ({"systems": [{"name": "V2"}], "claims": []}, "expected the file of a pretraining"),
        ({"sedes": [1]}, "sedes"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused(corpus, tmp_path, changes, words):
    argv = [str(config(tmp_path, **changes)), "--corpus", str(corpus), "--output_dir", str(tmp_path / "runs")]
    with pytest.raises(ArgumentsError, match=words):
        BeatBenchmark(read_beat_benchmark(argv))


@pytest.mark.parametrize(
    ("patients", "cells", "verdict"),
    [
        ((0.01, 0.02), (0.001, 0.03), "yes"),
        ((0.01, 0.02), (-0.001, 0.03), "no significant difference"),
        ((-0.02, -0.01), (-0.03, -0.001), "the contrary"),
    ],
)
def test_a_claim_needs_both_intervals(patients, cells, verdict):
    found = Comparison("It helps", "A", "B", 15, 0.015, patients, cells)
    assert found.verdict == verdict
    assert str(found).endswith(verdict)


def test_the_shipped_configuration_can_be_planned(corpus, tmp_path):
    argv = [str(CONFIGS / "beatgan_mitdb.yaml"), "--corpus", str(corpus), "--output_dir", str(tmp_path), "--seeds", "0"]
    cells = BeatBenchmark(read_beat_benchmark(argv)).cells
    assert len(cells) == len({cell.training.folder for cell in cells}) == 45
    assert {cell.state for cell in cells} == {"missing"}
