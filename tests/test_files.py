"""Several files that take their places together."""

import os

import pytest

from ecg_transformers import files


def write(folder, **options):
    with files.replace_files(folder, **options) as unfinished:
        for name in ("r.hea", "r.dat", "r.txt"):
            (unfinished / name).write_text("new")


def test_files_take_their_places_the_named_one_last_and_others_stay(tmp_path, monkeypatch):
    moved = []
    replace = os.replace
    monkeypatch.setattr(files.os, "replace", lambda file, target: (moved.append(target.name), replace(file, target)))
    folder = tmp_path / "new" / "records"
    write(folder, last=".hea")
    assert moved == ["r.dat", "r.txt", "r.hea"]
    (folder / "other").write_text("kept")
    (folder / "r.dat").write_text("old")
    write(folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "r.hea": "new", "r.dat": "new", "r.txt": "new", "other": "kept",
    }  # fmt: skip


def write_half(folder):
    with files.replace_files(folder) as unfinished:
        (unfinished / "r.dat").write_text("half")
        raise RuntimeError


def test_nothing_takes_its_place_after_an_error(tmp_path):
    (tmp_path / "r.dat").write_text("old")
    with pytest.raises(RuntimeError):
        write_half(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["r.dat"]
    assert (tmp_path / "r.dat").read_text() == "old"
