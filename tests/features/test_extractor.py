"""The extractor: what it takes, what it gives, what it refuses."""

import inspect
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoFeatureExtractor

from ecg_transformers.errors import EcgError, LeadError, SignalError
from ecg_transformers.features.contract import FIELD_NAMES, SignalContract
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.features.preparation import _warn_of_offset
from ecg_transformers.models.mae_moco.feature_extraction_mae_moco import MaeMocoFeatureExtractor
from ecg_transformers.signals.leads import STANDARD_LEADS
from ecg_transformers.signals.record import EcgRecord
from ecg_transformers.signals.synthesis import synthesize_record


def noise(num_samples, num_leads=12, seed=0):
    return (0.3 * np.random.default_rng(seed).normal(size=(num_leads, num_samples))).astype(np.float32)


def plain_extractor():
    """One that takes any values as they are: the tests of windows count samples."""
    return EcgFeatureExtractor(sampling_rate=100, window_size=200, normalization="none", implausible_amplitude="accept")


@pytest.fixture
def extractor():
    """Twelve leads, 2 s at 100 Hz, patches of 25."""
    return EcgFeatureExtractor(sampling_rate=100, window_size=200, patch_size=25, allow_short=True)


@pytest.fixture
def strict():
    """The same for a model without an attention mask."""
    return EcgFeatureExtractor(sampling_rate=100, window_size=200)


class TestOutput:
    def test_names_shapes_and_types(self, extractor):
        batch = extractor([noise(500), noise(150)], sampling_rate=100, return_tensors="pt")
        assert list(batch) == ["input_values", "attention_mask", "lead_mask", "record_index"]
        assert batch["input_values"].shape == (4, 12, 200)
        assert batch["input_values"].dtype == torch.float32
        assert batch["input_values"].is_contiguous()
        assert batch["attention_mask"].sum(dim=1).tolist() == [200, 200, 100, 150]
        assert batch["lead_mask"].tolist() == [[1] * 12] * 4
        assert batch["record_index"].tolist() == [0, 0, 0, 1]
        for name in ("attention_mask", "lead_mask", "record_index"):
            assert batch[name].dtype == torch.int64

    def test_numpy_is_the_default_and_equals_torch(self, extractor):
        arrays, tensors = (extractor(noise(500), sampling_rate=100, return_tensors=kind) for kind in (None, "pt"))
        assert isinstance(arrays["input_values"], np.ndarray)
        assert arrays["input_values"].flags.c_contiguous
        for name, value in arrays.items():
            assert np.array_equal(value, tensors[name].numpy())

    def test_attention_mask_is_left_out_for_models_that_take_none(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, return_attention_mask=False)
        assert list(extractor(noise(200), sampling_rate=100)) == ["input_values", "lead_mask", "record_index"]

    @pytest.mark.parametrize("normalization", ["none", "record_lead", "record", "minmax_lead"])
    def test_padding_is_zero_and_does_not_enter_the_statistics(self, normalization):
        extractor = EcgFeatureExtractor(
            sampling_rate=100, window_size=200, allow_short=True, normalization=normalization
        )
        short = EcgFeatureExtractor(sampling_rate=100, window_size=150, normalization=normalization)
        padded = extractor(noise(150) + 1, sampling_rate=100)["input_values"]
        assert not padded[..., 150:].any()
        np.testing.assert_allclose(
            padded[..., :150], short(noise(150) + 1, sampling_rate=100)["input_values"], atol=1e-6
        )

    def test_result_is_never_the_callers_array(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, normalization="none")
        record = EcgRecord(noise(200), 100)
        extractor(record, return_tensors="pt")["input_values"].zero_()
        assert record.signal.any()

    def test_read_only_arrays_are_taken_without_a_warning(self, extractor, recwarn):
        array = noise(200)
        array.flags.writeable = False
        extractor(array, sampling_rate=100)
        assert not [warning for warning in recwarn if "writ" in str(warning.message)]


class TestAloneOrInAList:
    @given(
        lengths=st.lists(st.integers(30, 900), min_size=2, max_size=4),
        normalization=st.sampled_from(["none", "record_lead", "record", "constants", "minmax_lead"]),
        num_leads=st.sampled_from([1, 3, 12]),
    )
    @settings(max_examples=30, deadline=None)
    def test_windows_have_the_same_bits(self, lengths, normalization, num_leads):
        extractor = EcgFeatureExtractor(
            lead_names=STANDARD_LEADS[:num_leads],
            sampling_rate=100,
            window_size=200,
            allow_short=True,
            normalization=normalization,
            normalization_std=[0.2] * num_leads if normalization == "constants" else None,
        )
        records = [noise(length, num_leads, seed) for seed, length in enumerate(lengths)]
        rates = [100 + 37.5 * place for place in range(len(records))]
        together = extractor(records, sampling_rate=rates)
        for place, (record, rate) in enumerate(zip(records, rates, strict=True)):
            alone = extractor(record, sampling_rate=rate)
            mine = together["record_index"] == place
            for name in ("input_values", "attention_mask", "lead_mask"):
                assert np.array_equal(together[name][mine], alone[name])

    def test_every_kind_of_input_gives_the_same(self, extractor):
        array = noise(450)
        record = EcgRecord(array, 100, STANDARD_LEADS)
        expected = extractor(array, sampling_rate=100)
        kinds = {
            "record": extractor(record),
            "list": extractor([array], sampling_rate=100),
            "three axes": extractor(array[np.newaxis], sampling_rate=100),
            "tensor": extractor(torch.from_numpy(array), sampling_rate=100),
            "tensor of three axes": extractor(torch.from_numpy(array)[None], sampling_rate=100),
            "nested lists": extractor(array.tolist(), sampling_rate=100),
            "list of nested lists": extractor([array.tolist()], sampling_rate=100),
            "mapping": extractor({"signal": array, "sampling_rate": 100}),
            "mapping and rate": extractor([{"signal": array}], sampling_rate=100),
            "mapping of a tensor": extractor({"signal": torch.from_numpy(array), "sampling_rate": 100}),
            "rate per record": extractor([array], sampling_rate=[100]),
            "rate as array": extractor([array], sampling_rate=np.float32(100)),
            "float64": extractor(array.astype(np.float64), sampling_rate=100.0),
        }
        for kind, batch in kinds.items():
            assert np.array_equal(batch["input_values"], expected["input_values"]), kind

    def test_whole_numbers_are_taken(self, extractor):
        counts = (1000 * noise(200)).astype(np.int16)
        values = extractor(counts, sampling_rate=100, units="uV")["input_values"]
        np.testing.assert_allclose(values, extractor(counts / 1000, sampling_rate=100)["input_values"], atol=1e-5)

    def test_need_8_several_rates_and_lengths_in_one_call(self):
        extractor = MaeMocoFeatureExtractor()
        batch = extractor([EcgRecord(noise(7500), 250), EcgRecord(noise(7000), 1000)], return_tensors="pt")
        assert batch["input_values"].shape == (4, 12, 3600)
        assert batch["record_index"].tolist() == [0, 0, 0, 1]
        assert int(batch["attention_mask"][3].sum()) == 2520


