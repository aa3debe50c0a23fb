import pytest

import ecg_transformers.signals.formats.readers as readers
from ecg_transformers.signals.formats.folders import count_other_files, find_recordings, record_files
from ecg_transformers.signals.formats.readers import register_reader

NUMBERS = "".join(f"{k}.5\t{k}.25\n" for k in range(20))
PROSE = "These are the recordings of 2024\n\n12 leads each\nand 3 more words\n"


def names(folder):
    return [path.relative_to(folder).as_posix() for path in find_recordings(folder)]


def test_recordings_are_found_once(tmp_path):
    for name in ("b.hea", "b.dat", "b.mat", "c.mat", "a.CSV", ".hidden.csv", "e.refused.csv", "notes.txt"):
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a.CSV", "b.hea", "c.mat"]


def test_the_files_of_a_recording_are_its_own_and_those_of_its_header(tmp_path):
    for name in ("b.hea", "b.dat", "b.atr", "b.csv", "c.mat"):
        (tmp_path / name).touch()
    found = {name: [path.name for path in record_files(tmp_path / name)] for name in ("b.hea", "b", "b.csv", "c.mat")}
    assert found["b.hea"] == found["b"] == ["b.hea", "b.dat", "b.atr"]
    assert (found["b.csv"], found["c.mat"]) == (["b.csv"], ["c.mat"])
    assert record_files(tmp_path / "absent.hea") == []


@pytest.mark.parametrize("text", [NUMBERS, "# rate: 100\nI\tII\n" + NUMBERS, "I 1 2 3 4 5 6 7 8 9 10\nII" + " 2" * 10])
def test_text_with_rows_of_numbers_is_a_recording(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "README.txt").write_text(PROSE)
    assert names(tmp_path) == ["a.txt"]


def test_a_prepared_corpus_in_the_folder_holds_no_recordings(tmp_path):
    (tmp_path / "out" / "more").mkdir(parents=True)
    for name in ("r.csv", "out/corpus.json", "out/refused.csv", "out/more/x.csv", "out.csv"):
        (tmp_path / name).touch()
    assert names(tmp_path) == ["out.csv", "r.csv"]


def test_files_for_which_a_reader_was_added_are_recordings(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_READERS", list(readers._READERS))
    (tmp_path / "a.own").write_text("OWN 1 2 3")
    (tmp_path / "b.own").write_text("other")
    assert names(tmp_path) == []
    register_reader("own", lambda path, head: head.startswith(b"OWN"), lambda path: None)
    assert names(tmp_path) == ["a.own"]


def test_other_files_are_counted_by_kind(tmp_path):
    for name in ("a.hea", "a.dat", "a.atr", "b.csv", "c.ekg", "d.ekg", "RECORDS"):
        (tmp_path / name).touch()
    (tmp_path / "README.txt").write_text(PROSE)
    assert count_other_files(tmp_path, find_recordings(tmp_path)) == {".ekg": 2, ".txt": 1, "RECORDS": 1}
