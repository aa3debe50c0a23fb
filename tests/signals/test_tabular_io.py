import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecg_transformers.errors import LeadError, RecordFileError, SignalError
from ecg_transformers.signals.formats.delimited_text import is_table
from ecg_transformers.signals.formats.tabular import read_table
from ecg_transformers.signals.formats.time_column import parse_clock, rate_of_times
from ecg_transformers.signals.leads import STANDARD_LEADS, canonical_lead
from ecg_transformers.signals.synthesis import synthesize_record

VALUES = np.round(np.random.default_rng(0).normal(scale=0.3, size=(60, 2)), 3)


def rows(values=VALUES, *, delimiter=",", first=None, comma=False):
    """Lines of numbers, with a column in front if there is one."""
    lines = []
    for number, row in enumerate(values):
        fields = [f"{value:.3f}" for value in row]
        if first is not None:
            fields.insert(0, first(number))
        lines.append(delimiter.join(field.replace(".", ",") if comma else field for field in fields))
    return "\n".join(lines) + "\n"


@pytest.fixture
def read(tmp_path):
    def read(text, *, encoding="utf-8", **arguments):
        path = tmp_path / "patient7.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return read_table(path, **arguments)

    return read


def expect(record, *, rate, leads, values=VALUES, factor=1.0):
    assert record.sampling_rate == rate
    assert record.leads == leads
    np.testing.assert_allclose(record.signal, (values * factor).T.astype(np.float32), rtol=1e-5, atol=1e-9)


def test_the_shipped_csv_equals_its_record(data_dir, ptbxl_records):
    record = read_table(data_dir / "ptbxl" / "00002_lr.csv")
    np.testing.assert_array_equal(record.signal, ptbxl_records[1].signal)
    assert (record.sampling_rate, record.leads) == (100, ptbxl_records[1].leads)
    assert record.notes == []


def test_names_in_any_spelling_with_rate_and_unit_of_the_caller(read):
    record = read("lead v1 , Lead II\n" + rows(), sampling_rate=250, units="uV")
    expect(record, rate=250, leads=("II", "V1"), values=VALUES[:, ::-1], factor=1e-3)
    assert record.name == "patient7"
    assert "converted uV -> mV" in record.notes


@pytest.mark.parametrize(
    ("head", "first", "rate"),
    [
        ("time,I,II\ns,mV,mV\n", lambda i: f"{i / 250:.3f}", 250),
        ("Time [ms],I (mV),II (mV)\n", lambda i: f"{2 * i}", 500),
        ("time_us,I/mV,II/mV\n", lambda i: f"{i * 1e6 / 360:.0f}", 360),
        ("'Elapsed time','I','II'\n'hh:mm:ss.mmm','mV','mV'\n", lambda i: f"'0:{i / 360:06.3f}'", 360),
        ("timestamp,I (mV),II (mV)\n", lambda i: f"2026-01-09T23:59:{59.5 + i / 128:.7f}" if i < 60 else "", 128),
        ("t,I (mV),II (mV)\n", lambda i: f"{17.25 + i / 257.3:.9f}", 257.3),
    ],
)
def test_times_state_the_rate(read, head, first, rate):
    record = read(head + rows(first=first))
    assert record.sampling_rate == pytest.approx(rate, rel=1e-6)
    expect(record, rate=record.sampling_rate, leads=("I", "II"))


def test_times_without_a_unit_are_seconds_only_where_that_makes_sense(read):
    record = read("time,I,II\n" + rows(first=lambda i: f"{i / 250:.3f}"))
    assert record.sampling_rate == 250
    assert "time column taken as seconds: 250 Hz" in record.notes
    with pytest.raises(RecordFileError, match=r"without a unit.*0.25 Hz"):
        read("time,I,II\n" + rows(first=lambda i: f"{4 * i}.0"))


