"""The noise of a window: the table of levels, what it depends on and what it does not, and where it comes in."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ecg_transformers.corpora.protocol import Task
from ecg_transformers.errors import SignalError
from ecg_transformers.evaluation.classifier import build_classifier
from ecg_transformers.inference.encode import iterate_windows, predict_records
from ecg_transformers.inference.noise import NOISE_LEVELS, WindowNoise, noise_of_level, window_numbers
from ecg_transformers.readout import Readout

FIXTURES = Path(__file__).parents[1] / "parity" / "data" / "ecg_selfsupervised"
TASK = Task("all", ("A", "B"), ("label A", "label B"), "own", "multi_label_classification")
NO_NOISE = {f"max_{name}": 0.0 for name in ("baseline_wander", "powerline", "electromyographic", "baseline_shift")}


def changed(extractor, **fields):
    """The extractor with other fields."""
    return type(extractor)(
        **{name: value for name, value in extractor.to_dict().items() if "type" not in name} | fields
    )


def windows(corpus, extractor, **options):
    """All windows `(windows, leads, samples)` and their records."""
    batches = list(iterate_windows(corpus, extractor, **options))
    return torch.cat([inputs["input_values"] for inputs, _ in batches]), np.concatenate([index for _, index in batches])


@pytest.fixture
def millivolts(extractor):
    """An extractor that hands out mV, so that the noise itself can be seen."""
    return changed(extractor, normalization="none")


def noise_in(corpus, extractor, **options):
    noisy, records = windows(corpus, extractor, **options)
    return noisy - windows(corpus, extractor)[0], records


def test_the_levels_are_those_of_the_recorded_table():
    table = load_file(FIXTURES / "augmentations.safetensors")["noise_level_table"]
    for level, wander, muscle, powerline, shift in table.double().tolist():
        noise = noise_of_level(int(level), 100)
        assert noise.max_baseline_wander == pytest.approx(wander)
        assert noise.max_electromyographic == pytest.approx(muscle)
        assert noise.max_powerline == pytest.approx(powerline)
        assert noise.max_baseline_shift == pytest.approx(shift)
    assert len(NOISE_LEVELS) == len(table)


@pytest.mark.parametrize("level", [-1, 7, 1.5, True, "3"])
def test_an_unknown_level_is_refused(single_corpus, extractor, level):
    with pytest.raises(SignalError, match="from 1 to 6"):
        next(iterate_windows(single_corpus, extractor, noise_level=level))


def test_level_zero_changes_nothing(single_corpus, extractor):
    clean, _ = windows(single_corpus, extractor)
    assert torch.equal(windows(single_corpus, extractor, noise_level=0, seed=5)[0], clean)


def test_the_batch_size_does_not_change_the_noise(single_corpus, millivolts):
    whole, _ = noise_in(single_corpus, millivolts, noise_level=6)
    for batch_size in (1, 7):
        parts, _ = noise_in(single_corpus, millivolts, noise_level=6, batch_size=batch_size)
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


def test_a_record_has_the_same_noise_in_any_selection(single_corpus, millivolts):
    whole, records = noise_in(single_corpus, millivolts, noise_level=3)
    some = np.array([8, 31, 44])
    parts, index = noise_in(single_corpus.select(np.isin(np.arange(60), some)), millivolts, noise_level=3)
    for number, record in enumerate(some):
        torch.testing.assert_close(parts[index == number], whole[records == record], rtol=0, atol=1e-5)


def test_windows_records_levels_and_seeds_have_noise_of_their_own(single_corpus, millivolts):
    first, records = noise_in(single_corpus, millivolts, noise_level=4)
    again, _ = noise_in(single_corpus, millivolts, noise_level=4)
    assert torch.equal(first, again)
    assert first.flatten(1).unique(dim=0).shape[0] == len(records) == 75
    numbers = window_numbers(records)
    sources = [(4, 0), (4, 1), (3, 0)]
    draws = [
        WindowNoise(millivolts, single_corpus, level=level, seed=seed).draws(12, 100, records, numbers)
        for level, seed in sources
    ]
    correlation = torch.corrcoef(torch.cat([one["muscle_noise"] for one in draws]).flatten(1))
    assert float(correlation.fill_diagonal_(0).abs().max()) < 0.2
    shares = torch.cat([one["wander_phase"][:, 0] for one in draws])
    assert len(shares.unique()) == 3 * 75


def test_two_models_see_the_same_noise(checkpoint, single_corpus, extractor):
    seen = []
    for pooling in ("cls", "mean"):
        model = build_classifier(checkpoint, TASK, readout=Readout(pooling)).eval()
        handle = model.base_model.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["input_values"].clone()), with_kwargs=True
        )
        predict_records(model, single_corpus, extractor, noise_level=2, seed=3)
        handle.remove()
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])


def test_the_noise_of_a_finer_rate_has_the_same_waves_and_shifts(single_corpus, millivolts):
    fine = changed(millivolts, sampling_rate=100, window_size=200, window_stride=200, patch_size=20)
    ours, others = (
        WindowNoise(one, single_corpus, level=5).draws(12, one.window_size, np.arange(60), np.zeros(60, np.int64))
        for one in (millivolts, fine)
    )
    for name in set(ours) - {"muscle_noise", "shift_middle"}:
        assert torch.equal(ours[name], others[name]), name
    assert int((others["shift_middle"] - 2 * ours["shift_middle"]).abs().max()) <= 1


@pytest.mark.parametrize("normalization", ["record_lead", "record", "constants", "minmax_lead", "none"])
@pytest.mark.parametrize("window_size", [100, 150])
def test_without_strength_the_windows_are_the_clean_ones(
    single_corpus, extractor, monkeypatch, normalization, window_size
):
    constants = {"normalization_std": [0.5] * 12} if normalization == "constants" else {}
    extractor = changed(
        extractor, normalization=normalization, window_size=window_size, window_stride=window_size, **constants
    )
    clean, _ = windows(single_corpus, extractor)
    noise = WindowNoise(extractor, single_corpus, level=1).noise
    silent = type(noise)(noise.sampling_rate, **NO_NOISE)
    monkeypatch.setattr("ecg_transformers.inference.noise.noise_of_level", lambda *_: silent)
    same, _ = windows(single_corpus, extractor, noise_level=1)
    torch.testing.assert_close(same, clean, rtol=0, atol=1e-5)


def test_normalization_comes_after_the_noise(single_corpus, extractor, millivolts):
    noisy, _ = windows(single_corpus, extractor, noise_level=6)
    assert float(noisy.mean(-1).abs().max()) < 1e-5
    assert float((noisy.std(-1, correction=0) - 1).abs().max()) < 1e-4
    raw, _ = windows(single_corpus, millivolts, noise_level=6)
    centered = raw - raw.mean(-1, keepdim=True)
    torch.testing.assert_close(noisy, centered / raw.std(-1, correction=0, keepdim=True), rtol=0, atol=1e-4)


def test_padding_stays_zero_and_masked(single_corpus, extractor):
    longer = changed(extractor, window_size=150, window_stride=150)
    inputs, _ = next(iterate_windows(single_corpus, longer, noise_level=6))
    padding = inputs["attention_mask"] == 0
    assert padding.any()
    assert float(inputs["input_values"].abs().amax(1)[padding].max()) == 0


def test_a_masked_lead_stays_absent(extractor):
    class OneRecord:
        name, info, record_ids = "one", {}, np.array([7])

    record = np.random.default_rng(0).normal(size=(12, 100)).astype(np.float32)
    record[4] = 0.25
    noise = WindowNoise(extractor, OneRecord(), level=6)
    inputs = dict(noise.extractor({"signal": record, "sampling_rate": 50}, return_tensors="pt"))
    index = inputs.pop("record_index").numpy()
    noisy = noise.add(inputs, index, window_numbers(index))
    assert noisy["lead_mask"][0].tolist() == [1] * 4 + [0] + [1] * 7
    assert (noisy["input_values"][0].abs().amax(-1) > 0).tolist() == [True] * 4 + [False] + [True] * 7


def test_a_contract_that_normalizes_before_it_cuts_is_refused(single_corpus, extractor):
    order = ["leads", "units", "resample", "filter", "normalize", "window", "pad"]
    with pytest.raises(SignalError, match="before it cuts windows"):
        next(iterate_windows(single_corpus, changed(extractor, order=order), noise_level=1))
    next(iterate_windows(single_corpus, changed(extractor, order=order, normalization="none"), noise_level=1))


def test_the_saved_extractor_is_not_touched(single_corpus, extractor):
    before = extractor.to_dict()
    next(iterate_windows(single_corpus, extractor, noise_level=1))
    assert extractor.to_dict() == before
