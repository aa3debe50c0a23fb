"""Every record of the collection of odd records comes out as its row says."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from ecg_transformers.errors import EcgError, LeadError, RecordFileError, SignalError
from ecg_transformers.signals.formats.readers import read_record

EXPECTED = Path(__file__).parents[2] / ".." / "shared" / "data" / "oddities" / "expected.json"

# What the rows say must be passed, and what notes and errors must contain.
ARGUMENTS = {
    "05_csv_with_gaps": {"sampling_rate": 500, "units": "uV"},
    "09_wrong_gain": {"gain": 1000},
    "28_zero_gain": {"gain": 1000},
}
FACTS = {
    "01_lfs_pointer/00001_hr.hea": ["00001_hr.dat", "Git LFS pointer", "120000"],
    "02_truncated_signal/00002_hr.hea": ["00002_hr.dat", "71995", "120000", "2999"],
    "03_flat_leads/JS45542.hea": ["flat", "V1, V2, V3, V4, V5, V6"],
    "03_flat_leads/JS20004.hea": ["flat", "V2, V4, V6"],
    "04_invalid_samples/00003_hr.hea": ["aVL 5000", "V1 1000"],
    "05_csv_with_gaps/JS00001.csv": ["6 missing", "II 1", "V5 5"],
    "06_missing_units/00004_hr.hea": ["no unit"],
    "07_microvolt_units/00005_hr.hea": ["uV -> mV"],
    "10_date_before_time/A00002.hea": ["checksum 0"],
    "13_absent_signal_file/I0001.hea": ["I0001.hea", "I0001.mat", "not there"],
    "14_zero_length/00006_hr.hea": ["00006_hr.dat", "0 of 120000 bytes"],
    "14_zero_length/zero_samples.hea": ["zero_samples.hea", "empty", "0 samples"],
    "14_zero_length/empty_header.hea": ["empty_header.hea", "empty header"],
    "22_wrong_checksum/00010_hr.hea": ["checksum", "V2"],
    "24_mat_without_header/A1980.mat": ["CPSC 2018", "500 Hz"],
    "25_renamed_record/patient7_ecg1.hea": ["JS00004.mat", "patient7_ecg1.mat"],
    "26_header_cut_off/00011_hr.hea": ["00011_hr.hea", "5 complete signal lines of 12"],
    "27_empty_diagnosis/A0003.hea": ["Dx", "unknown"],
    "30_duplicate_lead/00014_hr.hea": ["00014_hr.hea", "V1", "twice"],
}


def rows():
    """The rows as parameters, or one that is skipped where the collection is not there."""
    if not EXPECTED.is_file():
        return [
            pytest.param(None, marks=pytest.mark.skip(reason="../shared/data/oddities is not beside this checkout"))
        ]
    import json

    facts = json.loads(EXPECTED.read_text())
    return [pytest.param(row, id=f"{row['case']}-{Path(row['file']).stem}-{index}") for index, row in enumerate(facts)]


@pytest.mark.parametrize("row", rows())
def test_record_comes_out_as_its_row_says(oddities, row):
    path = oddities / row["case"] / row["file"]
    arguments = ARGUMENTS.get(row["case"], {})
    facts = FACTS.get(f"{row['case']}/{row['file']}", [])
    if row["outcome"] == "error":
        with pytest.raises(EcgError) as caught:
            read_record(path, **arguments)
        assert all(fact in str(caught.value) for fact in facts), caught.value
        return
    record = read_record(path, **arguments)
    notes = "; ".join(record.notes)
    assert all(fact in notes for fact in facts), notes
    assert record.notes or row["outcome"] != "read_with_note"
    truth = row["signal"]
    if truth is None:
        return
    assert record.sampling_rate == truth["fs"]
    assert record.num_samples == truth["n_samples"]
    assert list(record.leads) == truth["leads"]
    first, deviation = (np.array(truth[key], dtype=float) for key in ("first_mv", "std_mv"))
    np.testing.assert_allclose(record.signal[:, 0], first, atol=1e-6, equal_nan=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a lead without any valid sample
        found = np.nanstd(record.signal, axis=1, dtype=np.float64)
    np.testing.assert_allclose(found, deviation, atol=2e-6, equal_nan=True)


def test_every_row_of_the_collection_has_a_file(oddities, oddity_facts):
    assert len(oddity_facts) == 41
    assert all((oddities / row["case"] / row["file"]).is_file() for row in oddity_facts)


def test_the_same_recording_in_two_forms_is_equal(oddities):
    folder = oddities / "08_lead_spelling"
    first, second = read_record(folder / "00001_hr.hea"), read_record(folder / "HR00001.hea")
    assert first.leads == second.leads
    np.testing.assert_array_equal(first.signal, second.signal)


def test_wrong_gains_are_noted_when_read_literally(oddities):
    for name in ("E00009", "HR00599"):
        assert "implausible amplitude" in read_record(oddities / "09_wrong_gain" / f"{name}.hea").notes[0]


def test_a_zero_gain_is_five_times_too_large_without_the_true_one(oddities):
    path = oddities / "28_zero_gain" / "00012_hr.hea"
    literal, true = read_record(path), read_record(path, gain=1000)
    assert "uncalibrated" in literal.notes[0]
    np.testing.assert_allclose(literal.signal, 5 * true.signal, rtol=1e-6)


def test_a_csv_without_rate_and_unit_asks_for_both(oddities):
    path = oddities / "05_csv_with_gaps" / "JS00001.csv"
    with pytest.raises(SignalError, match=r"sampling_rate= and units="):
        read_record(path)
    with pytest.raises(RecordFileError, match="units="):
        read_record(path, sampling_rate=500)
    record = read_record(path, sampling_rate=500, units="uV")
    assert np.isnan(record.select(["V5"]).signal[0, 1200:1205]).all()
    assert np.isnan(record.select(["II"]).signal[0, 1300])


def test_missing_beats_name_the_file(oddities):
    with pytest.raises(RecordFileError, match=r"100\.atr"):
        read_record(oddities / "15_no_annotations" / "100.hea").require_annotations()


def test_comments_keep_their_letters(oddities):
    from ecg_transformers.signals.wfdb.read import read_header

    texts = {name: read_header(oddities / "16_non_ascii_comment" / name).comments for name in ("00006_hr", "00007_hr")}
    assert texts == {"00006_hr": ("Größe 178 cm, männlich",), "00007_hr": ("Größe 165 cm, weiblich",)}


def test_dates_are_understood_in_every_order(oddities):
    from datetime import date

    from ecg_transformers.signals.wfdb.read import read_header

    header = read_header(oddities / "11_date_silently_misread" / "A0002")
    assert (header.base_date, header.base_time) == (date(2020, 5, 12), "12:33:59")
    assert read_header(oddities / "10_date_before_time" / "A00002").base_date == date(2014, 5, 16)


def test_a_doubled_lead_can_be_named(oddities):
    path = oddities / "30_duplicate_lead" / "00014_hr.hea"
    leads = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
    record = read_record(path, leads=leads)
    assert record.leads == tuple(leads)
    assert record.notes == ["leads named by the caller: V1 -> V2"]
    with pytest.raises(LeadError):
        read_record(path)
