import doctest
import os
import shutil

import numpy as np
import pytest
import wfdb

from ecg_transformers.errors import LeadError, RecordFileError, SignalError
from ecg_transformers.signals.leads import canonical_leads
from ecg_transformers.signals.wfdb import read as module
from ecg_transformers.signals.wfdb.read import read_header, read_wfdb

LEADS = ("I", "II", "V1")


def write_record(
    folder, digital, *, name="r", format=16, rate=250, gain="200(0)/mV", layout="", samples=None, names=LEADS
):
    """A record with the integers `(samples, leads)` in a format that wfdb can write, or in 8, 61, 160, 310, 311."""
    digital = np.asarray(digital)
    count = digital.shape[1]
    if format in (8, 61, 160, 310, 311):
        (folder / f"{name}.dat").write_bytes(ENCODERS[format](digital))
    else:
        wfdb.wrsamp(
            name, fs=rate, units=["mV"] * count, sig_name=[f"s{i}" for i in range(count)], d_signal=digital,
            fmt=[str(format)] * count, adc_gain=[200.0] * count, baseline=[0] * count, write_dir=str(folder),
        )  # fmt: skip
    sums = digital.sum(axis=0).astype(np.int64).astype(np.int16)
    lines = [f"{name} {count} {rate} {len(digital) if samples is None else samples}"]
    lines += [
        f"{name}.dat {format}{layout} {gain} 12 0 {digital[0, i]} {sums[i]} 0 {lead}"
        for i, lead in enumerate(names[:count])
    ]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    return folder / f"{name}.hea"


def _differences(digital):
    return np.diff(digital, axis=0, prepend=digital[:1]).astype(np.int8).tobytes()


def _pack_310(digital):
    first, second, third = (digital.reshape(-1, 3).T & 0x3FF).astype(np.uint16)
    words = np.stack([first << 1 | (third & 0x1F) << 11, second << 1 | third >> 5 << 11], axis=1)
    return words.astype("<u2").tobytes()


def _pack_311(digital):
    first, second, third = (digital.reshape(-1, 3).T & 0x3FF).astype(np.uint32)
    return (first | second << 10 | third << 20).astype("<u4").tobytes()


ENCODERS = {
    8: _differences,
    61: lambda digital: digital.astype(">i2").tobytes(),
    160: lambda digital: (digital + 32768).astype("<u2").tobytes(),
    310: _pack_310,
    311: _pack_311,
}


@pytest.fixture
def digital():
    """Integers `(samples, leads)` that swing by about 1 mV at 200 units per mV."""
    time = np.arange(600)[:, np.newaxis]
    noise = np.random.default_rng(0).integers(-5, 6, size=(600, 3))
    return np.rint(100 * np.sin(time / 30 + np.arange(3))).astype(np.int64) + noise


def test_examples_in_the_docstrings_hold(monkeypatch, data_dir):
    monkeypatch.chdir(data_dir.parents[1])
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", ["ptbxl/00001_lr", "ptbxl/00002_lr", "ptbxl/00152_lr", "ptbxl/00001_hr", "mitdb/100"])
def test_real_records_equal_wfdb(data_dir, name):
    record, reference = read_wfdb(data_dir / name), wfdb.rdrecord(str(data_dir / name))
    np.testing.assert_array_equal(record.signal, reference.p_signal.T.astype(np.float32))
    assert record.leads == canonical_leads(reference.sig_name)
    assert record.sampling_rate == reference.fs


def test_challenge_record_equals_its_container(data_dir):
    from scipy.io import loadmat

    record = read_wfdb(data_dir / "georgia" / "E03823.hea")
    np.testing.assert_array_equal(
        record.signal, (loadmat(data_dir / "georgia" / "E03823.mat")["val"] / 1000).astype(np.float32)
    )
    assert (record.name, record.age, record.sex, record.labels) == ("E03823", 53, "female", ("428750005", "427084000"))
    assert record.notes == []


def test_a_long_record_equals_wfdb_and_is_read_in_parts(oddities):
    path = oddities / "19_thirty_minutes_257hz" / "M01"
    reference = wfdb.rdrecord(str(path), physical=False).d_signal
    record = read_wfdb(path)
    np.testing.assert_array_equal(record.signal, (reference.T / 306).astype(np.float32))
    piece = read_wfdb(path, start=400_000, stop=402_570, channels=["V1", "I"])
    np.testing.assert_array_equal(piece.signal, record.select(["I", "V1"]).signal[:, 400_000:402_570])