class TestWindows:
    def test_crop_center_and_random(self, extractor):
        ramp = np.tile(np.arange(1000.0), (12, 1))
        plain = plain_extractor()
        first = {
            mode: plain(ramp, sampling_rate=100, window=mode)["input_values"][0, 0, 0] for mode in ("crop", "center")
        }
        assert first == {"crop": 0, "center": 400}
        draws = [
            plain(ramp, sampling_rate=100, window="random", generator=torch.Generator().manual_seed(seed))[
                "input_values"
            ][0, 0]
            for seed in (1, 1, 2)
        ]
        assert np.array_equal(draws[0], draws[1])
        assert not np.array_equal(draws[0], draws[2])
        assert np.array_equal(np.diff(draws[0]), np.ones(199))

    def test_random_windows_reach_both_ends(self):
        plain = plain_extractor()
        ramp = np.tile(np.arange(203.0), (12, 1))
        generator = torch.Generator().manual_seed(0)
        calls = [plain(ramp, sampling_rate=100, window="random", generator=generator) for _ in range(60)]
        assert {int(batch["input_values"][0, 0, 0]) for batch in calls} == {0, 1, 2, 3}

    def test_the_saved_choice_is_the_default(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, window_mode="center")
        assert extractor(noise(1000), sampling_rate=100)["input_values"].shape[0] == 1
        assert extractor(noise(1000), sampling_rate=100, window="slide")["input_values"].shape[0] == 5

    def test_the_last_window_is_aligned_where_the_model_takes_no_mask(self, strict):
        plain = plain_extractor()
        ramp = np.tile(np.arange(450.0), (12, 1))
        batch = plain(ramp, sampling_rate=100)
        assert batch["input_values"][:, 0, 0].tolist() == [0, 200, 250]
        assert batch["attention_mask"].all()

    def test_a_rest_below_a_second_is_aligned_too(self, extractor):
        assert extractor(noise(430), sampling_rate=100)["attention_mask"].all()
        assert extractor(noise(430), sampling_rate=100)["input_values"].shape[0] == 3
        exact = EcgFeatureExtractor(sampling_rate=100, window_size=200, allow_short=True, min_window_seconds=0)
        assert exact(noise(430), sampling_rate=100)["attention_mask"].sum(1).tolist() == [200, 200, 30]

    def test_overlapping_windows(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, window_stride=50)
        assert extractor(noise(400), sampling_rate=100)["input_values"].shape[0] == 5

    def test_the_same_record_at_two_rates_has_the_same_windows(self, extractor):
        for rate in (50, 128, 257.3, 360, 500, 1000, 2000):
            record = synthesize_record("SR", duration=7.0, sampling_rate=rate, seed=1)
            assert extractor(record)["attention_mask"].sum(1).tolist() == [200, 200, 200, 100], rate

    def test_normalizing_before_the_cut_uses_the_whole_recording(self):
        order = ("leads", "units", "resample", "filter", "normalize", "window", "pad")
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, order=order)
        signal = noise(600) * np.linspace(0.5, 2, 600)
        values = extractor(signal, sampling_rate=100)["input_values"]
        whole = np.concatenate(list(values), axis=-1)
        expected = (signal - signal.mean(-1, keepdims=True)) / signal.std(-1, keepdims=True)
        np.testing.assert_allclose(whole, expected, atol=1e-4)


class TestPatches:
    def test_patches_take_the_place_of_the_windows(self, extractor):
        windows = extractor([noise(500), noise(130)], sampling_rate=100, return_tensors="pt")
        patches = extractor([noise(500), noise(130)], sampling_rate=100, return_tensors="pt", return_patches=True)
        assert list(patches) == ["patches", "patch_attention_mask", "lead_mask", "record_index"]
        assert patches["patches"].shape == (4, 8, 300)
        assert patches["patch_attention_mask"].sum(1).tolist() == [8, 8, 4, 6]
        assert torch.equal(extractor.unpatchify(patches["patches"]), windows["input_values"])
        assert torch.equal(patches["patches"][1, 3, 7 * 12 + 5], windows["input_values"][1, 5, 3 * 25 + 7])

    def test_the_attribute_and_numpy_work_too(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, patch_size=50, return_patches=True)
        batch = extractor(noise(200), sampling_rate=100)
        windows = extractor(noise(200), sampling_rate=100, return_patches=False)["input_values"]
        assert np.array_equal(extractor.unpatchify(batch["patches"]), windows)

    def test_a_window_of_broken_patches_is_refused_with_the_nearest_lengths(self):
        with pytest.raises(SignalError, match="200 or 225"):
            EcgFeatureExtractor(sampling_rate=100, window_size=210, patch_size=25)

    def test_patches_without_a_patch_size_are_refused(self, strict):
        with pytest.raises(SignalError, match="patch_size"):
            strict(noise(200), sampling_rate=100, return_patches=True)


