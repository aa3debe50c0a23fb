"""Occlusion: a lead and a time that decide are found; effects equal those of the hidden recording, one by one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import pipeline

from ecg_transformers.errors import SignalError
from ecg_transformers.models.ecg_vit.feature_extraction_ecg_vit import EcgVitFeatureExtractor
from ecg_transformers.pipelines.occlusion import occlude
from ecg_transformers.signals.leads import STANDARD_LEADS
from ecg_transformers.signals.record import EcgRecord

DECIDING = STANDARD_LEADS.index("V2")
LABELS = ["EARLY_V2", "NOTHING", "ANY"]


class Constructed(torch.nn.Module):
    """A label that depends on V2 from 3.0 to 3.5 s of its window, one on nothing, one on all samples."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, *max_columns: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(problem_type="multi_label_classification", max_columns=max_columns)
        self.windows = 0

    def forward(self, input_values, attention_mask=None, lead_mask=None):
        self.windows = max(self.windows, len(input_values))
        part = input_values[:, DECIDING, 300:350].abs().mean(dim=-1)
        logits = torch.stack([part * 4 - 2, torch.zeros_like(part), input_values.abs().mean(dim=(1, 2))], dim=1)
        return SimpleNamespace(logits=logits)


class Classify:
    """What a classification pipeline has."""

    read = None
    codes = LABELS

    def __init__(self, *max_columns: int, **contract) -> None:
        self.model = Constructed(*max_columns)
        self.feature_extractor = EcgVitFeatureExtractor(sampling_rate=100, window_size=1000, patch_size=25, **contract)


def record(seconds: float, leads=STANDARD_LEADS) -> EcgRecord:
    random = np.random.default_rng(0)
    return EcgRecord(random.normal(scale=0.3, size=(len(leads), round(500 * seconds))), 500, leads=leads, name="noise")


def test_the_lead_and_the_time_that_decide_are_found():
    found = occlude(Classify(), record(10), seconds=0.5)
    assert found.parts.shape == (3, 12, 20)
    np.testing.assert_allclose(found.edges, np.arange(21) * 0.5, atol=1e-9)
    lead, segment = np.unravel_index(found.parts[0].argmax(), found.parts[0].shape)
    assert (found.lead_names[lead], segment) == ("V2", 6)
    assert found.leads[0].argmax() == DECIDING
    assert found.segments[0].argmax() == 6
    assert found.parts[0, DECIDING, 6] > 0.3
    # All others decide nothing, neither does any part about the second label.
    others = np.delete(found.parts[0].ravel(), DECIDING * 20 + 6)
    assert np.abs(others).max() < 1e-6
    assert np.abs(found.parts[1]).max() == 0
    assert (found.parts[2] > 0).all()


@pytest.mark.parametrize(("aggregate", "columns"), [("mean", ()), ("mean", (0,)), ("max", ())])
def test_effects_equal_those_of_the_hidden_recording_over_all_windows(aggregate, columns):
    classify = Classify(*columns, window_stride=500)
    found = occlude(classify, record(20), seconds=1.0, aggregate=aggregate, batch_size=7)
    assert classify.model.windows <= 7
    windows = classify.feature_extractor(record(20), return_tensors="pt")["input_values"]
    starts = [0, 5, 10]

    def score(lead, first, last):
        values = windows.clone()
        for number, start in enumerate(starts):
            values[number, lead, max(0, (first - start) * 100) : max(0, (last - start) * 100)] = 0
        scores = classify.model(values).logits.sigmoid().double()
        joined = scores.amax(dim=0) if aggregate == "max" else scores.mean(dim=0)
        for column in columns:
            joined[column] = scores[:, column].amax()
        return joined.numpy()

    everything = slice(None)
    np.testing.assert_allclose(found.scores, score(0, 0, 0), rtol=1e-6)
    for lead, segment in [(DECIDING, 3), (DECIDING, 8), (DECIDING, 13), (0, 0), (11, 19)]:
        expected = found.scores - score(lead, segment, segment + 1)
        np.testing.assert_allclose(found.parts[:, lead, segment], expected, atol=1e-7)
    np.testing.assert_allclose(found.segments[:, 8], found.scores - score(everything, 8, 9), atol=1e-7)
    np.testing.assert_allclose(found.leads[:, DECIDING], found.scores - score(DECIDING, 0, 20), atol=1e-7)


def test_padding_is_no_segment_and_absent_leads_have_no_effect():
    found = occlude(Classify(missing_leads="mask"), record(4.2, STANDARD_LEADS[:8]), seconds=0.5)
    assert found.edges[[0, -1]] == pytest.approx([0.0, 4.2])
    assert found.parts.shape[2] == 8
    assert np.abs(found.parts[:, 8:]).max() == 0
    assert np.abs(found.parts[2, :8]).min() > 0


def test_a_windowless_recording_or_length_is_refused():
    with pytest.raises(SignalError, match="segment"):
        occlude(Classify(), record(10), seconds=0)
    with pytest.raises(SignalError, match="random"):
        occlude(Classify(window_mode="random"), record(20))


def test_the_pipeline_of_the_shipped_classifier_explains_its_scores(data_dir):
    classify = pipeline("ecg-classification", model="hub/xresnet1d50-ecg")
    found = classify.occlude(str(data_dir / "ptbxl" / "00152_lr"), seconds=1.0)
    np.testing.assert_allclose(found.scores, classify(str(data_dir / "ptbxl" / "00152_lr"), as_array=True), atol=1e-6)
    label = found.codes.index("AFIB")
    assert found.scores[label] > 0.9
    # Rhythm is in every lead: no single one carries it, all of them together do.
    assert found.segments[label].max() > found.parts[label].max()
