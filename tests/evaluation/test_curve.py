"""The probe during pretraining: every window of a record, through the encoder's own pooling."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ecg_transformers.errors import CorpusError
from ecg_transformers.evaluation.probes.curve import ProbeCallback
from ecg_transformers.inference.encode import Embeddings, embed_windows
from ecg_transformers.readout import Readout

ARGS = SimpleNamespace(device=torch.device("cpu"), bf16=False)


@pytest.fixture
def probe(single_corpus, extractor, make_model, tmp_path, monkeypatch):
    """A probe of 60 records, every fourth of two windows, and what it embedded."""
    seen = []
    monkeypatch.setattr(
        ProbeCallback, "_judge", lambda self, train, test: (seen.append((train, test)), float(len(seen)))[1]
    )

    def make(**changes):
        given = {"train": single_corpus, "test": single_corpus.select(np.arange(60) < 30), "extractor": extractor}
        given |= {"label_set": "all", "every_steps": 2, "readout": Readout("cls_mean")}
        return ProbeCallback(tmp_path / "probe.json", **(given | changes))

    return make, seen


def state(step):
    return SimpleNamespace(global_step=step, max_steps=4, epoch=step / 2, is_world_process_zero=True)


def test_every_window_of_a_record_is_embedded_as_in_an_evaluation(probe, single_corpus, extractor, make_model):
    make, seen = probe
    model = make_model().train()
    callback = make()
    callback.on_train_begin(ARGS, state(0), None, model=model)
    assert model.encoder.training
    [(train, test)] = seen
    assert train.num_records == 60
    assert test.num_records == 30
    assert np.bincount(train.record_index).tolist() == [2 if number % 4 == 0 else 1 for number in range(60)]
    inputs = extractor(single_corpus[4], return_tensors="pt")
    with torch.no_grad():
        want = embed_windows(model.encoder.eval(), {"input_values": inputs["input_values"]}, Readout("cls_mean"))
    torch.testing.assert_close(train.features[train.record_index == 4], want)


def test_entries_are_written_and_those_beyond_a_checkpoint_are_forgotten(probe, make_model, tmp_path):
    make, _ = probe
    model, callback = make_model(), make(max_records=20)
    callback.on_train_begin(ARGS, state(0), None, model=model)
    for step in (1, 2, 3):
        callback.on_step_end(ARGS, state(step), None, model=model)
    callback.on_train_end(ARGS, state(4), None, model=model)
    file = json.loads((tmp_path / "probe.json").read_text())
    assert [entry["step"] for entry in file["probes"]] == [0, 2, 4]
    assert (file["pooling"], file["train_records"], file["test_records"]) == ("cls_mean", 20, 20)
    resumed = make(resumed=True)
    resumed.on_train_begin(ARGS, state(3), None, model=model)
    assert [entry["step"] for entry in resumed.entries] == [0, 2]


def test_the_score_is_that_of_the_records(single_corpus, extractor, tmp_path):
    callback = ProbeCallback(
        tmp_path / "probe.json", train=single_corpus, test=single_corpus, extractor=extractor, label_set="all",
        every_steps=1,
    )  # fmt: skip
    index = np.repeat(np.arange(60), 2)
    labels = torch.from_numpy(callback.parts[0][1])[index].float()
    assert callback._judge(Embeddings(labels, index), Embeddings(labels, index)) == 1.0


def test_a_label_set_that_does_not_fit_is_named(single_corpus, extractor, tmp_path):
    with pytest.raises(CorpusError, match="nothing"):
        ProbeCallback(
            tmp_path / "probe.json", train=single_corpus, test=single_corpus, extractor=extractor,
            label_set="nothing", every_steps=1,
        )  # fmt: skip
