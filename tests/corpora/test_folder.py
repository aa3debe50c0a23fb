"""A user's own folder: every readable file, labels from a table, the kind of task found from its columns."""

import shutil

import numpy as np
import pytest
import wfdb

import ecg_transformers.corpora.sources.folder as folder_module
from ecg_transformers.corpora.build import build_corpus
from ecg_transformers.corpora.label_table import read_label_table
from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.corpora.sources.folder import folder_definition, load_records
from ecg_transformers.errors import CorpusError, RecordFileError, SignalError
from ecg_transformers.signals.formats.readers import read_record
from ecg_transformers.signals.record import EcgRecord


@pytest.fixture
def recordings(tmp_path, data_dir):
    """WFDB records in two folders, one of them broken."""
    root = tmp_path / "my_ecgs"
    (root / "ward").mkdir(parents=True)
    for name, folder in (("00001_lr", root), ("00002_lr", root / "ward"), ("00152_lr", root / "ward")):
        for suffix in (".hea", ".dat"):
            shutil.copy(data_dir / "ptbxl" / (name + suffix), folder)
    (root / "ward" / "00152_lr.dat").write_bytes(b"cut off")
    (root / "notes.txt").write_text("no recording")
    return root


def table(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    return tmp_path / "labels.csv"


def test_a_folder_is_a_dataset_and_bad_files_are_listed(recordings, tmp_path, caplog):
    dataset = load_records(recordings, output=tmp_path / "out", progress=False)
    assert dataset["name"] == ["00001_lr", "00002_lr"]
    assert dataset.cache_files
    refused = (tmp_path / "out" / "refused.csv").read_text()
    assert "00152_lr" in refused
    assert "notes.txt" not in refused
    assert "refused.csv" in caplog.text
    corpus = load_corpus(dataset)
    assert corpus.info["storage"] == "int16"
    assert corpus[1].signal.shape == (12, 1000)


@pytest.mark.parametrize("kind", ["int16", "float32"])
@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_a_row_of_the_dataset_is_a_record(data_dir, tmp_path, kind, form):
    folder = tmp_path / "ecgs"
    shutil.copytree(data_dir / "mitdb", folder)
    if kind == "float32":
        np.save(folder / "bare.npy", np.random.default_rng(0).normal(size=(2, 500)))
    options = {"sampling_rate": 250, "leads": ["II", "V5"], "units": "mV"} if kind == "float32" else {}
    dataset = load_records(folder, output=tmp_path / "out", progress=False, **options)
    assert dataset.features["signal"].feature.dtype == kind
    corpus = load_corpus(dataset)
    dataset.set_format(form)
    for index in range(len(dataset)):
        record, row = corpus[index], EcgRecord.from_dict(dataset[index])
        np.testing.assert_array_equal(row.signal, record.signal)
        assert (row.name, row.leads, row.sampling_rate) == (record.name, record.leads, record.sampling_rate)
        assert (row.patient_id, row.age, row.sex, row.notes) == (
            record.patient_id,
            record.age,
            record.sex,
            record.notes,
        )
        assert (row.annotations is None) == (record.annotations is None)
        if record.annotations is not None:
            np.testing.assert_array_equal(row.annotations.samples, record.annotations.samples)
            assert row.annotations.symbols == record.annotations.symbols
    with pytest.raises(SignalError, match="in mV by its gain"):
        EcgRecord.from_dict({**dataset[0], "units": "uV"})


def test_the_dataset_is_kept_in_the_cache_until_a_file_changes(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    first = load_records(recordings, progress=False)
    assert load_records(recordings, progress=False).cache_files == first.cache_files
    shutil.copy(recordings / "00001_lr.dat", recordings / "ward" / "00152_lr.dat")
    assert len(load_records(recordings, progress=False)) == 3


def test_other_formats_are_read_with_the_options_given(data_dir, tmp_path):
    root = tmp_path / "mixed"
    root.mkdir()
    np.save(root / "bare.npy", np.random.default_rng(0).normal(size=(2, 500)))
    shutil.copy(data_dir / "ptbxl" / "00002_lr.csv", root)
    dataset = load_records(root, output=tmp_path / "a", progress=False)
    assert dataset["name"] == ["00002_lr"]
    assert "sampling_rate" in (tmp_path / "a" / "refused.csv").read_text()
    corpus = load_corpus(
        load_records(root, output=tmp_path / "b", progress=False, sampling_rate=100, leads=["I", "II"], units="mV")
    )
    assert "bare" in corpus.names
    assert corpus[corpus.names.index("bare")].sampling_rate == 100


def test_zeros_and_ones_are_a_multi_label_task_in_the_order_of_the_columns(recordings, tmp_path):
    labels = table(
        tmp_path, "record,patient,fold,SR,AFIB\n00001_lr,p9,1,1,0\nward/00002_lr.hea,p3,2,1,1\nward/absent,p3,2,0,0\n"
    )
    corpus = build_corpus(folder_definition(recordings, labels), recordings, tmp_path / "out", progress=False)
    assert corpus.label_matrix().codes == ("SR", "AFIB")
    assert corpus.label_matrix().values.tolist() == [[1, 0], [1, 1]]
    assert corpus.patient_ids.tolist() == [1, 0]
    assert corpus.folds.tolist() == [1, 2]
    assert "ward/absent" in (tmp_path / "out" / "refused.csv").read_text()
    assert read_label_table(labels).describe() == (
        "multi-label, 2 in the order of the columns (SR 2, AFIB 1); 3 records, 2 patients"
    )


def test_a_column_of_names_is_a_single_label_task_in_sorted_order(recordings, tmp_path):
    labels = table(tmp_path, "record,rhythm,age,sex\n00001_lr,sinus,56,F\nward/00002_lr,fibrillation,,\n")
    corpus = load_corpus(load_records(recordings, labels, output=tmp_path / "out", progress=False))
    matrix = corpus.label_matrix()
    assert (matrix.codes, matrix.problem_type) == (("fibrillation", "sinus"), "single_label_classification")
    assert matrix.values.tolist() == [[0, 1], [1, 0]]
    assert (corpus[0].age, corpus[0].sex) == (56.0, "female")
    assert "single-label, 2 in sorted order" in read_label_table(labels).describe()
    assert "patients not known" in read_label_table(labels).describe()


def test_numbers_are_a_regression(recordings, tmp_path):
    labels = table(tmp_path, "record,ejection_fraction,qt\n00001_lr,0.55,400\nward/00002_lr,,410\n")
    corpus = load_corpus(load_records(recordings, labels, output=tmp_path / "out", progress=False))
    matrix = corpus.label_matrix()
    assert matrix.problem_type == "regression"
    np.testing.assert_array_equal(matrix.values, [[0.55, 400], [np.nan, 410]])
    assert matrix.has_label.tolist() == [True, False]
    assert read_label_table(labels).describe().startswith("regression, 2 (ejection_fraction, qt)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recrod,SR\na,1\n", "expected one named 'record'. Rename 'recrod'"),
        ("filename,dx\na,1\n", "Rename 'filename' to 'record'"),
        ("record,patient_id,dx\na,1,A\nb,2,B\n", "Rename 'patient_id' to 'patient', or leave out"),
        ("record,Gender,dx\na,F,A\nb,M,B\n", "Rename 'Gender' to 'sex'"),
        ("record,ward,dx\na,F,A\nb,M,B\n", "Each column other than record, .* is a label: leave out"),
        ("record,dx\na,A\nb,A\nc,\n", r"column 'dx' holds one class \(A\); expected two or more"),
        ("", "columns none"),
        ("record,SR\n", "no rows"),
        ("record,SR\na,1\na,0\n", "record a is in the rows 2 and 3"),
        ("record,SR\n../a,1\n", "leaves the folder"),
        ("record,SR\n/etc/passwd,1\n", "leaves the folder"),
        ("record,fold,SR\na,one,1\n", "row 2: fold is 'one'; expected a whole number"),
        ("record,sex,SR\na,3,1\n", "sex is '3'"),
        ("record,SR,SR\na,1,0\n", "of the same name"),
        ("record,SR,why\na,1,because\n", "row 2: column 'why' holds 'because'"),
        ("record,SR\n,1\n", "row 2: 'record' is empty"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        read_label_table(table(tmp_path, text))


def test_names_that_lost_their_zeros_in_a_spreadsheet_are_explained(data_dir, tmp_path):
    (tmp_path / "ecgs").mkdir()
    for number in ("0000", "0010"):
        shutil.copy(data_dir / "ptbxl" / "00002_lr.csv", tmp_path / "ecgs" / f"{number}.csv")
    for lost, name in (("0,A\n10,B\n", "record 0 .*0000.csv is"), ("0000,A\n10,B\n", "record 10 .*0010.csv is")):
        with pytest.raises(CorpusError, match=rf"{name}: a spreadsheet drops leading zeros"):
            folder_definition(tmp_path / "ecgs", table(tmp_path, f"record,dx\n{lost}"))
    folder_definition(tmp_path / "ecgs", table(tmp_path, "record,dx\n0000,A\n0010,B\n7,B\n"))


def test_a_folder_without_recordings_and_a_missing_table_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="holds no recordings"):
        load_records(tmp_path / "empty")
    with pytest.raises(CorpusError, match="there is no table"):
        folder_definition(tmp_path / "empty", tmp_path / "nothing.csv")
    with pytest.raises(CorpusError, match="not a folder"):
        folder_definition(tmp_path / "nowhere")


def test_snomed_codes_of_headers_get_their_names(data_dir, tmp_path):
    corpus = load_corpus(load_records(data_dir / "georgia", output=tmp_path / "out", progress=False))
    assert corpus.label_matrix().system == "snomed-ct"
    assert folder_module.read_table("snomed")


@pytest.mark.parametrize("offset", [0.0, 99.0, 1000.0, 2000.0])
def test_an_electrode_offset_gives_the_same_numbers_by_file_and_by_corpus(data_dir, tmp_path, offset):
    record = read_record(data_dir / "ptbxl" / "00001_lr.hea")
    (tmp_path / "in").mkdir()
    wfdb.wrsamp(
        "r", fs=100, units=["mV"] * 2, sig_name=["I", "II"], fmt=["16"] * 2, write_dir=str(tmp_path / "in"),
        p_signal=record.signal[:2].T.astype(np.float64) + offset,
    )  # fmt: skip
    corpus = load_corpus(load_records(tmp_path / "in", output=tmp_path / "out", progress=False))
    np.testing.assert_array_equal(corpus[0].signal, read_record(tmp_path / "in" / "r.hea").signal)
    np.testing.assert_allclose(corpus[0].signal, record.signal[:2] + offset, atol=2e-4)


LETTERS = "record,patient,rhythm\n00001_lr,Müller,Sinus\nward/00002_lr,Weiß,Vorhofflimmern\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (LETTERS, "cp1252"),
        (LETTERS, "utf-16"),
        (LETTERS.replace(",", ";"), "utf-8-sig"),
        (LETTERS.replace(",", "\t"), "utf-16"),
        ("sep=;\n" + LETTERS.replace(",", ";"), "cp1252"),
        (",record,patient,rhythm\n0,00001_lr,Müller,Sinus\n1,ward/00002_lr,Weiß,Vorhofflimmern\n", "utf-8"),
        (LETTERS.replace("\n", ",,\n") + ",,,,\n", "utf-8"),
        (LETTERS.replace("00001_lr", '="00001_lr"').replace("Müller", '="Müller"'), "utf-8"),
        ("# of ward 7\n# 2024-05-01, second export\n" + LETTERS, "utf-8"),
    ],
    ids=["cp1252", "utf-16", "semicolon", "tab", "sep=", "index", "empty columns and rows", "formulas", "comments"],
)
def test_tables_of_spreadsheets_are_read_as_they_were_meant(recordings, tmp_path, text, encoding):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    table = read_label_table(path)
    assert table.label_set.codes == ("Sinus", "Vorhofflimmern")
    assert [row.labels for row in table.rows] == [("Sinus",), ("Vorhofflimmern",)]
    corpus = build_corpus(folder_definition(recordings, path), recordings, tmp_path / "out", progress=False)
    assert corpus.names == ["00001_lr", "00002_lr"]