class TestLeads:
    def test_named_leads_are_put_in_order_and_others_left_out(self):
        extractor = EcgFeatureExtractor(
            lead_names=["V1", "II"], sampling_rate=100, window_size=200, normalization="none"
        )
        signal = noise(200)
        values = extractor(EcgRecord(signal, 100, STANDARD_LEADS))["input_values"]
        assert np.array_equal(values[0], signal[[6, 1]])

    def test_missing_leads_are_an_error_that_names_them_and_the_cure(self, extractor):
        with pytest.raises(LeadError, match=r"1 lead \(I\).*needs 12.*missing: II, III.*missing_leads='mask'"):
            extractor(EcgRecord(noise(200, 1), 100, ["I"]))
        limbs = EcgRecord(noise(200, 8), 100, ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"])
        with pytest.raises(LeadError, match="derive_leads=True"):
            extractor(limbs)

    def test_missing_leads_are_zero_and_marked_where_they_may_be(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, missing_leads="mask")
        batch = extractor(EcgRecord(noise(500, 2), 100, ["II", "V5"]))
        assert batch["lead_mask"].tolist() == [[0, 1] + [0] * 8 + [1, 0]] * 3
        assert not batch["input_values"][batch["lead_mask"] == 0].any()
        assert np.abs(batch["input_values"][batch["lead_mask"] == 1]).max(axis=-1).min() > 1

    def test_a_record_with_none_of_the_leads_is_an_error_even_then(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, missing_leads="mask")
        with pytest.raises(LeadError, match="treat_as"):
            extractor(EcgRecord(noise(200, 1), 100, ["MLII"]))

    def test_limb_leads_are_derived_exactly_when_asked(self):
        names = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]
        full = synthesize_record("SR", duration=2, sampling_rate=100)
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, derive_leads=True, normalization="none")
        batch = extractor(full.select(names))
        np.testing.assert_allclose(batch["input_values"][0], full.signal, atol=1e-6)
        assert batch["lead_mask"].all()
        assert "derived III, aVR, aVL, aVF" in extractor.explain(full.select(names))

    def test_unnamed_arrays_need_exactly_the_extractors_leads(self, extractor):
        with pytest.raises(LeadError, match=r"8 leads without names; expected 12.*leads="):
            extractor(noise(200, 8), sampling_rate=100)

    def test_exchanged_axes_are_recognized(self, extractor):
        with pytest.raises(SignalError, match=r"array\.T"):
            extractor(noise(200).T, sampling_rate=100)


class TestLeadMask:
    @pytest.mark.parametrize("mask", [["II", "v1"], np.eye(12)[1] + np.eye(12)[6], torch.eye(12)[1] + torch.eye(12)[6]])
    def test_explicit_by_name_or_flag(self, extractor, mask):
        batch = extractor(noise(500), sampling_rate=100, lead_mask=mask)
        expected = np.zeros((3, 12), dtype=np.int64)
        expected[:, [1, 6]] = 1
        assert np.array_equal(batch["lead_mask"], expected)
        assert not batch["input_values"][expected == 0].any()
        whole = extractor(noise(500), sampling_rate=100)["input_values"]
        assert np.array_equal(batch["input_values"][expected == 1], whole[expected == 1])

    def test_flags_for_each_record(self, extractor):
        flags = np.ones((2, 12), dtype=bool)
        flags[1, 3:] = False
        batch = extractor([noise(500), noise(200)], sampling_rate=100, lead_mask=flags)
        assert batch["lead_mask"].sum(1).tolist() == [12, 12, 12, 3]

    def test_random_masks_repeat_with_the_generator_and_leave_a_lead(self, extractor):
        calls = [
            extractor(noise(4000), sampling_rate=100, random_lead_mask=p, generator=torch.Generator().manual_seed(seed))
            for p, seed in ((0.5, 1), (0.5, 1), (0.5, 2), (1.0, 1))
        ]
        masks = [batch["lead_mask"] for batch in calls]
        assert np.array_equal(masks[0], masks[1])
        assert not np.array_equal(masks[0], masks[2])
        assert (masks[3].sum(1) == 1).all()
        assert not calls[0]["input_values"][masks[0] == 0].any()
        assert 0.3 < masks[0].mean() < 0.7

    @pytest.mark.parametrize(
        ("mask", "error"),
        [(["XX"], "XX"), (np.ones(5), "shape"), (np.zeros(12), "at least one"), (np.ones((3, 12)), "shape")],
    )
    def test_masks_that_cannot_be_are_refused(self, extractor, mask, error):
        with pytest.raises(LeadError, match=error):
            extractor(noise(200), sampling_rate=100, lead_mask=mask)

    def test_a_probability_is_from_0_to_1(self, extractor):
        with pytest.raises(SignalError, match="probability"):
            extractor(noise(200), sampling_rate=100, random_lead_mask=1.5)