def test_steps_that_are_not_constant_are_refused_with_their_place(read):
    with pytest.raises(RecordFileError, match=r"before sample 21"):
        read("time,I,II\n" + rows(first=lambda i: f"{(i + 3 * (i > 20)) / 250:.3f}"))
    with pytest.raises(RecordFileError, match=r"does not rise at sample 31.*Sort the rows"):
        read("time,I,II\n" + rows(first=lambda i: f"{(i - 2 * (i > 30)) / 250:.3f}"))
    doubled = "time,I,II\n" + rows(first=lambda i: f"{(i - (i > 30)) / 250:.3f}")
    with pytest.raises(RecordFileError, match=r"does not rise at sample 31.*Set sampling_rate="):
        read(doubled)
    expect(read(doubled, sampling_rate=250), rate=250, leads=("I", "II"))
    with pytest.raises(RecordFileError, match="empty at sample 4"):
        read("time,I,II\n" + rows(first=lambda i: "" if i == 4 else f"{i / 250:.3f}"))


def test_jitter_is_noted(read):
    record = read("time,I,II\n" + rows(first=lambda i: f"{i / 250 + 0.001 * (i % 2):.3f}"))
    assert record.sampling_rate == pytest.approx(250, rel=0.01)
    assert any("deviate" in note for note in record.notes)


def test_rate_of_the_file_and_of_the_caller_must_agree(read):
    text = "time,I,II\n" + rows(first=lambda i: f"{i / 250:.3f}")
    assert read(text, sampling_rate=250).sampling_rate == 250
    with pytest.raises(RecordFileError, match=r"250 Hz.*sampling_rate=500"):
        read(text, sampling_rate=500)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " ", "  "])
