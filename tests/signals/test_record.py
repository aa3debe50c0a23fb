import dataclasses
import doctest

import numpy as np
import pytest

from ecg_transformers.errors import EcgError, LeadError, RecordFileError, SignalError
from ecg_transformers.signals import record as module
from ecg_transformers.signals.record import Annotations, EcgRecord, check_sampling_rate, unit_scale


@pytest.fixture
def signal():
    return np.random.default_rng(0).normal(size=(3, 500))


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(module).failed == 0


def test_signal_is_contiguous_float32_and_leads_are_canonical(signal):
    record = EcgRecord(np.asfortranarray(signal), 250, ["lead i", "AVR", "mlii"], name="x")
    assert record.signal.dtype == np.float32
    assert record.signal.flags.c_contiguous
    assert record.leads == ("I", "aVR", "MLII")
    assert (record.num_leads, record.num_samples, record.duration, record.units) == (3, 500, 2.0, "mV")
    assert repr(record) == "EcgRecord(x, 3 leads, 2.0 s at 250 Hz, mV)"


@pytest.mark.parametrize(
    ("units", "factor"), [("uV", 1e3), ("µV", 1e3), ("μV", 1e3), ("microvolts", 1e3), ("V", 1e-3), ("nV", 1e6),
     ("5 uV/LSB", 200.0), ("0.1uV", 1e4), ("4,88 µV/bit", 1e3 / 4.88), ("1e-2 mV", 1e2)]
)  # fmt: skip
def test_units_are_converted_to_millivolts_with_a_note(signal, units, factor):
    record = EcgRecord(signal * factor, 250, units=units)
    np.testing.assert_allclose(record.signal, signal.astype(np.float32), rtol=1e-6)
    assert record.notes == [f"converted {units} -> mV"]


def test_integers_in_microvolts_keep_their_value_and_the_mark_of_a_missing_sample_is_none():
    record = EcgRecord(np.array([[1, -32768, 250]], dtype=np.int16), 100, units="uV")
    np.testing.assert_array_equal(record.signal, np.float32([[0.001, np.nan, 0.25]]))
    assert "1 samples marked as missing (-32768)" in record.notes
    record = EcgRecord(np.array([[1, -32768, 250]], dtype=np.int32), 100, units="uV")
    np.testing.assert_array_equal(record.signal, np.float32([[0.001, -32.768, 0.25]]))


@pytest.mark.parametrize("units", ["mmHg", "", None, 1, "millivoltages", "0 uV", "-1 uV", "uV/s", "5", "1e999 uV"])
def test_unknown_unit_is_refused(signal, units):
    with pytest.raises(SignalError, match="unit"):
        EcgRecord(signal, 250, units=units)
    with pytest.raises(SignalError):
        unit_scale(units)


@pytest.mark.parametrize("rate", [None, 0, -1, 1e-300, float("nan"), float("inf"), 1e6, "250", True, 1j])
def test_sampling_rate_must_be_a_number_of_hertz(signal, rate):
    with pytest.raises(SignalError, match="sampling"):
        EcgRecord(signal, rate)
    with pytest.raises(SignalError):
        check_sampling_rate(rate)


def test_whole_and_broken_sampling_rates_are_kept():
    assert check_sampling_rate(np.float64(250)) == 250
    assert isinstance(check_sampling_rate(250.0), int)
    assert check_sampling_rate(257.3) == 257.3


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((0, 10)),
        np.zeros((2, 0)),
        np.zeros((2, 3, 4)),
        np.zeros(()),
        np.zeros(5),
        np.zeros((3, 4), dtype=complex),
        np.array([["a", "b"]]),
        np.array([[1, None]], dtype=object),
        np.zeros((2, 3), dtype=bool),
        [[1, 2], [3]],
        None,
        "text",
    ],
)
def test_what_is_no_signal_is_refused_with_its_shape_or_type(bad):
    with pytest.raises(SignalError, match=r"\(leads, samples\)"):
        EcgRecord(bad, 250)


def test_exchanged_axes_are_told():
    with pytest.raises(LeadError, match=r"signal\.T"):
        EcgRecord(np.zeros((500, 2)), 250, ["I", "II"])
    with pytest.raises(SignalError, match=r"signal\.T"):
        EcgRecord(np.zeros((500, 2)), 250)
    with pytest.raises(LeadError, match="3 lead names"):
        EcgRecord(np.zeros((2, 500)), 250, ["I", "II", "V1"])