@pytest.mark.parametrize("format", [8, 16, 24, 32, 61, 80, 160, 212, 310, 311, 508, 516, 524])
@pytest.mark.parametrize("leads", [1, 3])
def test_every_format_gives_the_integers_that_were_written(tmp_path, digital, format, leads):
    digital = np.clip(digital[:, :leads], -120, 120)
    path = write_record(tmp_path, digital, format=format)
    record = read_wfdb(path)
    np.testing.assert_array_equal(record.signal, (digital.T / 200).astype(np.float32))
    assert record.notes == []
    for start, stop in ((0, 1), (1, 2), (101, 334), (333, 600)):
        piece = read_wfdb(path, start=start, stop=stop)
        np.testing.assert_array_equal(piece.signal, record.signal[:, start:stop])
    one = read_wfdb(path, channels=[leads - 1], start=7, stop=450)
    np.testing.assert_array_equal(one.signal[0], record.signal[-1, 7:450])


@pytest.mark.parametrize(("format", "mark"), [(16, -32768), (212, -2048), (80, -128), (24, -(1 << 23)), (61, -32768)])
def test_invalid_samples_become_nan_with_counts(tmp_path, digital, format, mark):
    digital = np.clip(digital, -120, 120)
    digital[10:13, 1] = mark
    record = read_wfdb(write_record(tmp_path, digital, format=format))
    assert np.isnan(record.signal).sum() == 3
    assert np.isnan(record.signal[1, 10:13]).all()
    assert record.notes == ["3 missing samples (II 3)"]


@pytest.mark.parametrize("format", [16, 212, 524])
def test_several_samples_per_frame_give_their_own_rate(tmp_path, digital, format):
    frames = np.clip(digital, -120, 120)[:, :2].reshape(150, 4, 2).transpose(0, 2, 1)  # (frames, signals, samples)
    if format == 524:
        pytest.importorskip("soundfile")
        path = write_record(tmp_path, digital[:, :2], format=524)
        path.write_text(path.read_text().replace("250 600", "62.5 150").replace("524 ", "524x4 "))
    else:
        path = write_record(tmp_path, frames.reshape(-1, 1), format=format)
        lines = ["r 2 62.5 150"] + [f"r.dat {format}x4 200/mV 12 0 0 0 0 {lead}" for lead in ("I", "II")]
        path.write_text("\n".join(lines) + "\n")
    record = read_wfdb(path)
    assert (record.sampling_rate, record.num_samples) == (250, 600)
    expected = np.clip(digital, -120, 120)[:, :2].T if format != 524 else digital[:, :2].T
    np.testing.assert_array_equal(record.signal, (expected / 200).astype(np.float32))
    piece = read_wfdb(path, start=5, stop=38)
    np.testing.assert_array_equal(piece.signal, record.signal[:, 5:38])


def test_signals_of_several_rates_must_be_chosen(tmp_path, digital):
    path = write_record(tmp_path, digital.reshape(-1, 1))
    path.write_text("r 2 250 600\nr.dat 16x2 200/mV 12 0 0 0 0 I\nr.dat 16 200/mV 12 0 0 0 0 II\n")
    with pytest.raises(RecordFileError, match=r"500 Hz.*250 Hz.*channels="):
        read_wfdb(path)
    record = read_wfdb(path, channels=["II"])
    np.testing.assert_array_equal(record.signal[0], (digital[:, 2] / 200).astype(np.float32))


def test_one_signal_file_per_lead_and_skew(tmp_path, digital):
    for index in range(3):
        write_record(tmp_path, digital[:, index : index + 1], name=f"r{index}")
    lines = ["r 3 250 600"] + [f"r{index}.dat 16 200/mV 12 0 0 0 0 {lead}" for index, lead in enumerate(LEADS)]
    (tmp_path / "r.hea").write_text("\n".join(lines))
    record = read_wfdb(tmp_path / "r", channels=["V1", "I"])
    assert record.leads == ("I", "V1")
    np.testing.assert_array_equal(record.signal, (digital.T[[0, 2]] / 200).astype(np.float32))
    path = write_record(tmp_path, digital, name="skewed", layout=":3")
    np.testing.assert_array_equal(
        read_wfdb(path).signal[:, :-3], (wfdb.rdrecord(str(path.with_suffix(""))).p_signal.T[:, :-3]).astype(np.float32)
    )