def column(values, name="dx"):
    return f"record,{name}\n" + "".join(f"r{k},{value}\n" for k, value in enumerate(values))


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([0, 1, 2, 3, 4] * 4, ("0", "1", "2", "3", "4")),
        ([0] * 30 + [1, 2, 3, 1, 2, 3], ("0", "1", "2", "3")),
        ([426783006, 164889003, 10370003] * 4, ("10370003", "164889003", "426783006")),
        (["1.0", "2.0", "3.0"] * 4, ("1", "2", "3")),
        ([2, 10, 2, 10, "unknown"] * 3, ("2", "10", "unknown")),
    ],
)
def test_whole_numbers_in_one_column_are_classes(tmp_path, values, codes):
    found = read_label_table(table(tmp_path, column(values)))
    assert set(found.label_set.codes) == set(codes)
    assert found.label_set.problem_type == "single_label_classification"
    assert f"{len(codes)} classes in column 'dx'" in found.because
    if codes[0] == "10370003":
        assert found.label_set.names[1] == "atrial fibrillation"


def test_the_task_can_be_set(tmp_path):
    ages = table(tmp_path, column(range(30, 60), "age_at_event"))
    with pytest.raises(CorpusError, match=r"30 different whole numbers in 30 rows.*task='regression'"):
        read_label_table(ages)
    assert read_label_table(ages, task="regression").rows[1].targets == (31.0,)
    marks = table(tmp_path, column([0, 1, 0, 1]))
    assert read_label_table(marks).label_set.problem_type == "multi_label_classification"
    assert read_label_table(marks, task="single_label").label_set.codes == ("0", "1")
    with pytest.raises(CorpusError, match="row 4: column 'dx' holds '2'"):
        read_label_table(table(tmp_path, column([0, 1, 2, 1])), task="multi_label")
    with pytest.raises(CorpusError, match="expected one of single_label"):
        read_label_table(marks, task="classes")
    decimals = read_label_table(table(tmp_path, "record;ef\nr0;0,55\nr1;0,6\n"))
    assert [row.targets for row in decimals.rows] == [(0.55,), (0.6,)]
    assert "decimals in column 'ef'" in decimals.because


