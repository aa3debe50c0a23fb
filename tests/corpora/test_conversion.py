"""Corpora stored at another rate or after a checkpoint's first steps give the extractor's result."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecg_transformers.corpora.build import build_corpus
from ecg_transformers.corpora.conversion import at_rate, through_contract
from ecg_transformers.corpora.sources.ptbxl import PTBXL
from ecg_transformers.errors import CorpusError, LeadError, SignalError
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.signals.record import Annotations
from ecg_transformers.signals.resample import resample

from .conftest import make_row


def test_resampled_rows_move_their_annotations():
    row = make_row(1, samples=1000, annotations=Annotations(np.array([0, 500, 999]), ["N", "N", "V"]))
    moved = at_rate(row, 250)
    assert moved.signal.shape == (2, 2500)
    np.testing.assert_array_equal(moved.annotations.samples, [0, 1250, 2498])
    np.testing.assert_array_equal(moved.signal, resample(row.in_millivolts(), 100, 250))
    assert moved.gain.tolist() == [1, 1]
    same = at_rate(row, 100)
    np.testing.assert_array_equal(same.signal, row.in_millivolts())
    assert row.signal.dtype == np.int16


def test_a_corpus_stored_for_a_checkpoint_gives_its_input_and_is_not_done_twice(ptbxl_tree, tmp_path):
    extractor = EcgFeatureExtractor(
        sampling_rate=250, window_size=1000, lead_names=["V1", "II"], bandpass=[0.5, 40.0], allow_short=True
    )
    plain = build_corpus(PTBXL, ptbxl_tree, tmp_path / "plain", sampling_rate=100, progress=False)
    stored = build_corpus(PTBXL, ptbxl_tree, tmp_path / "stored", extractor=extractor, progress=False)
    stored_low = build_corpus(
        replace(PTBXL, native_rates=()), ptbxl_tree, tmp_path / "low", extractor=extractor, progress=False
    )
    assert stored.info["preprocessed_by"] == extractor.stamp(("leads", "units", "resample", "filter"))
    assert stored.info["contract_hash"] == stored.info["preprocessed_by"]["hash"]
    assert stored[0].leads == ("V1", "II")
    assert stored_low.hash == stored.hash != plain.hash
    source = build_corpus(PTBXL, ptbxl_tree, tmp_path / "500", progress=False)[0]
    wanted = extractor(source, return_tensors="pt")
    given = extractor(stored[0], return_tensors="pt", preprocessed_by=stored.info["preprocessed_by"])
    torch.testing.assert_close(given["input_values"], wanted["input_values"], rtol=0, atol=2e-6)
    other = EcgFeatureExtractor(sampling_rate=250, window_size=1000, lead_names=["V1", "II"], allow_short=True)
    with pytest.raises(SignalError, match="another contract"):
        other(stored[0], preprocessed_by=stored.info["preprocessed_by"])


def test_absent_leads_and_contradicting_options_are_refused(tmp_path):
    contract = EcgFeatureExtractor(
        sampling_rate=100, window_size=100, lead_names=["I", "V9"], missing_leads="mask"
    ).contract
    with pytest.raises(LeadError, match="V9"):
        through_contract(make_row(0), contract)
    with pytest.raises(CorpusError, match="Leave one out"):
        build_corpus(PTBXL, tmp_path, tmp_path / "x", sampling_rate=100, extractor=object())