def test_baseline_gain_and_units_of_the_header(tmp_path, digital):
    for gain, expected in [
        ("1(0)/uV", digital / 1000),
        ("100(50)/mV", (digital - 50) / 100),
        ("250000/V", digital / 250),
    ]:
        record = read_wfdb(write_record(tmp_path, digital, gain=gain))
        np.testing.assert_allclose(record.signal, expected.T, rtol=1e-6, atol=1e-7)
    record = read_wfdb(write_record(tmp_path, digital, gain="204.7(0)/mV"))
    np.testing.assert_array_equal(record.signal, (digital.T / 204.7).astype(np.float32))


def test_gain_of_the_caller_goes_before_the_header_and_is_noted(tmp_path, digital):
    path = write_record(tmp_path, digital, gain="4880/mV")
    record = read_wfdb(path, gain=200)
    np.testing.assert_array_equal(record.signal, (digital.T / 200).astype(np.float32))
    assert record.notes == ["gain 200/mV set by the caller (header: 4880)"]
    np.testing.assert_allclose(read_wfdb(path, gain=0.2, units="uV").signal, record.signal, rtol=1e-6)
    for gain in (0, float("nan"), float("inf"), 1e300):
        with pytest.raises(SignalError, match="gain"):
            read_wfdb(path, gain=gain)


def test_uncalibrated_and_unitless_records_are_noted(tmp_path, digital):
    assert "uncalibrated" in read_wfdb(write_record(tmp_path, digital, gain="0")).notes[0]
    path = write_record(tmp_path, digital, gain="200")
    assert read_wfdb(path).notes == ["the header states no unit: taken as mV, the default of WFDB"]
    assert read_wfdb(path, units="uV").notes[0] == "converted uV -> mV"


@pytest.mark.parametrize("gain", ["200/mX", "1e-300/mV", "1e300/V"])
def test_unknown_unit_and_impossible_gain_name_the_line(tmp_path, digital, gain):
    with pytest.raises(RecordFileError, match=r"r\.hea, line 2"):
        read_wfdb(write_record(tmp_path, digital, gain=gain))


def test_arguments_that_contradict_the_header_are_refused(data_dir):
    path = data_dir / "ptbxl" / "00001_lr.hea"
    assert read_wfdb(path, sampling_rate=100, units="mV").sampling_rate == 100
    with pytest.raises(RecordFileError, match="100 Hz"):
        read_wfdb(path, sampling_rate=500)
    with pytest.raises(RecordFileError, match="states mV"):
        read_wfdb(path, units="uV")


def test_signals_that_are_no_voltages_are_left_out_with_a_note(tmp_path, digital):
    path = write_record(tmp_path, digital, names=("II", "ABP", "V"))
    text = path.read_text().splitlines()
    text[2] = text[2].replace("/mV", "/mmHg")
    path.write_text("\n".join(text))
    record = read_wfdb(path)
    assert record.leads == ("II", "V")
    assert record.notes == ["left out, no voltage: ABP (mmHg)"]
    with pytest.raises(SignalError, match="ABP"):
        read_wfdb(path, channels=["ABP"])


def test_channels_are_chosen_by_name_or_position(data_dir):
    path = data_dir / "mitdb" / "100"
    whole = read_wfdb(path)
    np.testing.assert_array_equal(read_wfdb(path, channels=["v5"]).signal, whole.signal[1:])
    np.testing.assert_array_equal(read_wfdb(path, channels=[1, 0]).signal, whole.signal[::-1])
    for channels in (["V1"], [2], [-1], [0, "MLII"]):
        with pytest.raises(LeadError, match="MLII, V5"):
            read_wfdb(path, channels=channels)
    with pytest.raises(SignalError, match="channels"):
        read_wfdb(path, channels=[])


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 5), (0, 10_801), (10_800, None)])
def test_range_outside_the_record_is_refused(data_dir, start, stop):
    with pytest.raises(SignalError, match="10800 samples"):
        read_wfdb(data_dir / "mitdb" / "100", start=start, stop=stop)


