"""The whole command `training/prepare.py`: help, official trees, own tables, synthetic, killed and given again."""

import runpy
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ecg_transformers.corpora.prepared import load_corpus

from ..conftest import ROOT
from ..conftest import script as module_of

SCRIPT = ROOT / "training" / "prepare.py"


@pytest.fixture(scope="module")
def script():
    return module_of("prepare")


def test_help_names_every_corpus_and_option(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--help"])
    text = capsys.readouterr().out
    for word in (
        "ptbxl",
        "mitdb",
        "cinc2017",
        "incart",
        "folder",
        "synthetic",
        "--num_proc",
        "--download",
        "--table",
        "refused.csv",
        "[error|mask ...]",
        "[NUMBER ...]",
    ):
        assert word in text


def test_a_part_of_the_official_corpus_is_reported_as_a_part(script, data_dir, tmp_path, capsys):
    script.main(["mitdb", "--source", str(data_dir / "mitdb"), "--output", str(tmp_path / "out"), "--no_progress"])
    text = capsys.readouterr().out
    assert "1 of 48 official  <- a part" in text
    assert "a part of the official corpus: state this with every result" in text
    assert "roles        train 1; test 2" in text
    assert load_corpus(tmp_path / "out").hash in text


def test_an_own_table_says_its_kind_and_its_counts(script, data_dir, tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("record,patient,AFIB,NORM\n00001_lr,a,0,1\n00152_lr,b,1,0\nmissing,b,1,0\n")
    words = ["folder", "--source", data_dir / "ptbxl", "--table", tmp_path / "labels.csv", "--output", tmp_path / "out"]
    corpus = script.main([*map(str, words), "--num_proc", "2", "--no_progress"])
    text = capsys.readouterr().out
    assert "labels: multi-label, 2 in the order of the columns (AFIB 2, NORM 1); 3 records, 2 patients" in text
    assert "refused" in text
    assert corpus.label_matrix().values.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ptb-xl", "--source", "."], "no corpus 'ptb-xl'.*Did you mean 'ptbxl'"),
        (["ptbxl"], "--source is missing"),
        (["georgia", "--source", ".", "--table", "x.csv"], "belong to the corpus 'folder'"),
        (["synthetic", "--records", "2"], "at least 10"),
        (["synthetic", "--records", "20", "--num_proc", "0"], "num_proc is 0"),
    ],
)
def test_mistakes_are_named(script, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        script.main([*words, "--output", str(tmp_path / "out")])


def test_a_wrong_tree_ends_with_one_line(tmp_path, monkeypatch):
    words = ["ptbxl", "--source", str(tmp_path), "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["prepare.py", *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert str(ended.value).startswith("prepare.py: CorpusError: ")
    assert "looked for ptbxl_database.csv" in str(ended.value)
    assert "\n" not in str(ended.value)


def test_a_killed_command_goes_on_when_it_is_given_again(script, tmp_path, caplog):
    caplog.set_level("INFO")
    words = [
        "synthetic",
        "--records",
        "400",
        "--sampling_rate",
        "500",
        "--output",
        str(tmp_path / "out"),
        "--no_progress",
    ]
    process = subprocess.Popen([sys.executable, str(SCRIPT), *words], stderr=subprocess.PIPE, text=True)
    work = tmp_path / ".out.building"
    deadline = time.monotonic() + 120
    while not list(work.glob("part-*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    process.stderr.close()
    assert [path.name for path in work.glob("part-*.json")] == ["part-00000.json"]
    assert not (tmp_path / "out").exists()
    corpus = script.main(words)
    assert "resuming an unfinished build: 1 of 2 shards are done" in caplog.text
    assert len(corpus) == 400
    assert np.unique(corpus.record_ids).size == 400


def test_a_folder_of_mixed_files_lists_what_is_refused_in_words_of_the_script(script, data_dir, tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    signal = np.random.default_rng(0).normal(scale=0.3, size=(500, 2))
    np.savetxt(source / "a.csv", 1000 * signal, delimiter=",", header="I,II", comments="")
    np.savetxt(source / "b.csv", signal, delimiter=",", header="I (mV),II (mV)", comments="")
    (source / "c.csv").write_text("hello\nworld\n")
    words = ["folder", "--source", str(source), "--no_progress", "--output"]
    corpus = script.main([*words, str(tmp_path / "out"), "--read_units", "uV", "--read_sampling_rate", "100"])
    text = capsys.readouterr().out
    np.testing.assert_allclose(corpus[0].signal, corpus[1].signal, atol=1e-5)
    assert text.rstrip().endswith(f"refused: 1 of 3 records; all reasons are in {tmp_path}/out/refused.csv")
    assert "c: " in text
    script.main([*words, str(tmp_path / "again"), "--read_sampling_rate", "100"])
    assert "Set --read_units" in capsys.readouterr().out


def test_the_exit_status_tells_that_half_is_refused(tmp_path, monkeypatch):
    np.savetxt(tmp_path / "a.csv", np.random.default_rng(0).normal(size=(500, 1)), header="I (mV)", comments="")
    (tmp_path / "b.csv").write_text("hello\nworld\n")
    words = ["folder", "--source", str(tmp_path), "--output", str(tmp_path / "out"), "--no_progress"]
    monkeypatch.setattr(sys, "argv", ["prepare.py", *words, "--read_sampling_rate", "100"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert str(ended.value) == "prepare.py: half of the records or more were refused"


@pytest.mark.parametrize(("factor", "words"), [(1.0, None), (4.88, "times too small"), (0.1, "times too large")])
def test_a_corpus_with_a_wrong_gain_is_noticed(script, data_dir, tmp_path, capsys, factor, words):
    shutil.copy(data_dir / "ptbxl" / "00001_lr.dat", tmp_path)
    header = (data_dir / "ptbxl" / "00001_lr.hea").read_text().replace("1000.0(0)/mV", f"{1000 * factor:g}(0)/mV")
    (tmp_path / "00001_lr.hea").write_text(header)
    script.main(["folder", "--source", str(tmp_path), "--output", str(tmp_path / "out"), "--no_progress"])
    text = capsys.readouterr().out
    assert "amplitude" in text
    assert (words in text) if words else ("the whole corpus looks" not in text)
