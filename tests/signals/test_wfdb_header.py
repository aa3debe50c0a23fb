from datetime import date

import pytest

from ecg_transformers.errors import RecordFileError
from ecg_transformers.signals.wfdb.header import read_header

LINE = "r.dat 16 1000(0)/mV 16 0 -5 123 0 II"


def write(folder, *lines, name="r", encoding="utf-8", end="\n"):
    path = folder / f"{name}.hea"
    path.write_bytes(end.join(lines).encode(encoding))
    return path


def test_every_field_of_a_signal_line(tmp_path):
    signal = read_header(
        write(tmp_path, "r 1 250/360(2) 100", "r.dat 16x2:3+24 1e2(-7)/uV 12 9 -5 123 0 Lead II a")
    ).signals[0]
    assert signal[1:] == ("r.dat", 16, 2, 3, 24, 100.0, -7, "uV", True, -5, 123, "Lead II a")


@pytest.mark.parametrize(
    ("line", "gain", "baseline", "units", "name"),
    [
        ("r.dat 16", 200, 0, None, None),
        ("r.dat 16 0 II", 200, 0, None, "II"),
        ("r.dat 16 306 12 1024", 306, 1024, None, None),
        ("r.dat 16 306 12 1024 995 -22131 0 MLII", 306, 1024, None, "MLII"),
        ("r.dat 16 306(5)/mV 12 1024 1 2 3 1", 306, 5, "mV", "1"),
        ("r.dat 16 -200/mV", -200, 0, "mV", None),
    ],
)
def test_fields_may_be_left_out_from_the_right(tmp_path, line, gain, baseline, units, name):
    signal = read_header(write(tmp_path, "r 1 250", line)).signals[0]
    assert (signal.gain, signal.baseline, signal.units, signal.name) == (gain, baseline, units, name)


@pytest.mark.parametrize(
    ("moment", "day", "time"),
    [
        ("10:11:12 16/05/2014", date(2014, 5, 16), "10:11:12"),
        ("2014-05-16 10:11:12", date(2014, 5, 16), "10:11:12"),
        ("12-May-2020 12:33:59", date(2020, 5, 12), "12:33:59"),
        ("00:00.5", None, None),
        ("10:11", None, "10:11"),
        ("", None, None),
    ],
)
@pytest.mark.parametrize("samples", [" 100", ""])
def test_dates_and_times_in_every_order_and_without_length(tmp_path, moment, day, time, samples):
    header = read_header(
        write(
            tmp_path, f"r 1 250{samples} 1:2:3 {moment}" if moment == "00:00.5" else f"r 1 250{samples} {moment}", LINE
        )
    )
    if moment == "00:00.5":
        assert "not understood" in header.notes[0]
        return
    assert (header.base_date, header.base_time, header.notes) == (day, time, [])
    assert header.num_samples == (100 if samples else None)