@pytest.mark.parametrize("comma", [False, True])
def test_delimiters_and_decimal_commas(read, delimiter, comma):
    if delimiter == "," and comma:
        text = "I,II\n" + "\n".join(",".join(f'"{v:.3f}"'.replace(".", ",") for v in row) for row in VALUES)
    else:
        text = delimiter.join(["I", "II"]) + "\n" + rows(delimiter=delimiter, comma=comma)
    record = read(text, sampling_rate=250, units="mV")
    expect(record, rate=250, leads=("I", "II"))
    assert record.notes == (["decimal commas"] if comma else [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_alphabets(read, encoding):
    text = "Zeit (ms);II (µV);V1 (µV)\r\n" + rows(
        VALUES * 1000, delimiter=";", first=lambda i: f"{4 * i},0", comma=True
    )
    record = read(text, encoding=encoding)
    expect(record, rate=250, leads=("II", "V1"))
    assert "converted µV -> mV" in record.notes


def test_each_column_has_its_own_unit(read):
    record = read("I (mV),II (uV)\n" + rows(), sampling_rate=250)
    expect(record, rate=250, leads=("I", "II"), values=VALUES * [1, 0.001])
    with pytest.raises(RecordFileError, match=r"column 'I' states mV"):
        read("I (mV),II (uV)\n" + rows(), sampling_rate=250, units="uV")
    with pytest.raises(RecordFileError, match="no unit for column 'II'"):
        read("I (mV),II\n" + rows(), sampling_rate=250)


@pytest.mark.parametrize("head", ["I [0.1uV],II (5 µV/LSB)\n", "I,II\n0.1 uV,5 uV/bit\n"], ids=["names", "row"])
def test_units_may_be_multiples(read, head):
    record = read(head + rows(VALUES * [1e4, 200]), sampling_rate=250)
    expect(record, rate=250, leads=("I", "II"), values=VALUES)
    with pytest.raises(RecordFileError, match=r"column 'I' states 0.1 ?uV, and units='uV' was passed"):
        read(head + rows(VALUES * [1e4, 200]), sampling_rate=250, units="uV")
    record = read("Units: 5 uV\nI,II\n" + rows(VALUES * 200), sampling_rate=250)
    expect(record, rate=250, leads=("I", "II"), values=VALUES)


def test_the_minus_sign_of_typography_is_a_minus(read):
    expect(read("I,II\n" + rows().replace("-", "\N{MINUS SIGN}"), sampling_rate=250), rate=250, leads=("I", "II"))


@pytest.mark.parametrize("gap", ["", "NaN", "nan", "NA", "null", "-", "."])
def test_gaps_are_missing_samples(read, gap):
    lines = ("I,II\n" + rows()).split("\n")
    lines[11] = f"{gap},0.1"
    record = read("\n".join(lines), sampling_rate=250, units="mV")
    assert np.argwhere(np.isnan(record.signal)).tolist() == [[0, 10]]
    assert record.notes == ["1 missing samples (I 1)"]


def test_columns_that_count_rows_and_delimiters_at_the_end_are_left_out(read):
    for name in ("", "sample", "Unnamed: 0", "sample #"):
        record = read(f"{name},I,II\n" + rows(first=str), sampling_rate=250, units="mV")
        expect(record, rate=250, leads=("I", "II"))
        assert len(record.notes) == 1
    text = "I,II,\n" + "".join(line + ",\n" for line in rows().splitlines())
    expect(read(text, sampling_rate=250, units="mV"), rate=250, leads=("I", "II"))
    text = "I,II\n" + "".join(line + ",\n" for line in rows().splitlines())
    expect(read(text, sampling_rate=250, units="mV"), rate=250, leads=("I", "II"))


def test_other_quantities_and_second_times_are_left_out(read):
    text = "time (s),I,II,HR,t (ms)\n,mV,mV,bpm,\n"
    text += "".join(f"{i / 250:.3f},{a:.3f},{b:.3f},70,{4 * i}\n" for i, (a, b) in enumerate(VALUES))
    record = read(text)
    expect(record, rate=250, leads=("I", "II"))
    assert record.notes == ["left out, no voltage: HR (bpm)", "column 't' left out: a second column of times"]


def test_comments_and_blank_lines_are_passed_over(read):
    record = read("# exported 2026\n\nI,II\n" + rows() + "\n\n", sampling_rate=250, units="mV")
    expect(record, rate=250, leads=("I", "II"))


def test_a_file_without_names(read):
    record = read(rows(), sampling_rate=250, units="mV", leads=["I", "II"])
    expect(record, rate=250, leads=("I", "II"))
    unnamed = read(rows(), sampling_rate=250, units="mV")
    assert (unnamed.leads, unnamed.notes) == (None, ["the file does not name its leads"])
    timed = read(rows(first=lambda i: f"{i / 250:.3f}"), units="mV", leads=["I", "II"])
    expect(timed, rate=250, leads=("I", "II"))
    with pytest.raises(LeadError, match="has 2 leads"):
        read(rows(), sampling_rate=250, units="mV", leads=["I"])


def test_one_lead_per_row(read):
    text = "\n".join(",".join(f"{value:.3f}" for value in lead) for lead in VALUES.T)
    record = read(text, sampling_rate=250, units="mV", leads=["I", "II"])
    expect(record, rate=250, leads=("I", "II"))
    assert "rows of the file taken as leads" in record.notes
    named = "\n".join(
        ",".join([name, *(f"{v:.3f}" for v in lead)]) for name, lead in zip(["V1", "II"], VALUES.T, strict=True)
    )
    expect(read(named, sampling_rate=250, units="mV"), rate=250, leads=("II", "V1"), values=VALUES[:, ::-1])


def test_a_single_column(read):
    record = read(
        "I\n" + "".join(f"{value:.3f}\n".replace(".", ",") for value in VALUES[:, 0]), sampling_rate=512, units="mV"
    )
    expect(record, rate=512, leads=("I",), values=VALUES[:, :1])


def test_rate_and_unit_are_asked_for_and_never_guessed(read):
    with pytest.raises(SignalError, match="sampling_rate= and units="):
        read("I,II\n" + rows())
    with pytest.raises(SignalError, match="sampling_rate=, or"):
        read("I (mV),II (mV)\n" + rows())
    with pytest.raises(RecordFileError, match="units="):
        read("I,II\n" + rows(VALUES * 1000), sampling_rate=250)
    assert "taken as mV" in read("I,II\n" + rows(), sampling_rate=250).notes[-1]
    expect(read("I,II\n" + rows(VALUES * 200), sampling_rate=250, gain=200), rate=250, leads=("I", "II"))


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("I,II\n1,2\n1,2,3\n", "line 3 has 3 fields; the first row has 2"),
        ("I,II\n1,2\n1\n", "line 3 has 1 fields"),
        ("I,II\n1,2\n1,AF\n", "line 3: 'AF' in column 'II'"),
        ("I;II\n1,5;2\n1.5;2\n", "decimal mark"),
        ("I\tII\n1,234.5\t2\n0,5\t2\n", "decimal mark"),
        ("I\tII\n1,234\t2\n2,345\t3\n", "line 2: '1,234'.*decimal=','"),
        ("I;II\n75;-1.234\n80;-75.000\n", "line 2: '-1.234' is .*thousands point.*decimal=','"),
        ("I;II\n1;2\n1.234.5;2\n", "'1.234.5' in column 'I'"),
        ("I,II\n", "no row of numbers"),
        ("# nothing\n", "no rows"),
        ("sample\n1\n2\n3\n", "no column of values"),
        ('I,II\n"1,2\n', "line 2"),
    ],
)
def test_what_is_no_table_names_line_and_cause(read, tmp_path, text, fact):
    with pytest.raises(RecordFileError, match=fact) as caught:
        read(text, sampling_rate=250, units="mV")
    assert "patient7.csv" in str(caught.value)


