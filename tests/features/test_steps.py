"""The batched tensor steps against plain formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_transformers.errors import SignalError
from ecg_transformers.features.steps import (
    apply_lead_mask,
    cut_stored_windows,
    draw_lead_mask,
    keep_leads,
    normalize_windows,
    patch_attention_mask,
    patchify,
    scale_to_millivolts,
    unpatchify,
)


@pytest.fixture
def windows():
    generator = torch.Generator().manual_seed(0)
    return (
        0.2 * torch.randn(3, 4, 50, generator=generator, dtype=torch.float64)
        + torch.tensor([0.0, 0.5, -2.0, 9.0])[:, None]
    )


@pytest.fixture
def mask():
    return torch.arange(50) < torch.tensor([50, 31, 2])[:, None]


def plain(window, normalization, std=None, mean=None):
    """One window `(leads, valid samples)` by the formulas of the docstring, in numpy."""
    x = window.numpy()
    if normalization == "none":
        return x
    if normalization == "record":
        return (x - x.mean()) / x.std()
    if normalization == "minmax_lead":
        low, high = x.min(-1, keepdims=True), x.max(-1, keepdims=True)
        return 2 * (x - low) / (high - low) - 1
    center = x.mean(-1, keepdims=True) if mean is None else mean.numpy()[:, None]
    return (x - center) / (x.std(-1, keepdims=True) if std is None else std.numpy()[:, None])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "normalization", ["none", "record_lead", "record", "constants", "constants with mean", "minmax_lead"]
)
def test_normalization_is_its_formula_over_the_samples_that_are_signal(windows, mask, normalization, masked):
    constants = {}
    if normalization.startswith("constants"):
        constants["std"] = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
        if normalization != "constants":
            constants["mean"] = torch.tensor([0.0, 0.5, -2.0, 9.0], dtype=torch.float64)
        normalization = "constants"
    given_mask = mask if masked else None
    result = normalize_windows(windows, normalization=normalization, attention_mask=given_mask, **constants)
    for row, window in enumerate(windows):
        length = int(mask[row].sum()) if masked else 50
        expected = plain(window[:, :length], normalization, **constants)
        np.testing.assert_allclose(result[row, :, :length].numpy(), expected, rtol=1e-10, atol=1e-12)
        assert not result[row, :, length:].any()


def test_z_scored_lead_has_mean_0_and_population_deviation_1(windows):
    result = normalize_windows(windows, normalization="record_lead")
    assert torch.allclose(result.mean(-1), torch.zeros(3, 4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(result.var(-1, correction=0), torch.ones(3, 4, dtype=torch.float64))


@pytest.mark.parametrize("normalization", ["record_lead", "record", "constants", "minmax_lead"])
@pytest.mark.parametrize("level", [0.0, 1.0, -31.999, 3000.1])
def test_flat_lead_becomes_zeros_at_any_level(normalization, level):
    windows = torch.randn(2, 3, 3601, generator=torch.Generator().manual_seed(1)) * 0.2
    windows[1, 2] = level
    std = torch.full((3,), 0.2) if normalization == "constants" else None
    result = normalize_windows(windows, normalization=normalization, std=std)
    assert torch.isfinite(result).all()
    assert not result[1, 2].any()
    assert result[0].any()


def test_window_of_flat_leads_alone_becomes_zeros():
    for normalization in ("record_lead", "record", "minmax_lead"):
        assert not normalize_windows(torch.full((1, 2, 10), 0.7), normalization=normalization).any()


def test_absent_leads_do_not_enter_the_statistics_over_all_leads(windows):
    lead_mask = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1]])
    result = normalize_windows(windows, normalization="record", lead_mask=lead_mask)
    present = windows[0, [0, 1, 3]]
    expected = (present - present.mean()) / present.std(correction=0)
    assert torch.allclose(result[0, [0, 1, 3]], expected)
    assert not result[0, 2].any()
    assert not result[2, :3].any()


def test_a_window_has_the_same_bits_with_and_without_padded_neighbors(windows, mask):
    single = normalize_windows(windows[:1].float(), normalization="record_lead")
    among_others = normalize_windows(windows.float(), normalization="record_lead", attention_mask=mask)
    assert torch.equal(single[0], among_others[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int16])
def test_small_types_are_computed_in_float32(dtype):
    windows = (100 * torch.randn(2, 2, 100, generator=torch.Generator().manual_seed(2))).to(dtype)
    result = normalize_windows(windows, normalization="record_lead")
    assert result.dtype == torch.float32
    assert torch.equal(result, normalize_windows(windows.float(), normalization="record_lead"))


@pytest.mark.parametrize("normalization", ["none", "record_lead", "record", "constants", "minmax_lead"])
def test_gradients_pass_through_every_normalization(windows, normalization):
    leaf = windows.double().requires_grad_()
    std = torch.full((windows.shape[1],), 0.2, dtype=torch.float64) if normalization == "constants" else None
    normalize_windows(leaf, normalization=normalization, std=std)[..., 3].square().sum().backward()
    assert leaf.grad.isfinite().all()
    assert leaf.grad.abs().sum() > 0


def test_unknown_normalization_and_missing_constants_are_refused(windows):
    with pytest.raises(SignalError, match="record_lead"):
        normalize_windows(windows, normalization="zscore")
    with pytest.raises(SignalError, match="std"):
        normalize_windows(windows, normalization="constants")


def test_stored_integers_become_millivolts():
    stored = torch.tensor([[[1000, -500], [24, 1024]]], dtype=torch.int16)
    result = scale_to_millivolts(stored, gain=torch.tensor([1000.0, 200.0]), baseline=torch.tensor([0.0, 1024.0]))
    assert torch.allclose(result, torch.tensor([[[1.0, -0.5], [-5.0, 0.0]]]))


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    num_leads=st.integers(1, 3),
    window_size=st.integers(1, 30),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_windows_of_a_flat_corpus_are_those_of_its_records(lengths, num_leads, window_size, seed):
    rng = np.random.default_rng(seed)
    records = [rng.integers(1, 1000, size=(num_leads, length)).astype(np.int16) for length in lengths]
    stored = torch.from_numpy(np.concatenate([record.ravel() for record in records]))
    offsets = torch.tensor(np.cumsum([0] + [record.size for record in records[:-1]]))
    starts = [int(rng.integers(length)) for length in lengths]
    windows, mask = cut_stored_windows(
        stored,
        offsets,
        torch.tensor(lengths),
        torch.tensor(starts),
        num_leads=num_leads,
        window_size=window_size,
    )
    assert windows.dtype == torch.int16
    for row, (record, start) in enumerate(zip(records, starts, strict=True)):
        piece = record[:, start : start + window_size]
        assert int(mask[row].sum()) == piece.shape[1]
        assert np.array_equal(windows[row, :, : piece.shape[1]].numpy(), piece)
        assert not windows[row, :, piece.shape[1] :].any()


@given(p=st.floats(0, 1), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_random_lead_mask_never_takes_all_leads_and_gives_none_back(p, seed):
    present = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 0], [0, 1, 1, 0]]).repeat(20, 1)
    kept = draw_lead_mask(present, p, torch.Generator().manual_seed(seed))
    assert kept.any(dim=1).all()
    assert not (kept & ~present.bool()).any()
    assert torch.equal(kept, draw_lead_mask(present, p, torch.Generator().manual_seed(seed)))


def test_random_lead_mask_takes_the_share_it_is_asked_for():
    kept = draw_lead_mask(torch.ones(4000, 12), 0.5, torch.Generator().manual_seed(0))
    assert abs(float(kept.float().mean()) - 0.5) < 0.01
    assert kept.any(dim=1).all()
    assert draw_lead_mask(torch.ones(5, 12), 0.0).all()
    assert (draw_lead_mask(torch.ones(5, 12), 1.0).sum(1) == 1).all()


def test_leads_are_kept_from_the_probability_on_and_the_largest_draws_always():
    present = torch.tensor([[1, 1, 1, 0]] * 2)
    draws = torch.tensor([[0.5, 0.4, 0.6, 0.9], [0.1, 0.3, 0.2, 0.9]])
    wanted = {0: [[1, 0, 1, 0], [0, 0, 0, 0]], 1: [[1, 0, 1, 0], [0, 1, 0, 0]], 2: [[1, 0, 1, 0], [0, 1, 1, 0]]}
    for fewest, kept in wanted.items():
        assert keep_leads(present, draws, 0.5, min_kept=fewest).long().tolist() == kept


def test_lead_mask_makes_zeros(windows):
    lead_mask = torch.tensor([[1, 0, 1, 1]] * 3)
    result = apply_lead_mask(windows, lead_mask)
    assert not result[:, 1].any()
    assert torch.equal(result[:, [0, 2, 3]], windows[:, [0, 2, 3]])


@given(batch=st.integers(1, 3), leads=st.integers(1, 12), count=st.integers(1, 5), size=st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_patches_are_sample_major_and_exactly_undone(batch, leads, count, size):
    windows = torch.arange(batch * leads * count * size, dtype=torch.float32).reshape(batch, leads, count * size)
    patches = patchify(windows, size)
    assert patches.shape == (batch, count, leads * size)
    for n, s, c in ((0, 0, 0), (count - 1, size - 1, leads - 1), (count // 2, size // 2, leads // 2)):
        assert torch.equal(patches[:, n, s * leads + c], windows[:, c, n * size + s])
    assert torch.equal(unpatchify(patches, leads), windows)


def test_a_patch_with_one_sample_of_signal_is_attended():
    mask = (torch.arange(10) < torch.tensor([[6], [5], [0]])).long()
    assert patch_attention_mask(mask, 5).tolist() == [[1, 1], [1, 0], [0, 0]]