def test_an_impossible_date_is_noted(tmp_path):
    assert "31/02/2020" in read_header(write(tmp_path, "r 1 250 100 10:00:00 31/02/2020", LINE)).notes[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_line_ends_and_alphabets(tmp_path, end, encoding):
    header = read_header(write(tmp_path, "# Größe", "", "r 1 250 100", " ", LINE, "#ß", end=end, encoding=encoding))
    assert header.comments == ("Größe", "ß")
    assert len(header.signals) == 1


def test_names_with_blanks_belong_to_renamed_files(tmp_path):
    header = read_header(
        write(tmp_path, "my record 2 1 250 100", "my record 2.dat 16 1000/mV 16 0 0 0 0 II", name="my record 2")
    )
    assert header.signals[0].file_name == "my record 2.dat"
    assert header.notes == []


@pytest.mark.parametrize(
    ("comments", "age", "sex", "labels"),
    [
        (["#Age: 53", "#Sex: Female", "#Dx: 1,2,1"], 53, "female", ("1", "2")),
        (["# age: 81", "# sex: male"], 81, "male", ()),
        (["#Age: NaN", "#Sex: Unknown", "#Dx:"], None, None, ()),
        (["#Age: 300"], None, None, ()),
        (["#Age: -1"], None, None, ()),
        (["# 69 M 1085 1629 x1", "# Aldomet, Inderal"], 69, "male", ()),
        (["# -1 ? 0 0"], None, None, ()),
        (["#<age>: 65 <sex>: F <diagnoses>: CAD"], 65, "female", ()),
        (["#Average: 5", "#Dx 5"], None, None, ()),
    ],
)
def test_age_sex_and_codes_of_the_comments(tmp_path, comments, age, sex, labels):
    header = read_header(write(tmp_path, "r 1 250 100", LINE, *comments))
    assert (header.age, header.sex, header.labels) == (age, sex, labels)


@pytest.mark.parametrize(
    ("lines", "fact"),
    [
        ([], "empty header"),
        (["# only", "", "# comments"], "empty header"),
        (["r"], "line 1: the number of signals is missing"),
        (["r x 250"], "number of signals is 'x'"),
        (["r 0 250"], "no signals"),
        (["r 1"], "sampling rate is missing"),
        (["r 1 0 100", LINE], "sampling rate is '0'"),
        (["r 1 -250 100", LINE], "'-250'"),
        (["r 1 nan 100", LINE], "'nan'"),
        (["r 1 1e-300 100", LINE], "'1e-300'"),
        (["r 1 1000000 100", LINE], "100000"),
        (["r 1 250 1e5", LINE], "number of samples is '1e5'"),
        (["r 1 250 0", LINE], "0 samples"),
        (["r 2 250 100", LINE], "1 complete signal lines of 2"),
        (["r 1 250 100", LINE, LINE], "line 3"),
        (["r 1 250 100", "r.dat"], "format of r.dat is missing"),
        (["r 1 250 100", "r.dat 16x0 1000/mV"], "0 samples per frame"),
        (["r 1 250 100", "r.dat 16 mV"], "line 2: the gain is 'mV'"),
        (["r 1 250 100", "r.dat 16 1e999/mV"], "finite"),
        (["r 1 250 100", "r.dat 16 1000/mV 16 0x II"], "zero level is '0x'"),
        (["r 1 250 100", "../r.dat 16 1000/mV"], "plain name"),
        (["r 1 250 100", "/dev/zero 16 1000/mV"], "plain name"),
        (["r 1 250 100", "- 16 1000/mV"], "plain name"),
        (["r/2 1 250 100", "r1 50"], "1 complete segment lines of 2"),
        (["r/1 1 250 100", "r1 x"], "segment"),
        (["version https://git-lfs.github.com/spec/v1", "oid sha256:1", "size 130"], r"Git LFS pointer.*130 bytes"),
        (["r 1 250 100\0", LINE], "zero bytes"),
    ],
)
def test_what_cannot_be_understood_names_file_and_cause(tmp_path, lines, fact):
    path = write(tmp_path, *lines)
    with pytest.raises(RecordFileError, match=fact) as caught:
        read_header(path)
    assert str(path) in str(caught.value)


def test_absent_and_oversized_headers(tmp_path):
    with pytest.raises(RecordFileError, match=r"no header .*nothing\.hea"):
        read_header(tmp_path / "nothing.dat")
    (tmp_path / "big.hea").write_bytes(b"x" * (5 << 20))
    with pytest.raises(RecordFileError, match="few kB"):
        read_header(tmp_path / "big.hea")


def test_the_record_is_found_by_any_of_its_names(data_dir):
    for name in ("00001_lr", "00001_lr.hea", "00001_lr.dat"):
        assert read_header(data_dir / "ptbxl" / name).name == "00001_lr"
    assert read_header(str(data_dir / "mitdb" / "100")).num_samples == 10_800