def test_doubled_names_are_refused(read):
    with pytest.raises(LeadError, match=r"patient7\.csv.*twice"):
        read("I,lead I\n" + rows(), sampling_rate=250, units="mV")


def test_markup_binary_and_edf_are_no_tables(tmp_path):
    for head in (b"<?xml", b"\xef\xbb\xbf <ecg>", b'{"a": 1}', b"0       X X", b"1,2\0", b"\x1f\x8b\x08", b"%PDF", b""):
        assert not is_table(tmp_path / "x.csv", head)
    assert is_table(tmp_path / "x", b"I,II\r\n1,2\r\n")


@given(
    rate=st.sampled_from([50, 100, 125, 128, 200, 250, 256, 257.3, 300, 360, 500, 512, 1000, 2000]),
    digits=st.integers(3, 9),
    start=st.floats(0, 1e4),
    count=st.integers(500, 3000),
)
@example(rate=500, digits=3, start=1.9375, count=500)
@settings(max_examples=80, deadline=None)
def test_rounded_times_give_the_rate_that_was_meant(rate, digits, start, count):
    times = np.round(start + np.arange(count) / rate, digits)
    if np.diff(times).min() <= 0 or 0.5 * 10.0**-digits >= 0.5 / rate:
        return
    found, notes = rate_of_times(times, "s", where="x.csv")
    # A broken rate among rounded times may be taken as the whole number beside it, with a note.
    assert found == pytest.approx(rate, rel=2 * 10.0**-digits * rate / count + 1e-9, abs=0.5 * (digits < 5))
    if isinstance(rate, int) and digits >= 4:
        assert found == rate
        assert notes == [] or "deviate" in notes[0]


def test_clock_times():
    assert parse_clock("1:02:03.5") == 3723.5
    assert parse_clock("00:01,250") == 1.25
    assert parse_clock("2026-01-01 00:00:01") - parse_clock("2026-01-01T00:00:00.500") == 0.5
    assert [parse_clock(text) for text in ("1.5", "", "aVR", "2026-13-01 00:00:01", "12:5a")] == [None] * 5


def counted(count, start=0):
    return ",".join(str(start + k) for k in range(count)) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        counted(2) + rows(),
        counted(2, 1) + rows(),
        "," + counted(2) + rows(first=str),
        counted(2).replace(",", ";") + rows(delimiter=";", comma=True),
        '"1","2"\n' + rows(first=lambda i: f'"{i + 1}"'),
        "," + counted(60) + "".join(f"{k},{','.join(f'{v:.3f}' for v in lead)}\n" for k, lead in enumerate(VALUES.T)),
        counted(60) + "".join(",".join(f"{v:.3f}" for v in lead) + "\n" for lead in VALUES.T),
    ],
    ids=["from 0", "from 1", "index", "semicolons", "R", "leads in rows with index", "leads in rows"],
)
def test_consecutive_numbers_are_a_header_and_an_index_is_left_out(read, text):
    record = read(text, sampling_rate=250, units="mV", leads=["I", "II"])
    expect(record, rate=250, leads=("I", "II"))
    assert any("taken as a header" in note for note in record.notes)


def test_a_counter_in_the_first_row_of_a_single_column(read):
    text = "0\n" + "".join(f"{value:.3f}\n" for value in VALUES[:, 0])
    expect(read(text, sampling_rate=250, units="mV", leads=["I"]), rate=250, leads=("I",), values=VALUES[:, :1])


