"""Recipes of views: the published chains by recorded draws, ranges of every draw, several views of a record."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ecg_transformers.augmentations.operations import DownSample, DynamicTimeWarp, RandomTimeWarp, TimeOut
from ecg_transformers.augmentations.recipes import OPERATIONS, RECIPES, RecordViews, ViewRecipe, view_recipe
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import SignalError

FIXTURES = Path(__file__).parents[1] / "parity" / "data" / "ecg_selfsupervised"
SAMPLES = 250
PHYSIO = ("baseline_wander", "powerline_noise", "electromyographic_noise", "baseline_shift")


@pytest.fixture(scope="module")
def recorded():
    return load_file(FIXTURES / "augmentations.safetensors")


def same(result, expected):
    """Float32 of the largest value of the recording, 1e-6."""
    assert result.shape == expected.shape
    assert float((result - expected).abs().max()) <= 1e-6 * float(expected.abs().max())


def rows(count, seed=0):
    return RowGenerator(count, seed=seed)


@pytest.fixture
def signal():
    return torch.randn(32, 12, SAMPLES, generator=torch.Generator().manual_seed(1))


def recipe(names, **options):
    return view_recipe(names, sampling_rate=100, **options)


def test_the_published_chain_by_its_recorded_draws(recorded):
    kept = torch.zeros(1, SAMPLES, dtype=torch.bool)
    kept[0, recorded["rrc_to/positions"].long()] = True
    draws = {
        "0_kept": kept,
        "0_start": recorded["rrc_to/start"][None],
        "1_width": recorded["rrc_to/out_length"][None],
        "1_start": recorded["rrc_to/out_start"][None],
    }
    chain = recipe("rrc_to")
    assert {name: value.shape for name, value in chain.draw(rows(1), 12, SAMPLES).items()} == {
        name: value.shape for name, value in draws.items()
    }
    same(chain.apply(recorded["input"][None], draws)[0], recorded["rrc_to/output"])


@pytest.mark.parametrize("case", range(2))
def test_the_published_time_out(recorded, case):
    draws = {"0_width": recorded[f"time_out{case}/length"][None], "0_start": recorded[f"time_out{case}/start"][None]}
    same(recipe(["time_out"]).apply(recorded["input"][None], draws)[0], recorded[f"time_out{case}/output"])


def test_the_published_negation(recorded):
    same(recipe(["negation"]).apply(recorded["input"][None], {})[0], recorded["negation/output"])


def test_published_sets():
    assert RECIPES == {
        "times": (),
        "rrc_to": ("random_time_warp", "time_out"),
        "physio": PHYSIO,
        "default": ("gaussian_noise", "scale_leads", "random_time_warp"),
        "3kg": ("turn_vectorcardiogram", "lead_time_out"),
    }
    assert set().union(*RECIPES.values()) <= set(OPERATIONS)


def test_neighboring_noises_of_a_list_are_drawn_as_one_set(signal):
    physio, listed = recipe("physio"), recipe(list(PHYSIO))
    assert len(physio.operations) == 1
    assert torch.equal(
        physio.apply(signal, physio.draw(rows(32), 12, SAMPLES)),
        listed.apply(signal, listed.draw(rows(32), 12, SAMPLES)),
    )
    wander = recipe(["baseline_wander"]).operations[0].noise
    assert (wander.max_baseline_wander, wander.max_powerline) == (0.1, 0.0)
    assert (wander.max_electromyographic, wander.max_baseline_shift) == (0.0, 0.0)
    apart = recipe(["powerline_noise", "time_out", "baseline_shift"])
    assert len(apart.operations) == 3


@pytest.mark.parametrize("names", [*RECIPES, *([name] for name in OPERATIONS), list(OPERATIONS)], ids=str)
def test_views_repeat_with_their_seed_and_a_batch_is_its_records(signal, names):
    chain = recipe(names)
    before = signal.clone()
    draws = chain.draw(rows(32), 12, SAMPLES)
    assert all(len(value) == len(signal) for value in draws.values())
    result = chain.apply(signal, draws)
    assert torch.equal(signal, before)
    assert result.shape == signal.shape
    assert result.dtype == signal.dtype
    assert result.isfinite().all()
    assert torch.equal(result, signal) == (names == "times")
    again = chain.draw(rows(32), 12, SAMPLES)
    assert all(torch.equal(value, again[name]) for name, value in draws.items())
    other = chain.draw(rows(32, 1), 12, SAMPLES)
    assert not draws or any(not torch.equal(value, other[name]) for name, value in draws.items())
    alone = torch.cat(
        [
            chain.apply(signal[row : row + 1], {name: value[row : row + 1] for name, value in draws.items()})
            for row in range(len(signal))
        ]
    )
    torch.testing.assert_close(alone, result, rtol=0, atol=1e-5)
    assert chain.apply(signal.bfloat16(), draws).dtype == torch.bfloat16


def test_an_operation_may_be_named_twice(signal):
    twice = recipe(["time_out", "time_out"])
    result = twice.apply(signal, twice.draw(rows(32), 12, SAMPLES))
    silent = (result == 0).all(dim=1).sum(dim=1)
    assert silent.min() >= 50
    assert silent.max() > 100


def test_a_random_time_warp_keeps_its_share_and_its_starts_reach_both_ends():
    draws = RandomTimeWarp().draw(rows(20_000), 12, SAMPLES)
    kept, start = draws["kept"], draws["start"]
    length = kept.sum(dim=1)
    assert kept[:, 0].all()
    assert kept[:, -1].all()
    assert length.min() == 125
    assert length.max() == 249
    assert float(length.float().mean() / SAMPLES) == pytest.approx(0.748, abs=0.005)
    assert start.min() == 0
    assert (start + length).max() == SAMPLES
    long = length == 249
    assert set(start[long].tolist()) == {0, 1}


def test_published_starts_never_reach_the_last_place():
    published = RandomTimeWarp(all_starts=False).draw(rows(20_000), 12, SAMPLES)
    assert (published["start"] + published["kept"].sum(dim=1)).max() == SAMPLES - 1
    whole = RandomTimeWarp(ratio=(1.0, 1.0), all_starts=False).draw(rows(8), 12, SAMPLES)
    assert whole["kept"].all()
    assert not whole["start"].any()
    silent = TimeOut(all_starts=False).draw(rows(20_000), 12, SAMPLES)
    assert (silent["start"] + silent["width"]).max() == SAMPLES - 1


def test_a_time_out_silences_its_share():
    draws = TimeOut().draw(rows(20_000), 12, SAMPLES)
    assert draws["width"].min() == 50
    assert draws["width"].max() == 99
    assert float(draws["width"].float().mean()) == pytest.approx(74.5, abs=0.5)
    assert draws["start"].min() == 0
    assert (draws["start"] + draws["width"]).max() == SAMPLES


def test_a_down_sampling_keeps_its_share_and_the_published_two_more():
    assert DownSample(ratio=0.2).draw(rows(8), 12, SAMPLES)["kept"].sum(dim=1).tolist() == [50] * 8
    published = DownSample(ratio=0.2, ratio_by_slice=True)
    assert published.draw(rows(8), 12, SAMPLES)["kept"].sum(dim=1).tolist() == [51] * 8
    # A share of less than one sample removes nothing there.
    assert DownSample(ratio=0.001, ratio_by_slice=True).draw(rows(1), 12, SAMPLES)["kept"].all()


def test_centers_of_a_dynamic_time_warp_leave_room_on_both_sides():
    centers = DynamicTimeWarp().draw(rows(20_000), 12, SAMPLES)["centers"]
    assert centers.shape == (20_000, 3)
    assert (centers.min(), centers.max()) == (30, 217)
    with pytest.raises(SignalError, match="63"):
        DynamicTimeWarp().draw(rows(1), 3, 62)
    assert DynamicTimeWarp().draw(rows(4), 3, 63)["centers"].unique().tolist() == [30]
    # A tenth of a second on each side, whatever the rate.
    assert view_recipe(["dynamic_time_warp"], sampling_rate=500).operations[0].radius == 50


def test_lead_factors_and_noise_have_the_published_ranges():
    draws = recipe(["scale_leads", "gaussian_noise"]).draw(rows(4000), 12, SAMPLES)
    factor = draws["0_log_factor"].exp()
    assert factor.shape == (4000, 12)
    assert (float(factor.min()), float(factor.max())) == pytest.approx((0.5, 2.0), rel=1e-3)
    assert float(draws["0_log_factor"].mean()) == pytest.approx(0, abs=0.01)
    quiet = recipe(["gaussian_noise"]).apply(torch.zeros(64, 3, SAMPLES), {"0_noise": torch.randn(64, 3, SAMPLES)})
    assert float(quiet.std()) == pytest.approx(0.005, rel=0.02)


def test_quirks_reach_the_operations_they_concern():
    names = ["random_time_warp", "time_out", "down_sample", "baseline_wander"]
    plain, official = recipe(names), recipe(names, official_quirks=True)
    assert [operation.all_starts for operation in plain.operations[:2]] == [True, True]
    assert [operation.all_starts for operation in official.operations[:2]] == [False, False]
    assert (plain.operations[2].ratio_by_slice, official.operations[2].ratio_by_slice) == (False, True)
    assert plain.operations[3].noise.official_quirks == ()
    assert official.operations[3].noise.official_quirks == ("Q12", "Q13")
    some = recipe(names, official_quirks=("Q12", "Q17"))
    assert (some.operations[0].all_starts, some.operations[2].ratio_by_slice) == (False, False)
    assert some.operations[3].noise.official_quirks == ("Q12",)


def test_unknown_names_and_quirks_are_refused():
    with pytest.raises(SignalError, match="rrc_to"):
        recipe("rcc_to")
    with pytest.raises(SignalError, match="time_out"):
        recipe(["random_time_warp", "timeout"])
    with pytest.raises(SignalError, match="Q1"):
        recipe("rrc_to", official_quirks=("Q1",))


def views_of(signal, draws_seed=0, **options):
    views = RecordViews(**{"recipe": recipe("times"), "num_views": 2, "window_size": 100} | options)
    draws = views.draw(rows(len(signal), draws_seed), *signal.shape[-2:])
    return views.apply(signal, draws), draws


def test_other_times_of_a_record_are_views(signal):
    result, draws = views_of(signal)
    assert result.shape == (32, 2, 12, 100)
    start = draws["window_start"]
    for row in (0, 7, 31):
        for view in range(2):
            first = int(start[row, view])
            assert torch.equal(result[row, view], signal[row, :, first : first + 100])
    assert (start[:, 0] != start[:, 1]).float().mean() > 0.9


def test_window_starts_reach_the_last_place():
    long = torch.zeros(20_000, 1, 110)
    assert views_of(long)[1]["window_start"].unique().tolist() == list(range(11))
    assert views_of(long, all_starts=False)[1]["window_start"].unique().tolist() == list(range(10))
    assert views_of(torch.zeros(8, 1, 100), all_starts=False)[1]["window_start"].unique().tolist() == [0]


def test_views_of_the_same_crop_differ_by_their_augmentation(signal):
    result, draws = views_of(signal, same_crop=True)
    assert torch.equal(draws["window_start"][:, 0], draws["window_start"][:, 1])
    assert torch.equal(result[:, 0], result[:, 1])
    warped, draws = views_of(signal, same_crop=True, recipe=recipe("rrc_to"))
    assert not torch.equal(warped[:, 0], warped[:, 1])
    assert draws["0_kept"].shape == (32, 2, 100)


def test_each_process_draws_and_makes_the_views_of_its_own_records(signal):
    views = RecordViews(recipe=recipe([*OPERATIONS]), num_views=2, window_size=100)
    whole = views.apply(signal, views.draw(rows(32), 12, SAMPLES))
    own = RowGenerator(8, seed=0, first_row=8, total_rows=32)
    part = views.apply(signal[8:16], views.draw(own, 12, SAMPLES))
    torch.testing.assert_close(part, whole[8:16], rtol=0, atol=1e-5)


def test_views_of_several_pieces_of_a_patient_come_from_them_in_turn():
    pieces = torch.arange(4.0)[:, None, None, None] * 10 + torch.arange(2.0)[None, :, None, None]
    result, _ = views_of(pieces.expand(4, 2, 3, 150).contiguous(), num_views=3)
    assert result.shape == (4, 3, 3, 100)
    assert result[:, :, 0, 0].tolist() == [[10.0 * row, 10.0 * row + 1, 10.0 * row] for row in range(4)]


def test_a_source_shorter_than_the_window_is_refused(signal):
    with pytest.raises(SignalError, match=r"250.*300"):
        views_of(signal, window_size=300)


def test_draws_of_3kg(signal):
    turn, silence = recipe("3kg").operations
    draws = turn.draw(rows(20_000), 12, SAMPLES)
    assert -0.7854 <= float(draws["angles"].min()) < -0.78 < 0.78 < float(draws["angles"].max()) <= 0.7854
    assert 1 <= float(draws["scales"].min()) < 1.001 < 1.499 < float(draws["scales"].max()) <= 1.5
    silent = silence.apply(torch.ones_like(signal), silence.draw(rows(32), 12, SAMPLES))
    assert (silent == 0).sum(dim=2).unique().tolist() == [SAMPLES // 2]
    with pytest.raises(SignalError, match="3 leads; expected the 12 standard ones"):
        turn.apply(signal[:, :3], turn.draw(rows(32), 3, SAMPLES))


def test_a_recipe_of_own_operations(signal):
    own = ViewRecipe((RandomTimeWarp(ratio=(0.9, 0.9)), TimeOut(ratio=(0.5, 0.5))))
    draws = own.draw(rows(32), 12, SAMPLES)
    assert draws["0_kept"].sum(dim=1).unique().tolist() == [225]
    assert draws["1_width"].unique().tolist() == [125]
