import base64
import sys

import numpy as np
import pytest

from ecg_transformers.errors import LeadError, RecordFileError
from ecg_transformers.signals.formats.readers import read_record
from ecg_transformers.signals.formats.vendor import is_vendor, read_vendor

edfio = pytest.importorskip("edfio")
pytest.importorskip("ecgdatakit")

SIGNAL = np.random.default_rng(0).normal(scale=0.3, size=(3, 5000))
# 16 bits over 6 mV.
STEP = 6 / 65535


def write_edf(path, *, labels=("ECG II", "ECG I", "V1"), units=("mV", "uV", "mV"), rates=(500, 500, 500), extra=()):
    signals = []
    for lead, label, unit, rate in zip(SIGNAL, labels, units, rates, strict=True):
        scale = 1000 if unit == "uV" else 1
        values = lead[: int(10 * rate)] * scale
        bounds = (-3 * scale, 3 * scale)
        signals.append(edfio.EdfSignal(values, rate, label=label, physical_dimension=unit, physical_range=bounds))
    patient = edfio.Patient(code="P-7", sex="F")
    edfio.Edf([*signals, *extra], patient=patient).write(path)
    return path


def test_edf_in_mixed_units_equals_what_was_written(tmp_path):
    record = read_record(write_edf(tmp_path / "a.edf"))
    assert record.leads == ("I", "II", "V1")
    assert record.sampling_rate == 500
    np.testing.assert_allclose(record.signal, SIGNAL[[1, 0, 2]], atol=STEP)
    assert record.name == "a"
    assert record.patient_id.startswith("P-7")
    assert any("EDF" in note for note in record.notes)


def test_edf_is_recognized_without_its_suffix(tmp_path):
    write_edf(tmp_path / "a.edf").rename(tmp_path / "a.bin")
    assert read_record(tmp_path / "a.bin").num_leads == 3


def test_signals_that_are_no_voltages_are_left_out(tmp_path):
    saturation = edfio.EdfSignal(np.zeros(100), 10, label="SpO2", physical_dimension="%", physical_range=(0, 100))
    record = read_record(write_edf(tmp_path / "a.edf", extra=[saturation]))
    assert record.num_leads == 3
    assert "left out, no voltage: SpO2 (%)" in record.notes


def test_leads_of_several_rates_are_refused(tmp_path):
    with pytest.raises(RecordFileError, match=r"several rates.*250 Hz"):
        read_record(write_edf(tmp_path / "a.edf", rates=(500, 250, 500)))


def test_leads_of_one_rate_are_chosen_by_name(tmp_path):
    path = write_edf(tmp_path / "a.edf", rates=(500, 250, 500))
    with pytest.raises(RecordFileError, match="Set channels="):
        read_record(path)
    for channels in (["ECG II", "V1"], ["ii", "v1"], [0, 2]):
        record = read_record(path, channels=channels)
        assert (record.leads, record.sampling_rate) == (("II", "V1"), 500)
        np.testing.assert_allclose(record.signal, SIGNAL[[0, 2]], atol=STEP)
    with pytest.raises(LeadError, match="'V9', which is missing"):
        read_record(path, channels=["V9"])


def test_a_file_that_was_cut_off_is_read_on_request_only(tmp_path):
    path = write_edf(tmp_path / "a.edf")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RecordFileError, match=r"incomplete.*copy it again\. Set allow_truncated=True"):
        read_record(path)
    assert 0 < read_record(path, allow_truncated=True).num_samples < 5000