@pytest.mark.parametrize("head", ["", "I,II\n"])
def test_decimal_commas_between_commas_are_asked_for(read, head):
    text = head + rows(comma=True)
    with pytest.raises(RecordFileError, match=r"line [12]: the commas in '.*decimal=','"):
        read(text, sampling_rate=250, units="mV")
    record = read(text, sampling_rate=250, units="mV", decimal=",", leads=["I", "II"])
    expect(record, rate=250, leads=("I", "II"))
    whole = read("512,498\n" + rows(np.rint(VALUES * 100) + 512).replace(".000", ""), sampling_rate=250, gain=100)
    assert whole.num_leads == 2


@pytest.mark.parametrize(
    ("write", "decimal"),
    [
        (lambda value: f"{value * 1e6:,.1f}", None),
        (lambda value: f"{value * 1e6:,.1f}".replace(",", "'"), None),
        (lambda value: f"{value * 1e6:,.1f}".translate({44: ".", 46: ","}), None),
        (lambda value: f"{value * 1e6:,.0f}", "."),
        (lambda value: f"{value * 1e6:,.0f}".replace(",", "."), ","),
    ],
    ids=["1,234.5", "1'234.5", "1.234,5", "1,234", "1.234"],
)
def test_thousands_are_told_from_decimals_by_the_whole_file(read, write, decimal):
    text = "I;II\n" + "".join(";".join(map(write, row)) + "\n" for row in VALUES)
    expect(read(text, sampling_rate=250, gain=1e6, decimal=decimal), rate=250, leads=("I", "II"))


def test_thousands_points_are_told_by_other_fields_of_the_file(read):
    text = "I;II\n-75.000;1.234.567\n1.500;20\n"
    thousands = np.array([[-75e3, 1234567], [1500, 20]])
    expect(read(text, sampling_rate=250, gain=1e6), rate=250, leads=("I", "II"), values=thousands, factor=1e-6)
    mixed = read("I;II\n-75.000;0,5\n1.500;20\n", sampling_rate=250, gain=1e6)
    np.testing.assert_allclose(mixed.signal[0], [-0.075, 0.0015], rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    ["0.123;-0.075\n1;0\n-1.250;2\n", "12.345;-3.250\n12.346;-3.251\n", "0.000;1\n1.250;0\n", "1;1.250\n1;1.5\n"],
)
def test_three_decimals_are_no_thousands(read, text):
    record = read("I;II\n" + text, sampling_rate=250, units="mV")
    expected = [[float(field) for field in line.split(";")] for line in text.split()]
    np.testing.assert_allclose(record.signal.T, expected, rtol=1e-6)


@pytest.mark.parametrize("mark", ["#N/A", "#n/a", "#NUM!", "#VALUE!", "#DIV/0!", "#REF!", " #NV"])
def test_errors_of_a_spreadsheet_are_gaps_and_no_comments(read, mark):
    lines = rows().splitlines()
    lines[20:30] = [mark + line[line.index(",") :] for line in lines[20:30]]
    lines[40] = f"0.1,{mark}"
    record = read("# a comment\n#Number: 3\nI,II\n" + "\n".join(lines) + "\n", sampling_rate=250, units="mV")
    assert record.signal.shape == (2, 60)
    assert np.isnan(record.signal[0]).nonzero()[0].tolist() == list(range(20, 30))
    assert np.isnan(record.signal[1]).nonzero()[0].tolist() == [40]


APPLE = {
    "en": ("Name,Jo\nDate of Birth,1 Jan 1980\nVersion,1.90\nSample Rate,512 hertz\n\n\nLead,Lead I\nUnit,µV\n\n", "."),
    "de": ("Name,Jo\nGeburtsdatum,1.1.1980\nMessrate,512 Hertz\n\n\nAbleitung,Ableitung I\nEinheit,µV\n\n", ","),
}  # fmt: skip


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_export_of_a_watch_states_rate_lead_and_unit(read, language):
    head, mark = APPLE[language]
    values = np.round(1.0007 * VALUES[:, :1], 6)
    record = read(head + "".join(f"{1000 * value:.3f}\n".replace(".", mark) for value in [1e-4, *values[:, 0]]))
    expect(record.crop(1 / 512), rate=512, leads=("I",), values=values)