class TestFlatLeads:
    @pytest.mark.parametrize("rate", [100, 500, 257.3, 40])
    @pytest.mark.parametrize("level", [0.0, 2.5, -20.0])
    def test_flat_lead_becomes_zeros_and_is_masked_at_any_rate_and_level(self, extractor, rate, level):
        signal = noise(round(6 * rate))
        signal[4] = level
        signal[7, round(2 * rate) : round(4 * rate)] = level
        batch = extractor(signal, sampling_rate=rate)
        expected = np.ones((3, 12), dtype=np.int64)
        expected[:, 4] = 0
        expected[1, 7] = 0
        assert np.array_equal(batch["lead_mask"], expected)
        assert not batch["input_values"][expected == 0].any()
        assert np.isfinite(batch["input_values"]).all()

    def test_keep_counts_it_as_present(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, flat_lead="keep")
        signal = noise(200)
        signal[4] = 1.0
        batch = extractor(signal, sampling_rate=100)
        assert batch["lead_mask"].all()
        assert not batch["input_values"][0, 4].any()

    def test_without_normalization_a_kept_flat_lead_stays_as_it_is(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, flat_lead="keep", normalization="none")
        signal = noise(200)
        signal[4] = 1.0
        assert (extractor(signal, sampling_rate=100)["input_values"][0, 4] == 1).all()

    def test_error_names_the_lead(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, flat_lead="error")
        signal = noise(200)
        signal[4] = 1.0
        with pytest.raises(SignalError, match="aVL"):
            extractor(signal, sampling_rate=100)

    def test_a_small_signal_is_not_flat(self, extractor):
        values = extractor(noise(200) * 1e-4, sampling_rate=100, implausible_amplitude="accept")
        assert values["lead_mask"].all()
        np.testing.assert_allclose(values["input_values"].std(-1), 1, atol=1e-3)


class TestMissingSamples:
    @pytest.fixture
    def broken(self):
        signal = noise(400)
        signal[3, 50:54] = np.nan
        signal[9, 399] = np.inf
        return signal

    def test_error_says_which_lead_how_many_and_where(self, extractor, broken):
        with pytest.raises(SignalError, match=r"aVR 4 samples, the first at 0\.500 s.*V4 1 sample.*nan_policy"):
            extractor(broken, sampling_rate=100)

    def test_interpolation_bridges_short_gaps_and_refuses_long_ones(self, broken):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, nan_policy="interpolate")
        values = extractor(broken, sampling_rate=100)["input_values"]
        assert np.isfinite(values).all()
        line = values[0, 3, 49:55]
        np.testing.assert_allclose(np.diff(line), np.diff(line).mean(), atol=1e-4)
        broken[3, 50:80] = np.nan
        with pytest.raises(SignalError, match=r"up to 30 in a row.*at most 0\.1 s"):
            extractor(broken, sampling_rate=100)

    def test_mask_lead_gives_the_lead_up(self, broken):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, nan_policy="mask_lead")
        batch = extractor(broken, sampling_rate=100)
        assert batch["lead_mask"][:, [3, 9]].tolist() == [[0, 0]] * 2
        assert not batch["input_values"][:, [3, 9]].any()
        with pytest.raises(SignalError, match="every lead"):
            extractor(np.full((12, 200), np.nan), sampling_rate=100)

    def test_a_gap_in_a_lead_that_is_not_wanted_does_not_matter(self):
        extractor = EcgFeatureExtractor(lead_names=["I"], sampling_rate=100, window_size=200)
        signal = noise(200, 2)
        signal[1] = np.nan
        assert np.isfinite(extractor(EcgRecord(signal, 100, ["I", "II"]))["input_values"]).all()


class TestRefusals:
    def test_a_bare_array_without_a_rate(self, extractor):
        with pytest.raises(SignalError, match=r"sampling_rate is missing for a bare array of shape \(12, 200\)"):
            extractor(noise(200))

    @pytest.mark.parametrize("rate", [0, -5, float("nan"), float("inf"), "500", True, [100, 100]])
    def test_rates_that_are_none(self, extractor, rate):
        with pytest.raises(SignalError, match="sampling_rate"):
            extractor(noise(200), sampling_rate=rate)

    def test_a_call_that_contradicts_the_record(self, extractor):
        record = EcgRecord(noise(200), 100, STANDARD_LEADS)
        for arguments in ({"sampling_rate": 500}, {"units": "uV"}, {"leads": STANDARD_LEADS}):
            with pytest.raises(EcgError, match="the record"):
                extractor(record, **arguments)
        assert extractor(record, sampling_rate=100)["input_values"].shape == (1, 12, 200)

    @pytest.mark.parametrize(
        "records",
        [
            np.array(5.0),
            np.zeros(200),
            np.zeros((12, 0)),
            np.zeros((0, 200)),
            np.zeros((2, 3, 12, 200)),
            np.zeros((12, 200), dtype=complex),
            np.zeros((12, 200), dtype=bool),
            np.array([["a"] * 200] * 12),
            np.array([np.zeros(3), np.zeros(4)], dtype=object),
            np.zeros((0, 12, 200)),
            [],
            None,
            5,
            "record.hea",
            [None],
            [[1.0, 2.0], [3.0]],
            {"sampling_rate": 100},
            {"signal": None, "sampling_rate": 100},
            {"signal": np.zeros((12, 200)), "rate": 100},
            iter([np.zeros((12, 200))]),
        ],
    )
    def test_what_is_no_recording(self, extractor, records):
        with pytest.raises(EcgError, match="expected"):
            extractor(records, sampling_rate=100)

    def test_too_short_says_both_lengths_in_seconds(self, strict):
        with pytest.raises(SignalError, match=r"lasts 1\.5 s and a window 2 s.*longer recording"):
            strict(noise(150), sampling_rate=100)

    def test_misspelled_names_get_the_nearest_known_one(self, extractor, tmp_path):
        with pytest.raises(SignalError, match="Did you mean 'sampling_rate'"):
            extractor(noise(200), samplingrate=100)
        with pytest.raises(SignalError, match="Did you mean 'normalization'"):
            EcgFeatureExtractor(normalisation="none")
        extractor.save_pretrained(tmp_path)
        with pytest.raises(SignalError, match="Did you mean 'window_size'"):
            EcgFeatureExtractor.from_pretrained(tmp_path, windowsize=100)
        with pytest.raises(SignalError, match="Did you mean 'window'"):
            extractor.explain(noise(200), sampling_rate=100, windw="crop")

    @pytest.mark.parametrize("arguments", [{"window": "slid"}, {"return_tensors": "tf"}, {"units": "mmHg"}])
    def test_unknown_choices(self, extractor, arguments):
        with pytest.raises(SignalError, match="expected"):
            extractor(noise(200), sampling_rate=100, **arguments)