def test_codes_that_a_spreadsheet_rounded_are_no_quantities(tmp_path):
    rounded = table(tmp_path, column(["4.26783E+08", "1.64889E+08"] * 4))
    with pytest.raises(CorpusError, match=r"row 2: column 'dx' holds '4.26783E\+08'.*as text.*task='regression'"):
        read_label_table(rounded)
    assert read_label_table(rounded, task="regression").rows[1].targets == (164889000.0,)


def test_lists_and_mappings_in_cells_are_taken_apart_and_never_classes(tmp_path):
    cells = ["\"{'NORM': 100.0, 'SR': 0.0}\"", "\"{'AFIB': 80.0}\""] * 5
    path = table(tmp_path, column(cells))
    with pytest.raises(CorpusError, match=r"may be joined.*task='multi_label'"):
        read_label_table(path)
    found = read_label_table(path, task="multi_label")
    assert found.label_set.codes == ("AFIB", "NORM", "SR")
    assert found.rows[0].labels == ("NORM", "SR")
    path = table(tmp_path, column(['"[""NORM"", ""SR""]"', '"[""AFIB""]"', "[]"] * 5))
    with pytest.raises(CorpusError, match="may be joined"):
        read_label_table(path)
    assert [row.labels for row in read_label_table(path, task="multi_label").rows[:3]] == [
        ("NORM", "SR"),
        ("AFIB",),
        (),
    ]