def test_the_header_of_open_signals_states_rate_and_columns(read):
    device = '{"column": ["nSeq", "I1", "O1", "A2", "A3"], "label": ["A2", "A3"], "sensor": ["ECG", "EMG"], '
    device += '"sampling rate": 1000, "resolution": [4, 1, 1, 10, 10]}'
    text = f'# OpenSignals Text File Format\n# {{"20:16": {device}}}\n# EndOfHeader\n'
    text += "".join(f"{k % 16}\t0\t1\t{512 + round(300 * value)}\t7\t\n" for k, value in enumerate(VALUES[:, 0]))
    record = read(text, gain=300)
    expect(record, rate=1000, leads=("A2",), values=np.round(VALUES[:, :1] * 300) / 300 + 512 / 300)
    assert "values of a 10-bit converter" in record.notes
    with pytest.raises(RecordFileError, match="gain="):
        read(text)


@pytest.mark.parametrize(
    ("head", "first", "rate"),
    [
        ("%OpenBCI Raw EXG Data\n%Sample Rate = 250 Hz\nSample Index,I,II\n", lambda i: f"{i % 16}", 250),
        ("High pass: 0.05 Hz\nSampling frequency: 500 Hz\nsample,I,II\n", str, 500),
        ("Interval=,0.004 s\nChannelTitle=,I\nx,I,II\n", lambda i: f"{i % 8}", 250),
        (
            "Time,I,II\n",
            lambda i: f"02/01/2024 {23 * (i < 20):02d}:{59 * (i < 20):02d}:{(59.92 + i / 250) % 60:06.3f}",
            250,
        ),
        ("names,of,leads\nCAL,CAL,CAL\nms,mV,mV\n", lambda i: f"{1.7e12 + 2 * i:.1f}", 500),
    ],
    ids=["OpenBCI", "filters are no rate", "interval", "midnight", "row of kinds"],
)
def test_exports_of_other_programs(read, head, first, rate):
    record = read(head + rows(first=first), units=None if "mV" in head else "mV")
    assert record.sampling_rate == pytest.approx(rate, rel=1e-6)
    np.testing.assert_allclose(record.signal, VALUES.T.astype(np.float32), rtol=1e-5)


def test_text_beside_the_numbers_is_left_out_and_text_among_them_is_an_error(read):
    marks = "".join(f"{a:.3f},{'N' if k % 25 == 0 else ''}\n" for k, a in enumerate(VALUES[:, 0]))
    record = read("I,label\n" + marks, sampling_rate=250, units="mV")
    expect(record, rate=250, leads=("I",), values=VALUES[:, :1])
    assert record.notes == ["left out, no ECG: label"]
    with pytest.raises(RecordFileError, match="line 3: 'x' in column 'II'"):
        read("I,II\n0.1,0.2\n0.3,x\n" + rows(), sampling_rate=250, units="mV")


def test_many_recordings_in_one_file_are_no_recording_of_many_leads(read):
    with pytest.raises(RecordFileError, match=r"50 rows of 187 numbers.*index=k"):
        read(rows(np.zeros((50, 187))), sampling_rate=125, units="mV")