@pytest.mark.parametrize("text", ['{"signal": [[0.1, 0.2]], "fs": 500}', "[[0.1, 0.2], [0.3, 0.4]]", '[{"I": 0.1}]'])
def test_other_json_is_no_table_and_the_error_says_what_to_do(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(RecordFileError, match=r"[Cc]onvert it"):
        read_record(tmp_path / "a.json")


def test_arguments_that_contradict_the_file_are_refused(tmp_path):
    path = write_edf(tmp_path / "a.edf")
    assert read_record(path, sampling_rate=500).sampling_rate == 500
    with pytest.raises(RecordFileError, match="500 Hz"):
        read_record(path, sampling_rate=250)
    with pytest.raises(RecordFileError, match="leave gain"):
        read_record(path, gain=1000)


def test_files_that_the_library_does_not_know_or_finds_damaged(tmp_path):
    (tmp_path / "a.xml").write_text("<html/>")
    with pytest.raises(RecordFileError, match=r"a\.xml is of no format.*HL7 aECG"):
        read_record(tmp_path / "a.xml")
    content = write_edf(tmp_path / "a.edf").read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(content[: generator.integers(256, len(content))])
        for position in generator.integers(min(len(damaged), 1000), size=3):
            damaged[position] = generator.integers(256)
        (tmp_path / "b.edf").write_bytes(damaged)
        try:
            read_vendor(tmp_path / "b.edf")
        except ValueError as error:
            assert "b.edf" in str(error)  # noqa: PT017


def test_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ecgdatakit", None)
    with pytest.raises(RecordFileError, match=r"ecg-transformers\[formats\]"):
        read_record(write_edf(tmp_path / "a.edf"))


def test_signatures():
    from pathlib import Path

    for head in (
        b"<?xml?>",
        b"\xef\xbb\xbf\n<a>",
        b'{"recordedAt": 1}',
        b"ISHNE1.0",
        b"\0" * 128 + b"DICM",
        b"0       ",
    ):
        assert is_vendor(Path("x"), head)
    assert not is_vendor(Path("x.csv"), b"I,II")


def test_a_discontinuous_edf_keeps_its_gap(tmp_path):
    """EDF+D: the first list of each data record states its time."""
    ecg = edfio.EdfSignal(SIGNAL[0, :1000], 100, label="II", physical_dimension="mV", physical_range=(-3, 3))
    path = tmp_path / "a.edf"
    edfio.Edf([ecg], annotations=[edfio.EdfAnnotation(0, None, "start")], data_record_duration=1).write(path)
    content = bytearray(path.read_bytes())
    content[192:197] = b"EDF+D"
    header, size = int(content[184:192]), len(content) - int(content[184:192])
    times = size // 10 - 200
    for number in range(4, 10):
        begin = header + number * (size // 10) + 200
        content[begin : begin + times] = f"+{number + 60}\x14\x14\0".encode().ljust(times, b"\0")
    path.write_bytes(content)
    record = read_record(path)
    assert record.duration == 70
    assert np.isnan(record.signal[0, 400:6400]).all()
    joined = np.concatenate([record.signal[0, :400], record.signal[0, 6400:]])
    np.testing.assert_allclose(joined, SIGNAL[0, :1000], atol=STEP)
    assert "discontinuous recording, missing samples: 60 s after 4 s" in record.notes


def muse(signal, *, encoding):
    """A file of GE MUSE: leads as 16-bit integers of 5 uV."""
    leads = "".join(
        f"<LeadData><LeadID>{lead}</LeadID><LeadAmplitudeUnitsPerBit>5</LeadAmplitudeUnitsPerBit>"
        f"<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadSampleSize>2</LeadSampleSize>"
        f"<WaveFormData>{base64.b64encode(values.astype('<i2').tobytes()).decode()}</WaveFormData></LeadData>"
        for lead, values in zip(("II", "I", "V1"), signal, strict=True)
    )
    return (
        f'<?xml version="1.0" encoding="{encoding}"?>\n<RestingECG><MuseInfo/><Waveform><WaveformType>Rhythm'
        f"</WaveformType><SampleBase>500</SampleBase>{leads}</Waveform></RestingECG>"
    )


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_xml_is_read_in_every_encoding_and_its_marks_are_missing_samples(tmp_path, codec):
    values = np.rint(SIGNAL * 200)
    values[0, 11] = -32768
    text = muse(values, encoding="UTF-16" if "16" in codec else "UTF-8")
    (tmp_path / "a.xml").write_bytes(text.encode(codec))
    record = read_record(tmp_path / "a.xml")
    expected = values[[1, 0, 2]] / 200
    expected[1, 11] = np.nan
    np.testing.assert_allclose(record.signal, expected, rtol=1e-6)
    assert record.leads == ("I", "II", "V1")