class TestStoredCorpora:
    def test_a_step_that_was_done_alike_is_not_done_again(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, bandpass=[0.5, 40])
        plain = EcgFeatureExtractor(sampling_rate=100, window_size=200)
        stamp = extractor.stamp(["leads", "units", "resample", "filter"])
        stored = noise(400)
        batch = extractor(stored, sampling_rate=100, preprocessed_by=stamp)
        assert np.array_equal(batch["input_values"], plain(stored, sampling_rate=100)["input_values"])
        assert not np.array_equal(batch["input_values"], extractor(stored, sampling_rate=100)["input_values"])
        assert json.loads(json.dumps(stamp)) == stamp

    @pytest.mark.parametrize(
        "other", [{"bandpass": [0.5, 45]}, {"sampling_rate": 120}, {"resampling": "linear"}, {"notch": 50}]
    )
    def test_a_step_that_was_done_otherwise_is_refused(self, other):
        extractor = EcgFeatureExtractor(**({"sampling_rate": 125, "window_size": 200, "bandpass": [0.5, 40]} | other))
        stored = EcgFeatureExtractor(sampling_rate=125, window_size=200, bandpass=[0.5, 40])
        with pytest.raises(SignalError, match="twice"):
            extractor(noise(400), sampling_rate=125, preprocessed_by=stored.stamp(["resample", "filter"]))

    def test_other_windows_and_normalization_do_not_matter_to_a_resampled_corpus(self):
        stored = EcgFeatureExtractor(sampling_rate=100, window_size=200)
        other = EcgFeatureExtractor(sampling_rate=100, window_size=400, normalization="record")
        stamp = stored.stamp(["leads", "units", "resample"])
        assert other(noise(400), sampling_rate=100, preprocessed_by=stamp)["input_values"].shape == (1, 12, 400)

    def test_a_wrong_rate_after_resampling_is_refused(self, strict):
        with pytest.raises(SignalError, match="500 Hz; expected 100 Hz"):
            strict(noise(1000), sampling_rate=500, preprocessed_by=strict.stamp(["resample"]))

    def test_steps_out_of_order_are_refused(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, notch=40)
        with pytest.raises(SignalError, match="but not filter"):
            extractor(noise(200), sampling_rate=100, preprocessed_by=extractor.stamp(["resample", "normalize"]))


class TestSaving:
    def test_every_field_comes_back(self, tmp_path):
        extractor = EcgFeatureExtractor(
            lead_names=("II", "V5"),
            sampling_rate=257.3,
            window_size=np.int64(500),
            window_stride=250,
            patch_size=50,
            normalization="constants",
            normalization_mean=np.array([0.0, 0.1]),
            normalization_std=(0.2, 0.3),
            bandpass=(0.5, None),
            notch=50,
            derive_leads=True,
            order=("leads", "units", "filter", "resample", "window", "normalize", "pad"),
        )
        extractor.save_pretrained(tmp_path)
        loaded = EcgFeatureExtractor.from_pretrained(tmp_path)
        assert loaded.to_dict() == extractor.to_dict()
        assert loaded.contract_hash() == extractor.contract_hash()
        assert set(json.loads((tmp_path / "preprocessor_config.json").read_text())) == {
            *FIELD_NAMES,
            "feature_extractor_type",
        }
        values = [one(noise(1000, 2), sampling_rate=257.3)["input_values"] for one in (extractor, loaded)]
        assert np.array_equal(*values)

    def test_the_auto_class_finds_it(self, tmp_path):
        import ecg_transformers  # noqa: F401  registers the classes

        MaeMocoFeatureExtractor(normalization="record").save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "mae_moco"}))
        loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
        assert type(loaded) is MaeMocoFeatureExtractor
        assert loaded.normalization == "record"

    def test_an_overridden_field_is_logged_beside_the_published_value(self, tmp_path, caplog):
        MaeMocoFeatureExtractor().save_pretrained(tmp_path)
        from transformers.utils import logging

        logging.enable_propagation()
        try:
            loaded = MaeMocoFeatureExtractor.from_pretrained(tmp_path, window_size=1800, sampling_rate=360)
        finally:
            logging.disable_propagation()
        assert "window_size 3600 -> 1800" in caplog.text
        assert "sampling_rate" not in caplog.text
        assert (loaded.window_size, loaded.window_stride) == (1800, 1800)

    def test_it_can_be_pickled_and_needs_no_argument(self, extractor):
        again = pickle.loads(pickle.dumps(extractor))
        assert again.to_dict() == extractor.to_dict()
        assert EcgFeatureExtractor().window_seconds == 10
        assert MaeMocoFeatureExtractor().window_seconds == 10

    def test_published_sources_are_not_carried_on(self):
        extractor = EcgFeatureExtractor(auto_map={"AutoFeatureExtractor": "x.Y"}, feature_extractor_type="Z")
        assert "auto_map" not in extractor.to_dict()

    def test_constructor_and_contract_have_the_same_fields_and_defaults(self):
        parameters = inspect.signature(EcgFeatureExtractor.__init__).parameters
        named = {name: item.default for name, item in parameters.items() if name not in ("self", "kwargs")}
        contract = SignalContract()
        assert tuple(named) == FIELD_NAMES
        assert SignalContract(**named) == contract