def test_one_time_per_packet_is_usable_with_the_rate(read):
    def packets(lost=()):
        values = np.resize(VALUES[:, 0], 240)
        lines = [f"{(k // 20) * 20 / 130:.4f},{a:.3f}" for k, a in enumerate(values) if k // 20 not in lost]
        return "time (s),I (mV)\n" + "\n".join(lines)

    with pytest.raises(RecordFileError, match=r"packet of 20 samples, about 130 Hz.*sampling_rate="):
        read(packets())
    expect(read(packets(), sampling_rate=130).crop(0, 60 / 130), rate=130, leads=("I",), values=VALUES[:, :1])
    gap = read(packets(lost=(1,)), sampling_rate=130)
    assert np.flatnonzero(np.isnan(gap.signal[0])).tolist() == list(range(20, 40))
    firsts = [f"{k / 130:.4f}" if k % 20 == 0 else "" for k in range(60)]
    sparse = "time (s),I (mV)\n" + "\n".join(f"{t},{a:.3f}" for t, a in zip(firsts, VALUES[:, 0], strict=True))
    expect(read(sparse, sampling_rate=130), rate=130, leads=("I",), values=VALUES[:, :1])


@pytest.mark.parametrize("count", [60, 3000])
def test_a_lost_sample_is_noticed(read, count):
    values = np.resize(VALUES[:, 0], count)
    lines = [f"{k / 250:.3f},{value:.3f}" for k, value in enumerate(values) if k != 40]
    text = "time (s),I (mV)\n" + "\n".join(lines)
    with pytest.raises(RecordFileError, match="before sample 40"):
        read(text)
    record = read(text, sampling_rate=250)
    assert np.flatnonzero(np.isnan(record.signal[0])).tolist() == [40]
    assert "samples missing by the time column: 1, in 1 places, first at 40" in record.notes
    counted = "sample,I (mV)\n" + "\n".join(f"{k},{v:.3f}" for k, v in enumerate(values) if k != 40)
    assert np.flatnonzero(np.isnan(read(counted, sampling_rate=250).signal[0])).tolist() == [40]


def test_times_that_come_late_are_no_gap(read):
    late = np.arange(60) / 130 + 0.006 * (np.arange(60) % 7 == 3)
    text = "time (s),I (mV)\n" + "\n".join(f"{t:.4f},{a:.3f}" for t, a in zip(late, VALUES[:, 0], strict=True))
    expect(read(text, sampling_rate=130), rate=130, leads=("I",), values=VALUES[:, :1])


@pytest.mark.parametrize("mark", [9999.0, -999.0])
def test_a_mark_of_missing_samples_in_millivolts_is_noted(tmp_path, mark):
    signal = synthesize_record(duration=2, sampling_rate=100).signal.T
    signal[50:60, 1] = mark
    path = tmp_path / "gaps.csv"
    np.savetxt(path, signal, delimiter=",", fmt="%.4f")
    record = read_table(path, sampling_rate=100, leads=STANDARD_LEADS)
    assert any(note.startswith(f"lead II has {mark:g} mV at sample 50 next to") for note in record.notes)


@pytest.mark.parametrize("comment", [" # ok", "  % ok", "\t// seen by A, B", " #ok"])
@pytest.mark.parametrize("every", [1, 7])
def test_a_comment_behind_the_numbers_is_no_part_of_a_column(tmp_path, comment, every):
    rows = [f"0.{k:03d},-0.{k:03d}{comment if k % every == 0 else ''}" for k in range(70)]
    (tmp_path / "a.csv").write_text("I,II\n" + "\n".join(rows))
    record = read_table(tmp_path / "a.csv", sampling_rate=100, units="mV")
    assert record.leads == ("I", "II")
    np.testing.assert_allclose(record.signal[1], -np.arange(70) / 1000, atol=1e-6)
    assert f"comments behind the numbers of {len(range(0, 70, every))} lines left out" in record.notes


@pytest.mark.parametrize("footer", ["Mean,0.12", "Total samples: 70", "mean,,\nmax,1,2\nEND OF FILE", "-- end --"])
def test_lines_below_the_numbers_are_left_out_with_a_note(tmp_path, footer):
    (tmp_path / "a.csv").write_text("I,II\n" + "0.1,0.2\n" * 70 + footer + "\n")
    record = read_table(tmp_path / "a.csv", sampling_rate=100, units="mV")
    assert record.num_samples == 70
    assert any(note.startswith(f"left out below the numbers: {footer[:4]}") for note in record.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.1,0.2\n" * 9 + "0.1", "line 11 has 1 fields"),
        ("0.1,0.2\n" * 9 + "0.1,x", "line 11: 'x' in column 'II'"),
        ("0.1,0.2\n" * 9 + "pause,0.1\n" + "0.1,0.2\n" * 9, "line 11: 'pause' in column 'I'"),
        ("0.1,0.2\n" * 9 + "pause\n" + "0.1,0.2\n" * 9, "line 11 has 1 fields"),
    ],
)
def test_a_row_that_is_cut_off_or_among_the_numbers_is_no_remark(tmp_path, text, words):
    (tmp_path / "a.csv").write_text("I,II\n" + text)
    with pytest.raises(RecordFileError, match=words):
        read_table(tmp_path / "a.csv", sampling_rate=100, units="mV")