@pytest.mark.parametrize(
    "other",
    ["AFIB with RVR # ok", "AFIB  with RVR", "AFIB-with_RVR", "afib with rvr", "AFIB with\N{NO-BREAK SPACE}RVR"],
)
def test_two_spellings_of_a_name_are_asked_about(tmp_path, other):
    path = table(tmp_path, column(["AFIB with RVR", other, "ST+", "ST-", "ST"] * 4))
    with pytest.raises(CorpusError, match="Write them alike"):
        read_label_table(path)
    assert len(read_label_table(path, task="single_label").label_set.codes) == 5
    assert len(read_label_table(table(tmp_path, column(["ST+", "ST-", "ST"] * 4))).label_set.codes) == 3


@pytest.mark.parametrize("joined", ["AFIB|PVC", "AFIB; PVC", "AFIB+PVC", "\"['AFIB', 'PVC']\"", "[AFIB;PVC]"])
def test_joined_names_are_asked_about_and_taken_apart(tmp_path, joined):
    path = table(tmp_path, column([joined.replace(";", "&") if joined[0] == "[" else joined, "AFIB", "PVC", ""]))
    if joined == "[AFIB;PVC]":
        path = table(tmp_path, column(['"[AFIB,PVC]"', "[AFIB]", "[PVC]", "[]"]))
    with pytest.raises(CorpusError, match=r"row 2: column 'dx' holds .*task='multi_label'.*task='single_label'"):
        read_label_table(path)
    found = read_label_table(path, task="multi_label")
    assert (found.label_set.codes, found.label_set.problem_type) == (("AFIB", "PVC"), "multi_label_classification")
    assert [row.labels for row in found.rows] == [("AFIB", "PVC"), ("AFIB",), ("PVC",), ()]
    assert len(read_label_table(path, task="single_label").label_set.codes) == (4 if "[]" in path.read_text() else 3)
    # A name with such a mark in it, whose parts are no names of their own.
    assert read_label_table(table(tmp_path, column(["ST+T", "SR", "SR"]))).label_set.codes == ("SR", "ST+T")