class TestWords:
    def test_describe_is_a_numbered_list_with_units_and_seconds(self):
        text = MaeMocoFeatureExtractor().describe()
        lines = text.splitlines()
        assert [line.split(".")[0] for line in lines] == [str(number) for number in range(1, 9)]
        for words in ("V1-V6", "mV", "360 Hz", "3600 samples (10 s at 360 Hz)", "144 patches", "eps 1e-06", "right"):
            assert words in text

    def test_explain_says_what_was_done_to_this_record(self):
        extractor = MaeMocoFeatureExtractor(derive_leads=True)
        signal = noise(12_500, 8) * 1000
        signal[5] = 7
        names = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]
        text = extractor.explain(EcgRecord(signal, 500, names, units="uV", name="patient7"))
        for words in (
            "patient7: 8 leads, 25 s at 500 Hz",
            "converted uV -> mV",
            "derived III, aVR, aVL, aVF",
            "500 -> 360 Hz (12500 -> 9000 samples",
            "3 windows of 10 s",
            "the last has 5 s of signal and is padded",
            "V4 is flat in window 2",
        ):
            assert words in text
        assert "the band above 50 Hz is empty" in extractor.explain(noise(1000), sampling_rate=100)

    def test_explain_covers_every_record_of_a_list(self, extractor):
        text = extractor.explain([noise(200), noise(300)], sampling_rate=100, window="crop")
        assert text.count("12 leads") == 2
        assert "1 window of 2 s out of 3 s" in text