def test_one_dimension_is_a_signal_only_where_one_lead_is_named():
    assert EcgRecord(np.zeros(5), 512, ["I"]).signal.shape == (1, 5)


def test_doubled_leads_are_refused(signal):
    with pytest.raises(LeadError, match="twice"):
        EcgRecord(signal, 250, ["I", "DI", "V1"])


@pytest.mark.parametrize(
    ("given", "kept"), [("M", "male"), ("Female", "female"), ("", None), ("Unknown", None), (float("nan"), None)]
)
def test_sex_has_one_spelling(signal, given, kept):
    assert EcgRecord(signal, 250, sex=given).sex == kept


def test_sex_as_a_number_and_age_as_a_word_are_refused(signal):
    with pytest.raises(SignalError, match="sex"):
        EcgRecord(signal, 250, sex=0)
    with pytest.raises(SignalError, match="age"):
        EcgRecord(signal, 250, age="old")
    assert EcgRecord(signal, 250, age=float("nan")).age is None
    assert EcgRecord(signal, 250, age="63").age == 63


def test_dictionary_round_trip_keeps_everything(signal):
    marks = Annotations([3, 90], ["N", "V"], ["", "(AFIB"])
    record = EcgRecord(
        signal,
        250,
        ["I", "II", "V1"],
        name="a",
        patient_id=7,
        age=50,
        sex="f",
        labels=["SR"],
        annotations=marks,
        notes=["n"],
    )
    again = EcgRecord.from_dict(record.to_dict())
    for field in dataclasses.fields(EcgRecord):
        if field.name not in ("signal", "annotations"):
            assert getattr(again, field.name) == getattr(record, field.name)
    np.testing.assert_array_equal(again.signal, record.signal)
    assert again.annotations.aux == marks.aux
    assert EcgRecord.from_dict({"signal": signal, "sampling_rate": 250, "leads": None, "notes": None}).notes == []


def test_dictionary_with_unknown_or_missing_keys_is_refused(signal):
    with pytest.raises(SignalError, match="'sampling_rate'"):
        EcgRecord.from_dict({"signal": signal, "sampling_rte": 250})
    with pytest.raises(SignalError, match="sampling_rate"):
        EcgRecord.from_dict({"signal": signal})


def test_select_orders_leads_and_crop_takes_annotations_along(signal):
    record = EcgRecord(signal, 250, ["I", "II", "V1"], annotations=Annotations([10, 260, 499], ["N", "V", "N"]))
    chosen = record.select(["v1", "lead i"])
    assert chosen.leads == ("V1", "I")
    np.testing.assert_array_equal(chosen.signal, record.signal[[2, 0]])
    piece = record.crop(1.0)
    assert piece.num_samples == 250
    assert piece.annotations.samples.tolist() == [10, 249]
    assert piece.annotations.symbols == ["V", "N"]
    assert record.crop(0.5, 0.6).num_samples == 25


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (0, 3), (1, 1), (1.5, 1)])
def test_crop_outside_the_record_is_refused(signal, start, end):
    with pytest.raises(SignalError, match="lasts 2 s"):
        EcgRecord(signal, 250).crop(start, end)


def test_select_without_names_is_refused(signal):
    with pytest.raises(LeadError, match="without names"):
        EcgRecord(signal, 250).select(["I"])


def test_missing_annotations_name_the_file(signal):
    with pytest.raises(RecordFileError, match=r"folder/7\.atr"):
        EcgRecord(signal, 250, source="folder/7.hea").require_annotations()
    with pytest.raises(RecordFileError, match="annotations"):
        EcgRecord(signal, 250).require_annotations()
    marks = Annotations([1], ["N"])
    assert EcgRecord(signal, 250, annotations=marks).require_annotations() is marks


def test_annotations_of_unequal_lengths_are_refused():
    with pytest.raises(SignalError, match="2 symbols"):
        Annotations([1, 2, 3], ["N", "N"])
    assert len(Annotations([], [])) == 0


def test_every_error_is_a_value_error():
    assert issubclass(EcgError, ValueError)
    assert all(issubclass(error, EcgError) for error in (SignalError, LeadError, RecordFileError))


def test_the_mask_of_a_masked_array_marks_missing_samples():
    signal = np.ma.masked_array([[1, 2, 30]], mask=[[False, True, False]])
    np.testing.assert_array_equal(EcgRecord(signal, 100, units="uV").signal, np.float32([[0.001, np.nan, 0.03]]))