@pytest.mark.parametrize("mark", [",", "/", " ", ", "])
def test_joined_codes_are_asked_about_and_no_numbers(tmp_path, mark):
    path = table(tmp_path, column(["426783006", f'"426783006{mark}164889003"', "10370003"] * 4))
    with pytest.raises(CorpusError, match=r"row 3: column 'dx' holds '426783006.*task='multi_label'"):
        read_label_table(path)
    found = read_label_table(path, task="multi_label")
    assert set(found.label_set.codes) == {"426783006", "164889003", "10370003"}
    assert found.rows[1].labels == ("426783006", "164889003")
    short = table(tmp_path, column(["1", f'"1{mark}2"', "2", "3"] * 4))
    with pytest.raises(CorpusError, match="task='multi_label'"):
        read_label_table(short)
    assert read_label_table(short, task="multi_label").rows[1].labels == ("1", "2")


def test_marks_inside_of_names_stay_where_others_join(tmp_path):
    path = table(tmp_path, column(['"AF, paroxysmal|PVC"', '"AF, paroxysmal"', "AV block", "0"]))
    assert read_label_table(path, task="multi_label").label_set.codes == ("0", "AF, paroxysmal", "AV block", "PVC")
    commas = table(
        tmp_path, "record;ef\n" + "".join(f"r{k};{v}\n" for k, v in enumerate(["0,5", "1,5", "0,55", "1,0"]))
    )
    assert [row.targets for row in read_label_table(commas).rows] == [(0.5,), (1.5,), (0.55,), (1.0,)]


def test_codes_with_decimals_are_asked_about(tmp_path):
    path = table(tmp_path, column(["427.31", "427.32", "410.9"] * 4))
    with pytest.raises(CorpusError, match=r"3 different decimals in 12 rows.*task='single_label'.*task='regression'"):
        read_label_table(path)
    assert read_label_table(path, task="single_label").label_set.codes == ("410.9", "427.31", "427.32")
    assert read_label_table(path, task="regression").rows[0].targets == (427.31,)


def test_numbers_of_a_table_are_read_by_the_evidence_of_their_column(tmp_path):
    def read(values):
        text = "record;qt\n" + "".join(f"r{k};{value}\n" for k, value in enumerate(values))
        return [row.targets[0] for row in read_label_table(table(tmp_path, text), task="regression").rows]

    with pytest.raises(CorpusError, match=r"column 'qt' of .*line 3: '1,005'.*thousands comma.*as in 75,0"):
        read(["980", "1,005", "990"])
    with pytest.raises(CorpusError, match=r"'1\.005'.*as in 75\.0"):
        read(["980", "1.005", "990"])
    assert read(["980,0", "1,005", "990"]) == [980, 1.005, 990]
    assert read(["980.5", "1,005", "990"]) == [980.5, 1005, 990]
    assert read(["980.5", "1,005.5", "#DIV/0!"])[:2] == [980.5, 1005.5]
    assert read(["980", "1.234.567", "1.005"]) == [980, 1234567, 1005]