def test_annotations_are_read_and_cut_with_the_signal(data_dir, tmp_path):
    path = data_dir / "mitdb" / "100"
    record, reference = read_wfdb(path), wfdb.rdann(str(path), "atr")
    np.testing.assert_array_equal(record.annotations.samples, reference.sample)
    assert record.annotations.symbols == reference.symbol
    assert record.annotations.aux[0] == "(N"
    piece = read_wfdb(path, start=360, stop=1080)
    inside = reference.sample[(reference.sample >= 360) & (reference.sample < 1080)]
    np.testing.assert_array_equal(piece.annotations.samples, inside - 360)
    assert read_wfdb(path, annotator=None).annotations is None
    for suffix in (".hea", ".dat"):
        shutil.copy(path.with_suffix(suffix), tmp_path)
    with pytest.raises(RecordFileError, match=r"100\.atr"):
        read_wfdb(tmp_path / "100").require_annotations()
    (tmp_path / "100.atr").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4558\n")
    with pytest.raises(RecordFileError, match=r"Git LFS.*4558"):
        read_wfdb(tmp_path / "100")


def test_damaged_annotations_give_annotations_or_an_error(data_dir, tmp_path):
    for suffix in (".hea", ".dat"):
        shutil.copy(data_dir / "mitdb" / f"100{suffix}", tmp_path)
    content = (data_dir / "mitdb" / "100.atr").read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for position in generator.integers(len(damaged), size=3):
            damaged[position] = generator.integers(256)
        (tmp_path / "100.atr").write_bytes(damaged[: generator.integers(2, len(damaged) + 1)])
        try:
            read_wfdb(tmp_path / "100")
        except RecordFileError as error:
            assert "100.atr" in str(error)  # noqa: PT017


def test_wrong_checksum_is_a_note_or_an_error_on_request(tmp_path, digital):
    path = write_record(tmp_path, digital)
    samples = np.fromfile(tmp_path / "r.dat", dtype="<i2")
    samples[4] += 1
    samples.tofile(tmp_path / "r.dat")
    assert read_wfdb(path).notes == ["checksum differs from the header: II"]
    with pytest.raises(RecordFileError, match="checksum"):
        read_wfdb(path, strict=True)
    # A part of the signal has no checksum to compare with.
    assert read_wfdb(path, stop=599).notes == []


def test_header_that_describes_less_than_the_file_holds(tmp_path, digital):
    with pytest.raises(RecordFileError, match=r"60 samples.*600"):
        read_wfdb(write_record(tmp_path, digital, samples=60))
    path = write_record(tmp_path, digital)
    with path.with_suffix(".dat").open("ab") as file:
        file.write(b"\0" * 6)
    assert read_wfdb(path).notes == ["r.dat holds 601 samples, the header describes 600"]


def test_truncated_file_gives_its_whole_frames_on_request_only(tmp_path, digital):
    path = write_record(tmp_path, digital)
    os.truncate(path.with_suffix(".dat"), 6 * 400 + 5)
    with pytest.raises(RecordFileError, match=r"2405 of 3600 bytes, 400 whole samples.*allow_truncated"):
        read_wfdb(path)
    record = read_wfdb(path, allow_truncated=True)
    assert record.num_samples == 400
    assert record.notes == ["r.dat is cut off: 400 of 600 samples"]


@pytest.mark.parametrize("format", [16, 212, 508, 524])
def test_announced_length_is_compared_before_memory_is_taken(tmp_path, digital, format):
    path = write_record(tmp_path, np.clip(digital, -120, 120), format=format, samples=999_999_999_999)
    with pytest.raises(RecordFileError, match="999999999999"):
        read_wfdb(path)