@pytest.mark.parametrize(
    ("name", "step"), [("Temps", 0.004), ("Tiempo;s", 0.004), ("Czas", 4), ("ID", 1), ("Zeile", 1)]
)
def test_a_column_that_rises_evenly_is_no_lead_whatever_its_name(tmp_path, name, step):
    rows = [f"{7 + k * step:.6g},{np.sin(k / 9):.4f},{np.cos(k / 9):.4f}" for k in range(300)]
    (tmp_path / "a.csv").write_text(f"{name},I,V1\n" + "\n".join(rows))
    record = read_table(tmp_path / "a.csv", sampling_rate=250, units="mV")
    assert (record.leads, record.num_samples) == (("I", "V1"), 300)
    if step == 0.004:
        assert read_table(tmp_path / "a.csv", units="mV").sampling_rate == 250


def test_names_of_the_ecg_nomenclature_are_leads():
    assert [canonical_lead(f"MDC_ECG_LEAD_{name}") for name in ("I", "AVR", "V6")] == ["I", "aVR", "V6"]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("Minutes", 60),
        ("time_min", 60),
        ("time (mins)", 60),
        ("time_hours", 3600),
        ("Hours", 3600),
        ("time/hr", 3600),
        ("time_msec", 1e-3),
        ("time milliseconds", 1e-3),
        ("t_microseconds", 1e-6),
        ("t/nanosecond", 1e-9),
    ],
)
def test_every_unit_of_time_is_known_in_every_place(read, name, seconds):
    record = read(f"{name},I,II\n" + rows(first=lambda i: f"{i / 100 / seconds:.12g}"), units="mV")
    expect(record, rate=100, leads=("I", "II"))


def test_a_rate_that_is_too_high_for_seconds_is_refused_and_the_cure_works(read):
    for seconds in (60, 3600):
        text = "time,I,II\n" + rows(first=lambda i: f"{i / 100 / seconds:.12g}")  # noqa: B023
        with pytest.raises(RecordFileError, match=r"without a unit, (6000|360000) Hz.*sampling_rate="):
            read(text, units="mV")
        expect(read(text, units="mV", sampling_rate=100), rate=100, leads=("I", "II"))


TWELVE = np.round(np.random.default_rng(1).normal(scale=0.3, size=(60, 12)), 3)


@pytest.mark.parametrize(
    ("names", "first", "rate"),
    [
        ("id", lambda i: "s0000", None),
        ("id", lambda i: f"s{i:04d}", None),
        ("date,time", lambda i: f"2024-03-01,12:00:{i / 100:06.3f}", 100),
        ("date,time", lambda i: f"1.3.2024,12:00:{i / 100:06.3f}", 100),
        ("Zeit", lambda i: f"1.3.2024 12h00.{10 * i:03d}", None),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_text_before_twelve_leads_names_no_rows(read, names, first, rate, delimiter):
    text = ",".join([names, *STANDARD_LEADS]) + "\n" + rows(TWELVE, first=first)
    for count in (60, 13):
        lines = text.replace(",", delimiter).splitlines(keepends=True)[: count + 1]
        if rate is None:
            with pytest.raises(SignalError, match="Set sampling_rate="):
                read("".join(lines), units="mV")
        record = read("".join(lines), units="mV", sampling_rate=None if rate else 100)
        expect(record, rate=100, leads=STANDARD_LEADS, values=TWELVE[:count])
        assert any(note.startswith("left out, no ECG") for note in record.notes)


def test_the_date_of_a_german_recorder_is_left_out_beside_decimal_commas(read):
    text = ";".join(["Zeit", *STANDARD_LEADS]) + "\n"
    text += rows(TWELVE, delimiter=";", comma=True, first=lambda i: f"1.3.2024 12h00,{10 * i:03d}")
    expect(read(text, units="mV", sampling_rate=100), rate=100, leads=STANDARD_LEADS, values=TWELVE)


@pytest.mark.parametrize("name", ["patient_id", "record_id", "Subject", "ID", "age", "beat", "rpeak"])
def test_numbers_that_describe_the_recording_are_no_lead(read, name):
    for first in (lambda i: "17", lambda i: str(i // 20)):
        record = read(f"{name},I,II\n" + rows(first=first), units="mV", sampling_rate=100)
        expect(record, rate=100, leads=("I", "II"))
        assert record.notes == [f"left out, no ECG: {name}"]