@pytest.mark.parametrize("values", [["999", "0", "1", "1"] * 3, ["0", ".5", "1"] * 4])
def test_classes_beside_zeros_and_ones_have_a_task(tmp_path, values):
    path = table(tmp_path, column(values))
    with pytest.raises(CorpusError, match="task='single_label' for classes"):
        read_label_table(path)
    assert len(read_label_table(path, task="single_label").label_set.codes) == 3


def test_names_that_differ_in_letter_case_only_are_asked_about(tmp_path):
    with pytest.raises(CorpusError, match="row 3: column 'dx' holds 'afib', another row 'AFIB'"):
        read_label_table(table(tmp_path, column(["AFIB", "afib", "SR"])))
    assert len(read_label_table(table(tmp_path, column(["AFIB", "afib"])), task="single_label").label_set.codes) == 2
    # Codes of beats.
    assert read_label_table(table(tmp_path, column(["a", "A", "a"]))).label_set.codes == ("A", "a")


def test_text_that_never_repeats_is_no_class(tmp_path):
    with pytest.raises(CorpusError, match="5 different names in 5 rows; expected classes that repeat"):
        read_label_table(table(tmp_path, column(["55%", "40%", "31%", "62%", "48%"])))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("r5,,1", "row 7: column 'A' is empty; expected 0 or 1"),
        ("r5,-1,1", "row 7: column 'A' holds '-1'; expected 0 or 1"),
        ("r5,0.5,1", "row 7: column 'A' holds '0.5'"),
        ("r5,1", "row 7: 2 cells; expected 3"),
        ("r5,1,0,1", "row 7: 4 cells; expected 3"),
        ("R4,1,0", "record R4 is in the rows 6 and 7 .as r4 and R4"),
        ("r4.hea,1,0", "rows 6 and 7"),
        ("./r4,1,0", "rows 6 and 7"),
        ("1.65E+08,1,0", "row 7: record is '1.65E.08'.*rounded"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, line, message):
    lines = [f"r{k},{k % 2},{k // 2 % 2}" for k in range(20)]
    lines[5] = line
    with pytest.raises(CorpusError, match=message):
        read_label_table(table(tmp_path, "record,A,B\n" + "\n".join(lines) + "\n"))


