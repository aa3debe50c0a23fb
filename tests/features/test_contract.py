"""The contract: checked fields, order, hash, words."""

import numpy as np
import pytest

from ecg_transformers.errors import EcgError, LeadError, SignalError
from ecg_transformers.features.contract import FIELD_NAMES, STEP_FIELDS, STEPS, SignalContract
from ecg_transformers.features.description import describe_contract


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({"lead_names": ["I", "DI"]}, "twice"),
        ({"lead_names": []}, "lead_names"),
        ({"lead_names": "II"}, "list"),
        ({"sampling_rate": 0}, "sampling_rate"),
        ({"sampling_rate": None}, "sampling rate"),
        ({"window_size": 0}, "window_size"),
        ({"window_size": 10.5}, "window_size"),
        ({"window_size": True}, "window_size"),
        ({"window_stride": 5001}, "stride"),
        ({"window_mode": "middle"}, "center"),
        ({"patch_size": 33}, "4983 or 5016"),
        ({"patch_size": 6000}, "expected 6000"),
        ({"return_patches": True}, "patch_size"),
        ({"allow_short": True, "return_attention_mask": False}, "allow_short"),
        ({"allow_short": 1}, "True or False"),
        ({"min_window_seconds": -1}, "min_window_seconds"),
        ({"padding_value": 1.0}, "padding_value"),
        ({"normalization": "zscore"}, "record_lead"),
        ({"normalization": "constants"}, "normalization_std"),
        ({"normalization": "constants", "normalization_std": [0.0] * 12}, "positive"),
        ({"normalization": "constants", "normalization_std": [0.2] * 3}, "12"),
        ({"normalization_std": [0.2] * 12}, "constants"),
        ({"normalization_epsilon": float("nan")}, "normalization_epsilon"),
        ({"resampling": "cubic"}, "linear"),
        ({"bandpass": 40}, "list"),
        ({"bandpass": [0.5]}, "low, high"),
        ({"bandpass": [0.5, 300]}, "half the rate"),
        ({"bandpass": [None, None]}, "half the rate"),
        ({"notch": 250}, "half the rate"),
        ({"notch_quality": 0}, "notch_quality"),
        ({"filter_order": 0}, "filter_order"),
        ({"missing_leads": "zeros"}, "mask"),
        ({"used_leads": ["I", "X"]}, "leads of the model: I, II, III"),
        ({"used_leads": []}, "leads of the model"),
        ({"used_leads": ["I", "lead I"]}, "twice"),
        ({"flat_lead": "drop"}, "keep"),
        ({"nan_policy": "zero"}, "interpolate"),
        ({"order": ["leads"]}, "order"),
        ({"order": [*STEPS[:2], "window", "resample", "filter", "normalize", "pad"]}, "window after resample"),
        ({"order": ["resample", "leads", "units", "filter", "window", "normalize", "pad"]}, "first"),
    ],
)
def test_a_field_that_does_not_fit_is_named_with_what_is_expected(fields, fact):
    with pytest.raises(EcgError, match=fact):
        SignalContract(**fields)


def test_doubled_leads_are_a_lead_error():
    with pytest.raises(LeadError):
        SignalContract(lead_names=["I", "lead I"])


def test_numbers_and_lists_are_plain():
    contract = SignalContract(
        lead_names=("v1", "avr"),
        sampling_rate=np.float64(500.0),
        window_size=np.int32(100),
        normalization="constants",
        normalization_std=np.array([0.1, 0.2], dtype=np.float32),
    )
    assert contract.lead_names == ["V1", "aVR"]
    assert type(contract.sampling_rate) is int
    assert type(contract.window_size) is int
    assert [type(value) for value in contract.normalization_std] == [float, float]
    assert contract.stride == 100


def test_every_field_that_changes_a_sound_signal_counts_in_the_hash():
    policies = {"missing_leads", "flat_lead", "nan_policy", "max_gap_seconds", "implausible_amplitude"}
    policies |= {"electrode_offset"}
    forms = {"patch_size", "return_patches", "return_attention_mask", "order"}
    counted = {name for names in STEP_FIELDS.values() for name in names}
    assert counted | policies | forms == set(FIELD_NAMES)
    plain = SignalContract()
    changes = {
        "lead_names": ["I"],
        "sampling_rate": 250,
        "resampling": "linear",
        "bandpass": [0.5, 40],
        "notch": 50,
        "window_size": 2500,
        "normalization": "record",
        "used_leads": ["I"],
        "order": ["leads", "units", "filter", "resample", "window", "normalize", "pad"],
    }
    hashes = {plain.hash(), *(SignalContract(**{name: value}).hash() for name, value in changes.items())}
    assert len(hashes) == len(changes) + 1
    assert SignalContract(missing_leads="mask", return_patches=True, patch_size=25).hash() == plain.hash()
    assert SignalContract(sampling_rate=500.0, lead_names=plain.lead_names).hash() == plain.hash()


def test_the_hash_is_the_same_in_every_version():
    assert SignalContract().hash() == "cea6eb04750e2704cde7d979e15c96ac"
    assert SignalContract().hash(["leads", "units", "resample"]) == "3ed6100c2da7506fc7b5bfc492ff4b84"


def test_a_corpus_that_is_stored_with_all_leads_serves_models_of_some():
    some = SignalContract(used_leads=["ii", "I"])
    assert some.used_leads == ["I", "II"]
    assert some.hash(["leads", "units", "resample"]) == SignalContract().hash(["leads", "units", "resample"])
    assert some.hash(["normalize"]) != SignalContract().hash(["normalize"])
    assert SignalContract(used_leads=SignalContract().lead_names) == SignalContract()
    assert "only I, II used" in describe_contract(some)


def test_unknown_steps_are_refused():
    with pytest.raises(SignalError, match="unknown steps sing"):
        SignalContract().hash(["sing"])


def test_the_words_follow_the_order_and_the_fields():
    contract = SignalContract(
        normalization="constants",
        normalization_std=[0.2] * 12,
        normalization_mean=[0.0] * 12,
        bandpass=[0.5, None],
        notch=50,
        zero_phase=False,
        window_mode="center",
        derive_leads=True,
        missing_leads="mask",
        nan_policy="interpolate",
        resampling="linear",
        order=["leads", "units", "filter", "resample", "normalize", "window", "pad"],
    )
    lines = describe_contract(contract).splitlines()
    for line, words in zip(
        lines,
        [
            ("computed from I and II", "zeros after normalization"),
            ("mV",),
            ("0.5 Hz to none", "notch at 50 Hz", "causal"),
            ("linear",),
            ("fixed means", "fixed deviations 0.2"),
            ("5000 samples (10 s at 500 Hz)", "middle"),
            ("never",),
            ("interpolated up to 0.1 s", "flat lead"),
        ],
        strict=True,
    ):
        for word in words:
            assert word in line