def test_lying_flac_streams_are_refused(tmp_path, digital):
    path = write_record(tmp_path, digital, format=524)
    content = bytearray(path.with_suffix(".dat").read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.with_suffix(".dat").write_bytes(content)
    path.write_text(path.read_text().replace(" 600", ""))
    with pytest.raises(RecordFileError, match="more than"):
        read_wfdb(path)
    path.with_suffix(".dat").write_bytes(b"RIFF" + b"\0" * 60)
    with pytest.raises(RecordFileError, match="FLAC"):
        read_wfdb(path)


def test_container_of_another_kind_is_refused(data_dir, tmp_path):
    from scipy.io import savemat

    shutil.copy(data_dir / "georgia" / "E03823.hea", tmp_path)
    savemat(tmp_path / "E03823.mat", {"val": np.zeros((12, 5000), dtype=np.int16)})
    with pytest.raises(RecordFileError, match="newer MATLAB"):
        read_wfdb(tmp_path / "E03823")
    savemat(tmp_path / "E03823.mat", {"val": np.zeros((12, 5000))}, format="4")
    with pytest.raises(RecordFileError, match="kind 0"):
        read_wfdb(tmp_path / "E03823")


def test_signal_file_that_is_no_regular_file_is_refused(tmp_path, digital):
    path = write_record(tmp_path, digital)
    path.with_suffix(".dat").unlink()
    os.mkfifo(path.with_suffix(".dat"))
    with pytest.raises(RecordFileError, match="regular"):
        read_wfdb(path)


def test_signal_file_in_other_letter_case_is_found(tmp_path, digital):
    path = write_record(tmp_path, digital)
    path.with_suffix(".dat").rename(tmp_path / "R.DAT")
    assert read_wfdb(path).notes == ["read R.DAT in place of r.dat (other letter case)"]


def test_leads_of_the_caller_only_name_what_the_file_does_not(tmp_path, digital):
    path = write_record(tmp_path, digital, names=("", "", ""))
    assert read_wfdb(path).notes == ["the file does not name its leads"]
    assert read_wfdb(path, leads=["II", "V1", "I"]).leads == ("I", "II", "V1")
    doubled = write_record(tmp_path, digital, names=("V1", "I", "V1"))
    with pytest.raises(LeadError, match="twice"):
        read_wfdb(doubled)
    assert read_wfdb(doubled, leads=["V1", "I", "V2"]).leads == ("I", "V1", "V2")
    with pytest.raises(LeadError, match="treat_as"):
        read_wfdb(doubled, leads=["V1", "II", "V2"])
    with pytest.raises(LeadError, match="select"):
        read_wfdb(doubled, leads=["I"])


def test_plausibility_of_the_amplitude_is_noted(tmp_path, digital):
    assert "swing by 42.0 mV or more" in read_wfdb(write_record(tmp_path, digital * 40)).notes[0]
    # A single spike is no wrong gain, and one lead alone may be small.
    spiked = np.tile(digital, (5, 1))
    spiked[300] = 2000
    assert read_wfdb(write_record(tmp_path, spiked)).notes == []
    assert read_wfdb(write_record(tmp_path, digital, gain="4000/mV")).notes == []
    six = write_record(tmp_path, np.tile(digital, 2), gain="4000/mV", names=("I", "II", "V1", "V2", "V3", "V4"))
    assert "the largest lead swings by 0.05" in read_wfdb(six).notes[0]


def write_segments(folder, digital, lengths, *, total=None, layout=False):
    """A record `m` of several segments; with a layout the second one lacks the last lead."""
    begin, lines = 0, []
    for number, length in enumerate(lengths):
        if number == 1 and layout:
            lines.append(f"~ {length}")
        else:
            leads = LEADS[:2] if layout and number == 2 else LEADS
            write_record(folder, digital[begin : begin + length, : len(leads)], name=f"m{number}", names=leads)
            lines.append(f"m{number} {length}")
        begin += length
    if layout:
        heads = ["m_layout 3 250 0"] + [f"~ 0 200/mV 12 0 0 0 0 {lead}" for lead in LEADS]
        (folder / "m_layout.hea").write_text("\n".join(heads))
        lines.insert(0, "m_layout 0")
    head = f"m/{len(lines)} 3 250 {sum(lengths) if total is None else total}"
    (folder / "m.hea").write_text("\n".join([head, *lines]) + "\n")
    return folder / "m.hea"


def test_segments_of_one_layout_equal_wfdb(tmp_path, digital):
    path = write_segments(tmp_path, digital, [100, 250, 250])
    record = read_wfdb(path)
    np.testing.assert_array_equal(record.signal, (digital.T / 200).astype(np.float32))
    np.testing.assert_array_equal(record.signal, wfdb.rdrecord(str(path.with_suffix(""))).p_signal.T.astype(np.float32))
    np.testing.assert_array_equal(read_wfdb(path, start=90, stop=400).signal, record.signal[:, 90:400])
    np.testing.assert_array_equal(read_wfdb(path, channels=["V1"]).signal, record.signal[2:])


def test_segments_with_gaps_and_missing_leads_are_nan(tmp_path, digital):
    path = write_segments(tmp_path, digital, [100, 250, 250], layout=True)
    record = read_wfdb(path)
    expected = (digital.T / 200).astype(np.float32)
    expected[:, 100:350] = np.nan
    expected[2, 350:] = np.nan
    np.testing.assert_array_equal(record.signal, expected)
    assert "1000 missing samples (I 250, II 250, V1 500)" in record.notes


def test_segments_that_do_not_fit_are_refused(tmp_path, digital):
    with pytest.raises(RecordFileError, match="add up to 600"):
        read_wfdb(write_segments(tmp_path, digital, [300, 300], total=700))
    path = write_segments(tmp_path, digital, [300, 300])
    path.write_text("m/2 3 250 700\nm0 300\nm1 400\n")
    with pytest.raises(RecordFileError, match=r"m1\.hea has 300"):
        read_wfdb(path)
    path.write_text("m/2 3 250 600\nm0 300\nm 300\n")
    with pytest.raises(RecordFileError, match="inside it"):
        read_wfdb(path)
    path.write_text("m/2 3 250 1000000000300\nm0 300\n~ 1000000000000\n")
    with pytest.raises(RecordFileError, match="gaps"):
        read_wfdb(path)
    path.write_text("m/1 3 250 300\n../m0 300\n")
    with pytest.raises(RecordFileError, match="plain name"):
        read_wfdb(path)


def test_a_header_that_was_read_already_is_taken(data_dir):
    header = read_header(data_dir / "ptbxl" / "00001_lr")
    np.testing.assert_array_equal(read_wfdb(header).signal, read_wfdb(header.path).signal)


@pytest.mark.parametrize("stated", [0, ""])
def test_a_length_that_the_header_does_not_state_is_that_of_the_file(tmp_path, digital, stated):
    record = read_wfdb(write_record(tmp_path, digital, samples=stated))
    np.testing.assert_array_equal(record.signal, (digital.T / 200).astype(np.float32))
    assert record.notes == ["the header states no number of samples: 600 by the size of r.dat"]


def test_a_segment_without_ecg_is_a_gap(tmp_path, digital):
    write_record(tmp_path, digital[:200, :2], name="r1", names=("II", "ABP"))
    pressure = write_record(tmp_path, digital[200:400, 1:2], name="r2", names=("ABP",))
    for path in (tmp_path / "r1.hea", pressure):
        lines = [
            line.replace("/mV", "/mmHg") if line.endswith("ABP") else line for line in path.read_text().split("\n")
        ]
        path.write_text("\n".join(lines))
    write_record(tmp_path, digital[400:, :1], name="r3", names=("II",))
    (tmp_path / "layout.hea").write_text("layout 2 250 0\n~ 0 200/mV 0 0 0 0 0 II\n~ 0 200/mmHg 0 0 0 0 0 ABP\n")
    (tmp_path / "r.hea").write_text("r/4 2 250 600\nlayout 0\nr1 200\nr2 200\nr3 200\n")
    record = read_wfdb(tmp_path / "r.hea")
    expected = (digital[:, 0] / 200).astype(np.float32)
    expected[200:400] = np.nan
    np.testing.assert_array_equal(record.signal, expected[np.newaxis])
    assert "segments without these leads, missing samples there: r2 (ABP)" in record.notes


def test_what_is_wrong_with_annotations_is_noted_and_leaves_the_signal(tmp_path, digital):
    path = write_record(tmp_path, digital)
    wfdb.wrann("r", "atr", np.array([100, 599, 600, 900]), symbol=["N", "N", "V", "N"], write_dir=str(tmp_path))
    record = read_wfdb(path)
    assert record.annotations.samples.tolist() == [100, 599]
    assert record.notes == ["2 annotations beyond the end of the signal left out (r.atr)"]
    assert read_wfdb(path, stop=500).notes == []
    (tmp_path / "r.atr").write_text("time,label\n0.1,N\n")
    record = read_wfdb(path)
    assert record.annotations is None
    assert record.notes == ["annotations left out: r.atr is no WFDB annotation file: it holds text."]
    with pytest.raises(RecordFileError, match="holds text"):
        record.require_annotations()