def test_a_binary_file_is_no_table(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(bytes(range(256)) * 9)
    with pytest.raises(CorpusError, match=r"labels\.csv is not text: its first row has control characters; expected"):
        read_label_table(path)


def test_records_without_a_class_are_named(tmp_path):
    found = read_label_table(table(tmp_path, column(["A", "", "B", *[""] * 5])))
    assert found.describe().endswith("6 of them without a label (r1, r3, r4, r5, r6, ...)")
    assert "without" not in read_label_table(table(tmp_path, column(["A", "B"]))).describe()


@pytest.mark.parametrize("values", [["30%", "41%", "52%", "63%", "74%"], [f"2024-01-0{k}" for k in range(1, 7)]])
def test_a_regression_is_offered_for_numbers_only(tmp_path, values):
    with pytest.raises(CorpusError, match=r"Set task='single_label'\.$"):
        read_label_table(table(tmp_path, column(values)))


def test_patients_are_text(tmp_path):
    names = ["007", "7", "1e3", "1000", "12345678901234567890", "12345678901234567891", "", ""]
    text = "record,patient,A\n" + "".join(f"r{k},{name},{k % 2}\n" for k, name in enumerate(names))
    ids = [row.patient_id for row in read_label_table(table(tmp_path, text)).rows]
    assert len(set(ids[:6])) == 6
    assert ids[6:] == [-1, -1]
    floats = "record,patient,A\n" + "".join(f"r{k},{k // 2}.0,{k % 2}\n" for k in range(4))
    assert [row.patient_id for row in read_label_table(table(tmp_path, floats)).rows] == [0, 0, 1, 1]


def test_a_workbook_is_no_text(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(CorpusError, match="Save the sheet as CSV"):
        read_label_table(tmp_path / "labels.csv")


def test_a_record_of_the_table_may_lack_its_suffix(tmp_path):
    np.savetxt(
        tmp_path / "r1.csv", np.random.default_rng(0).normal(size=(500, 2)), delimiter=",", header="I,II", comments=""
    )
    labels = table(tmp_path, "record,A\nr1,1\n")
    corpus = load_corpus(
        load_records(tmp_path, labels, output=tmp_path / "out", progress=False, sampling_rate=100, units="mV")
    )
    assert corpus.names == ["r1"]
    with pytest.raises(CorpusError, match=r"r1\.csv is listed twice"):
        load_records(tmp_path, table(tmp_path, "record,A\nr1,1\nr1.csv,0\n"), sampling_rate=100)
    shutil.copy(tmp_path / "r1.csv", tmp_path / "r1.tsv")
    with pytest.raises(CorpusError, match=r"r1 is r1\.csv or r1\.tsv"):
        load_records(tmp_path, labels, sampling_rate=100)


def test_defaults_hold_only_for_files_that_do_not_state_them(data_dir, tmp_path):
    """WFDB with unit and rate, CSV with and without units, raw numbers of a converter, an array without names."""
    record = read_record(data_dir / "ptbxl" / "00002_lr.hea")
    root = tmp_path / "in"
    root.mkdir()
    for suffix in (".hea", ".dat"):
        shutil.copy(data_dir / "ptbxl" / f"00002_lr{suffix}", root)
    two = record.select(["I", "II"]).signal.T.astype(np.float64)
    for name, head, values in (
        ("stated", "I (mV),II (mV)", two),
        ("bare", "I,II", two),
        ("raw", "I,II", np.rint(two * 400)),
    ):
        np.savetxt(root / f"{name}.csv", values, delimiter=",", header=head, comments="")
    np.save(root / "array.npy", two.T)
    defaults = {"sampling_rate": 100, "units": "mV", "gain": 400, "leads": ["I", "II"]}
    corpus = load_corpus(load_records(root, output=tmp_path / "out", progress=False, **defaults))
    assert corpus.names == ["00002_lr", "raw", "stated"]
    # Nothing in the other two says that they are not in the raw units of such files, and nothing is guessed.
    assert [row["name"] for row in corpus.refused] == ["array", "bare"]
    assert all("no lead swings" in row["reason"] for row in corpus.refused)
    found = {one.name: one for one in corpus}
    np.testing.assert_array_equal(found["00002_lr"].signal, record.signal)
    np.testing.assert_allclose(found["stated"].signal, two.T, rtol=1e-5)
    np.testing.assert_allclose(found["raw"].signal, two.T, atol=2e-3)
    with pytest.raises(RecordFileError, match="states mV"):
        read_record(root / "stated.csv", sampling_rate=100, units="uV")


def test_the_unit_of_the_others_does_not_touch_a_file_that_states_its_own(data_dir, tmp_path):
    shutil.copy(data_dir / "ptbxl" / "00002_lr.csv", tmp_path)
    corpus = load_corpus(
        load_records(tmp_path, output=tmp_path / "out", progress=False, units="uV", sampling_rate=400, leads=["I"])
    )
    np.testing.assert_array_equal(corpus[0].signal, read_record(data_dir / "ptbxl" / "00002_lr.csv").signal)


@pytest.mark.parametrize("marks", [("yes", "no"), ("Ja", "Nein"), ("True", "False"), ("1", "0")])
def test_columns_of_yes_and_no_are_marks(marks, tmp_path):
    yes, no = marks
    found = read_label_table(table(tmp_path, f"record,AF,LBBB\nr1,{yes},{no}\nr2,{no},{no}\nr3,{yes},{yes}\n"))
    assert found.label_set.problem_type == "multi_label_classification"
    assert [row.labels for row in found.rows] == [("AF",), (), ("AF", "LBBB")]


@pytest.mark.parametrize("footer", ["Total,40", "SUM:,2", "Mean,AF"])
def test_the_footer_of_a_spreadsheet_is_no_recording(footer, tmp_path):
    with pytest.raises(CorpusError, match=r"row 5: '.*' is the footer of a table, no recording. Delete the row"):
        read_label_table(table(tmp_path, f"record,dx\nr1,AF\nr2,SR\nr3,AF\n{footer}\n"))