class TestUnusualRecordings:
    def test_microvolts_without_their_unit_are_refused_on_every_way(self, extractor):
        signal = synthesize_record(duration=4, sampling_rate=100).signal
        ways = [
            (1000 * signal, {"sampling_rate": 100}),
            ([1000 * signal], {"sampling_rate": 100}),
            (torch.from_numpy(1000 * signal), {"sampling_rate": 100}),
            ({"signal": 1000 * signal, "sampling_rate": 100}, {}),
            (EcgRecord(1000 * signal, 100, STANDARD_LEADS, name="r7"), {}),
        ]
        for records, arguments in ways:
            for call in (extractor, extractor.explain):
                with pytest.raises(SignalError, match=r"taken as millivolts.*units='uV'\?.*implausible_amplitude"):
                    call(records, **arguments)
        right = extractor(signal, sampling_rate=100)["input_values"]
        for arguments in ({"units": "uV"}, {"gain": 1000}):
            found = extractor(1000 * signal, sampling_rate=100, **arguments)["input_values"]
            np.testing.assert_allclose(found, right, atol=1e-5)
        accepted = extractor(1000 * signal, sampling_rate=100, implausible_amplitude="accept")
        np.testing.assert_allclose(accepted["input_values"], right, atol=1e-4)
        with pytest.raises(SignalError, match=r"units='V'\?"):
            extractor(signal / 1000, sampling_rate=100)
        with pytest.raises(SignalError, match="gain is for bare arrays"):
            extractor(EcgRecord(signal, 100, STANDARD_LEADS), gain=1000)

    def test_a_unit_that_is_not_that_of_all_leads_is_told(self, extractor, caplog):
        signal = synthesize_record(duration=4, sampling_rate=100).signal
        signal[6:] *= 1000
        extractor(signal, sampling_rate=100, units="uV")
        assert "implausible amplitude: I, II, III, aVR, aVL, aVF move by 0.0" in caplog.text

    @pytest.mark.parametrize("offset", [10.0, -163.84, 300.0, 1000.0])
    @pytest.mark.parametrize("where", [slice(None), slice(3, 9)])
    def test_an_electrode_offset_is_refused_only_where_nothing_removes_it(self, offset, where):
        signal = synthesize_record(duration=4, sampling_rate=100).signal
        signal[where] += np.float32(offset)
        contract = {"sampling_rate": 100, "window_size": 200}
        for kept in ({"normalization": "constants", "normalization_std": [0.3] * 12}, {"normalization": "none"}):
            keeping = EcgFeatureExtractor(**contract, **kept)
            for call in (keeping, keeping.explain):
                with pytest.raises(
                    SignalError, match=r"offset.*V1 .*removes no.*electrode_offset='remove'.*_amplitude"
                ):
                    call(signal, sampling_rate=100)
            cured = keeping(signal - np.median(signal, axis=1, keepdims=True), sampling_rate=100)["input_values"]
            removed = keeping(signal, sampling_rate=100, electrode_offset="remove")["input_values"]
            np.testing.assert_array_equal(removed, cured)
            assert "subtracted the median" in keeping.explain(signal, sampling_rate=100, electrode_offset="remove")
            keeping(signal, sampling_rate=100, implausible_amplitude="accept")
            EcgFeatureExtractor(**contract, **kept, bandpass=[0.5, 40])(signal, sampling_rate=100)
        for normalization in ("record_lead", "record", "minmax_lead"):
            EcgFeatureExtractor(**contract, normalization=normalization)(signal, sampling_rate=100)

    def test_removing_offsets_leaves_sound_recordings_as_they_are(self):
        keeping = EcgFeatureExtractor(sampling_rate=100, window_size=200, normalization="none")
        signal = synthesize_record(duration=4, sampling_rate=100).signal + np.float32(0.3)
        removing = keeping.with_policies(electrode_offset="remove")
        for call in (keeping, removing):
            np.testing.assert_array_equal(call(signal, sampling_rate=100)["input_values"][0], signal[:, :200])

    def test_one_lead_may_be_off_as_in_real_recordings_with_a_warning(self, caplog):
        keeping = EcgFeatureExtractor(sampling_rate=100, window_size=200, normalization="none")
        signal = synthesize_record(duration=4, sampling_rate=100).signal
        signal[0, ::50] = np.nan
        signal[11] += np.float32(20)
        _warn_of_offset.cache_clear()
        for _ in range(2):
            keeping(signal, sampling_rate=100, nan_policy="interpolate")
        assert caplog.text.count("from 0 in V6 20") == 1
        signal[11] += np.float32(10)
        with pytest.raises(SignalError, match="from 0 in V6 30"):
            keeping(signal, sampling_rate=100, nan_policy="interpolate")

    def test_leads_that_are_not_used_still_tell_a_bad_electrode_from_a_recording_without_filter(self, caplog):
        signal = synthesize_record(duration=4, sampling_rate=100).signal
        signal[:6] += np.float32([[5.57], [0.02], [-5.55], [-2.8], [5.56], [-2.77]])
        record = EcgRecord(signal, 100, STANDARD_LEADS)
        contract = {"sampling_rate": 100, "window_size": 200, "normalization": "none", "missing_leads": "mask"}
        _warn_of_offset.cache_clear()
        for used in (STANDARD_LEADS[:6], ["I"], ["I", "II"]):
            EcgFeatureExtractor(**contract, used_leads=used)(record)
        assert "from 0 in I 5.5" in caplog.text
        whole = EcgRecord(signal + np.float32(9), 100, STANDARD_LEADS)
        for refused in (whole, record.select(["I"])):
            with pytest.raises(SignalError, match="electrode_offset='remove'"):
                EcgFeatureExtractor(**contract, used_leads=["I"])(refused)

    def test_a_lead_that_stands_for_another_counts_once_when_offsets_are_judged(self, caplog):
        keeping = EcgFeatureExtractor(
            lead_names=["II", "V1"], sampling_rate=100, window_size=200, normalization="none", treat_as={"MLII": "II"}
        )
        signal = synthesize_record(duration=4, sampling_rate=100).signal[[1, 6]] + np.float32([[2.0], [0.1]])
        _warn_of_offset.cache_clear()
        for names in (["II", "V1"], ["MLII", "V1"]):
            caplog.clear()
            keeping(EcgRecord(signal, 100, names, name=names[0]))
            assert "unusual offset" in caplog.text

    @pytest.mark.parametrize("value", [9999, -9999, -999, 32.767, -32.768, 1e30, -2147483.648])
    @pytest.mark.parametrize("place", [slice(0, 3), slice(150, 151), slice(100, 300), slice(390, 400)])
    def test_marks_of_missing_samples_are_refused_by_every_contract(self, extractor, value, place):
        signal = synthesize_record(duration=4, sampling_rate=100).signal
        signal[6, place] = value
        for call in (extractor, extractor.explain):
            with pytest.raises(SignalError, match=r"lead V1 has -?\d.* mV at sample \d+.*NaN.*nan_policy"):
                call(signal, sampling_rate=100)
        extractor(signal, sampling_rate=100, implausible_amplitude="accept")
        signal[6, place] = np.nan
        extractor(signal, sampling_rate=100, nan_policy="mask_lead")

    def test_extreme_converter_values_are_refused_in_any_type(self, extractor):
        microvolts = 1000 * synthesize_record(duration=4, sampling_rate=100).signal
        for kind, value in (("int16", 32767), ("int32", -(2**31)), ("float32", -32768)):
            signal = microvolts.astype(kind)
            signal[2, 50:60] = value
            with pytest.raises(SignalError, match=r"lead III has .* at sample 50 "):
                extractor(signal, sampling_rate=100, units="uV")

    def test_what_is_noted_of_a_file_is_said_once_of_an_array(self, extractor, caplog):
        signal = synthesize_record(duration=4, sampling_rate=100).signal
        for factor, words in ((10.0, "usual are up to 4.2 mV"), (0.1, "usual is at least 0.55 mV")):
            for records in (factor * signal, EcgRecord(factor * signal, 100, STANDARD_LEADS), factor * signal):
                extractor(records, sampling_rate=100)
            assert caplog.text.count(words) == 1
        signal[3] = 0.5
        extractor(signal, sampling_rate=100)
        assert caplog.text.count("flat (constant) throughout: aVR") == 1
        caplog.clear()
        extractor(EcgRecord(10.5 * signal, 100, STANDARD_LEADS, source="r.hea", notes=["noted by its reader"]))
        assert not caplog.text

    @pytest.mark.parametrize("level", [0.0, 0.7])
    def test_nothing_is_made_of_a_recording_without_signal(self, extractor, level):
        with pytest.raises(SignalError, match="no signal in any lead"):
            extractor(np.full((12, 500), level), sampling_rate=100)
        with pytest.raises(SignalError, match="record z: no signal in any lead"):
            extractor(EcgRecord(np.full((1, 500), level), 100, ["II"], name="z"), missing_leads="mask")
        partly = noise(600)
        partly[:, 200:400] = level
        assert extractor(partly, sampling_rate=100)["lead_mask"].any(axis=1).tolist() == [True, False, True]

    def test_rules_of_a_call_are_those_of_an_extractor_that_has_them(self, extractor):
        eight = EcgRecord(noise(500, 8), 100, ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"))
        with pytest.raises(LeadError, match="derive_leads=True"):
            extractor(eight)
        derived = extractor(eight, derive_leads=True)
        assert derived["lead_mask"].all()
        other = extractor.with_policies(derive_leads=True, missing_leads=None)
        np.testing.assert_array_equal(other(eight)["input_values"], derived["input_values"])
        assert not extractor.derive_leads
        assert extractor.with_policies() is extractor
        broken = noise(500)
        broken[3, 20] = np.nan
        with pytest.raises(SignalError, match="nan_policy='interpolate'"):
            extractor(broken, sampling_rate=100)
        assert extractor(broken, sampling_rate=100, nan_policy="interpolate")["lead_mask"].all()
        assert not extractor(broken, sampling_rate=100, nan_policy="mask_lead")["lead_mask"][:, 3].any()
        with pytest.raises(SignalError, match="Did you mean 'missing_leads'"):
            extractor(eight, missing_lead="mask")
        with pytest.raises(SignalError, match="expected one of error, mask"):
            extractor(eight, missing_leads="zero")

    @pytest.mark.parametrize(
        ("wanted", "cure"), [("MLII", "'II': 'MLII'"), ("MV1", "'V1': 'MV1'"), ("ES", "'I': 'ES'")]
    )
    def test_of_many_leads_the_one_that_resembles_the_missing_one_is_named(self, wanted, cure):
        holter = EcgFeatureExtractor(sampling_rate=100, window_size=200, lead_names=[wanted])
        with pytest.raises(LeadError, match=rf"treat_as=\{{{cure}\}}"):
            holter(EcgRecord(noise(500), 100, STANDARD_LEADS))

    def test_a_lead_may_stand_for_another_and_the_checkpoint_remembers_it(self, extractor, tmp_path):
        watch = EcgRecord(noise(500, 1), 100, ["ECG"])
        with pytest.raises(LeadError, match=r"treat_as=\{'ECG': 'I'\} takes ECG for I"):
            extractor(watch)
        extractor = MaeMocoFeatureExtractor(sampling_rate=100, window_size=200, patch_size=25)
        asked = extractor.with_policies(treat_as={"ecg": "I"}, missing_leads="mask")
        two = EcgRecord(np.ones((2, 1000)) * np.arange(1000), 100, ["ECG", "II"])
        with pytest.raises(LeadError, match=r"missing: III.*[^}] derive_leads=True computes"):
            extractor.with_policies(treat_as={"ECG": "I"})(two)
        for name, lead in (("MLII", "II"), ("MCL1", "V1"), ("ML5", "V5"), ("X", "I")):
            other = EcgRecord(two.signal, 100, [name, "V2"])
            with pytest.raises(LeadError, match=rf"treat_as=\{{'{name}': '{lead}'\}}"):
                extractor(other)
        assert asked(watch)["lead_mask"][0].tolist() == [1] + [0] * 11
        asked.save_pretrained(tmp_path)
        again = AutoFeatureExtractor.from_pretrained(tmp_path)
        assert again.treat_as == {"ECG": "I"}
        np.testing.assert_array_equal(again(watch)["input_values"], asked(watch)["input_values"])
        assert "ECG is taken for I" in again.describe()
        assert "lead ECG treated as I" in again.explain(watch)
        assert again.contract_hash() != extractor.contract_hash()
        both = EcgRecord(noise(500, 2), 100, ["I", "ECG"])
        np.testing.assert_array_equal(
            again(both)["input_values"][:, 0], again(both.select(["I"]))["input_values"][:, 0]
        )


def test_leads_that_do_not_reach_the_model_are_not_judged():
    signal = np.tile(np.sin(np.arange(1000) / 5), (12, 1)).astype(np.float32)
    signal[11, 500] = 9999.0
    with pytest.raises(SignalError, match="lead V6 has 9999 mV at sample 500"):
        EcgFeatureExtractor(sampling_rate=100, window_size=1000)(signal, sampling_rate=100)
    limb = EcgFeatureExtractor(sampling_rate=100, window_size=1000, used_leads=["I", "II"])
    assert len(limb(signal, sampling_rate=100)["input_values"]) == 1


class TestUsedLeads:
    @pytest.mark.parametrize("normalization", ["none", "record_lead", "record"])
    def test_others_are_zero_and_masked_and_need_not_be_there(self, normalization, tmp_path, caplog):
        options = {"sampling_rate": 100, "window_size": 200, "normalization": normalization, "used_leads": ["I", "V2"]}
        extractor = EcgFeatureExtractor(**options)
        whole = EcgRecord(noise(500), 100, STANDARD_LEADS)
        batch = extractor(whole)
        used = [name in ("I", "V2") for name in STANDARD_LEADS]
        assert batch["lead_mask"].tolist() == [[int(one) for one in used]] * 3
        assert not batch["input_values"][:, np.logical_not(used)].any()
        two = EcgFeatureExtractor(**options | {"lead_names": ["I", "V2"], "used_leads": None})
        np.testing.assert_allclose(
            batch["input_values"][:, used], two(whole.select(["I", "V2"]))["input_values"], atol=1e-6
        )
        # Neither an error nor a warning for a recording of these leads alone; one for a recording without V2.
        np.testing.assert_array_equal(extractor(whole.select(["V2", "I"]))["input_values"], batch["input_values"])
        assert "lacks" not in caplog.text
        with pytest.raises(LeadError, match="needs 2, missing: V2"):
            extractor(whole.select(["I", "II"]))
        np.testing.assert_array_equal(extractor(whole.signal, sampling_rate=100)["input_values"], batch["input_values"])
        extractor.save_pretrained(tmp_path)
        again = EcgFeatureExtractor.from_pretrained(tmp_path)
        assert again.used_leads == ["I", "V2"]
        assert "used only I, V2" in again.explain(whole)

    def test_missing_samples_of_an_unused_lead_do_not_matter(self):
        extractor = EcgFeatureExtractor(sampling_rate=100, window_size=200, used_leads=["I"])
        broken = noise(200)
        broken[3, 5] = np.nan
        assert np.isfinite(extractor(broken, sampling_rate=100)["input_values"]).all()
