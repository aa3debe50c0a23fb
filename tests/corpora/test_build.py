"""Building: atomic, resumable after a kill at any point, the same content however it is built."""

import csv
import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from ecg_transformers import files
from ecg_transformers.corpora import build, shard_builder, shards
from ecg_transformers.corpora.build import build_corpus, write_corpus
from ecg_transformers.corpora.checks import corpus_faults, identical_fault
from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.errors import CorpusError, LeadError
from ecg_transformers.signals.record import EcgRecord

from .conftest import made_definition, make_row, read_made, read_with_a_bad_one

QUIET = {"progress": False}


def build_made(source, output, read=read_made, **options):
    return build_corpus(made_definition(read), source, output, **{**QUIET, "shard_bytes": 3000, **options})


def test_content_hash_depends_neither_on_processes_nor_on_shards(tmp_path):
    one = build_made(tmp_path, tmp_path / "one")
    two = build_made(tmp_path, tmp_path / "two", num_proc=2, shard_bytes=800)
    big = build_made(tmp_path, tmp_path / "big", shard_bytes=10**9)
    assert one.hash == two.hash == big.hash
    assert len(list((tmp_path / "two").glob("*.arrow"))) > len(list((tmp_path / "big").glob("*.arrow"))) == 1
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left.signal, right.signal)
    assert one.info["label_counts"] == {"B": 20, "A": 10}


def test_content_hash_changes_with_a_sample_a_label_and_an_id(tmp_path):
    def hash_of(name, **facts):
        return write_corpus([make_row(0, **facts)], tmp_path / name, {"name": "x"}).hash

    hashes = {hash_of("plain"), hash_of("label", labels=("C",)), hash_of("id", record_id=9), hash_of("fold", fold=8)}
    changed = make_row(0)
    changed.signal[1, 5] += 1
    hashes.add(write_corpus([changed], tmp_path / "sample", {"name": "x"}).hash)
    assert len(hashes) == 5
    assert hash_of("notes", notes=["a remark"]) in hashes


def test_a_bad_record_is_listed_and_the_rest_is_built(tmp_path):
    corpus = build_made(tmp_path, tmp_path / "out", read_with_a_bad_one)
    assert len(corpus) == 19
    assert 7 not in corpus.record_ids
    with open(tmp_path / "out" / "refused.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"name": "r007", "file": "7", "reason": "7.dat holds 3 bytes of 400 (an interrupted copy?)"}]


def test_a_reader_that_fails_in_an_unforeseen_way_costs_one_record(tmp_path):
    def read(root, record):
        return make_row(record.record_id) if record.record_id else {}["strange"]

    corpus = build_made(tmp_path, tmp_path / "out", read)
    assert len(corpus) == 19
    assert "KeyError" in (tmp_path / "out" / "refused.csv").read_text()


def test_nothing_is_left_when_every_record_is_refused(tmp_path):
    def read(root, record):
        raise OSError("no disk")

    with pytest.raises(CorpusError, match=r"none of 20 records.*no disk"):
        build_made(tmp_path, tmp_path / "out", read)
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]


def killed_at(place: str, tmp_path) -> None:
    """Builds in this process until it kills itself at a place."""

    def kill(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    read = read_made
    if place == "read":

        def read(root, record):
            return make_row(record.record_id) if record.record_id < 11 else kill()

    elif place == "shard":
        replace = os.replace
        files.os = type(
            "os", (), {**vars(os), "replace": lambda a, b: kill() if "00002.arrow" in str(b) else replace(a, b)}
        )
    elif place == "report":
        write = shard_builder.write_text
        shard_builder.write_text = lambda path, text: kill() if "part-00002" in path.name else write(path, text)
    elif place == "index":
        write_shards_text = shards.write_text
        shards.write_text = lambda path, text: kill() if path.name == "corpus.json" else write_shards_text(path, text)
    else:
        build._publish = kill
    build_made(tmp_path, tmp_path / "out", read)


@pytest.mark.parametrize("place", ["read", "shard", "report", "index", "publish"])
def test_a_killed_build_leaves_no_output_and_goes_on(tmp_path, place):
    child = multiprocessing.get_context("fork").Process(target=killed_at, args=(place, tmp_path))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    with pytest.raises(CorpusError, match="interrupted"):
        load_corpus(tmp_path / "out")
    finished = {path.name: path.stat().st_mtime_ns for path in (tmp_path / ".out.building").glob("part-*.json")}
    assert len(finished) == {"read": 2, "shard": 2, "report": 2}.get(place, 5)

    read_again = []

    def read(root, record):
        read_again.append(record.record_id)
        return make_row(record.record_id)

    corpus = build_made(tmp_path, tmp_path / "out", read)
    assert len(read_again) == 20 - 4 * len(finished)
    assert corpus.hash == build_made(tmp_path, tmp_path / "straight").hash
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "corpus.json",
        "refused.csv",
        "state.json",
        "dataset_info.json",
        *(f"data-{n:05d}.arrow" for n in range(5)),
    }


def slow_read(root, record):
    (root / f"pid-{os.getpid()}").touch()
    time.sleep(0.2)
    return make_row(record.record_id)


def test_readers_do_not_outlive_a_killed_build(tmp_path):
    child = multiprocessing.get_context("fork").Process(
        target=build_made, args=(tmp_path, tmp_path / "out", slow_read), kwargs={"num_proc": 2}
    )
    child.start()
    deadline = time.monotonic() + 30
    while len(pids := [int(path.name[4:]) for path in tmp_path.glob("pid-*")]) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(pids) == 2
    assert not any(is_running(pid) for pid in pids)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_finished_corpus_is_kept_and_another_is_not_overwritten(tmp_path):
    first = build_made(tmp_path, tmp_path / "out")

    def never(root, record):
        raise AssertionError("read again")

    assert build_made(tmp_path, tmp_path / "out", never).hash == first.hash
    other = made_definition(read_made, records=5)
    with pytest.raises(CorpusError, match=r"already holds the corpus 'made'.*overwrite"):
        build_corpus(other, tmp_path, tmp_path / "out", **QUIET)
    assert len(build_corpus(other, tmp_path, tmp_path / "out", overwrite=True, **QUIET)) == 5
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("kept")
    with pytest.raises(CorpusError, match="not a prepared corpus"):
        build_corpus(other, tmp_path, tmp_path / "letters", overwrite=True, **QUIET)


def test_an_unfinished_build_of_other_records_is_dropped(tmp_path, caplog):
    work = tmp_path / ".out.building"
    work.mkdir()
    (work / "plan.json").write_text(json.dumps({"plan": "another", "shards": 1, "shard_bytes": 1}))
    (work / "part-00000.json").write_text("{}")
    assert len(build_made(tmp_path, tmp_path / "out")) == 20
    assert "deleted" in caplog.text


def test_records_in_memory_become_a_float_corpus(tmp_path):
    records = [
        EcgRecord(
            np.full((1, 50), n / 4),
            250,
            ["II"],
            name=f"n{n}",
            patient_id=str(n),
            age=40 + n,
            labels=("SR",),
            notes=["x"],
        )
        for n in range(3)
    ]
    corpus = write_corpus(records, tmp_path / "out", {"name": "mine"}, shard_records=2)
    assert corpus.info["storage"] == "float32"
    np.testing.assert_array_equal(corpus.patient_ids, [0, 1, 2])
    assert repr(corpus[2]) == "EcgRecord(n2, 1 lead, 0.2 s at 250 Hz, mV; notes: x)"
    np.testing.assert_array_equal(corpus[2].signal, records[2].signal)
    assert corpus.label_matrix().codes == ("SR",)


def test_doubled_ids_and_mixed_storage_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="1 different record ids"):
        write_corpus([make_row(0), make_row(0)], tmp_path / "ids", {"name": "x"})
    floating = make_row(1)
    floating.signal = floating.signal.astype(np.float32)
    with pytest.raises(CorpusError, match="stores int16"):
        write_corpus([make_row(0), floating], tmp_path / "mixed", {"name": "x"})
    assert not (tmp_path / "ids").exists()
    assert not (tmp_path / "mixed").exists()


def test_a_dead_reading_process_is_an_error_that_says_how_to_go_on(tmp_path):
    def read(root, record):
        if record.record_id == 10:
            os.kill(os.getpid(), signal.SIGKILL)
        return make_row(record.record_id)

    with pytest.raises(CorpusError, match="Run the same command again"):
        build_made(tmp_path, tmp_path / "out", read, num_proc=2)


def test_records_of_the_same_samples_are_named(tmp_path):
    def read(root, record):
        row = make_row(record.record_id)
        if record.record_id in (4, 9):
            row.signal = make_row(2).signal
        return row

    corpus = build_made(tmp_path, tmp_path / "out", read)
    assert corpus.info["identical_records"] == {"records": 2, "pairs": [["r002", "r004"], ["r002", "r009"]]}
    (fault,) = [line for line in corpus_faults(corpus) if "same samples" in line]
    assert "2 records have the same samples as another one (r004 = r002, r009 = r002)" in fault
    assert "count twice" in fault
    assert identical_fault(build_made(tmp_path, tmp_path / "other")) is None


def test_rows_without_signal_or_in_another_unit_are_refused(tmp_path):
    def read(root, record):
        row = make_row(record.record_id)
        if record.record_id == 3:
            row.signal[:] = 7
        if record.record_id == 5:
            row.gain = row.gain / 1000
        return row

    definition = made_definition(read)
    corpus = build_corpus(definition, tmp_path, tmp_path / "out", progress=False)
    assert corpus.names == [f"r{k:03d}" for k in range(20) if k not in (3, 5)]
    reasons = {row["name"]: row["reason"] for row in corpus.refused}
    assert "no signal in any lead" in reasons["r003"]
    assert "units='uV'?" in reasons["r005"]
    assert 3.5 < corpus.info["median_amplitude"] < 4.0
    every = build_corpus(definition, tmp_path, tmp_path / "all", implausible_amplitude="accept", progress=False)
    assert len(every) == 19
    with pytest.raises(CorpusError, match="other records or options"):
        build_corpus(definition, tmp_path, tmp_path / "out", implausible_amplitude="accept", progress=False)


def test_quiet_parts_of_a_recording_are_kept_and_dead_ones_listed(tmp_path):
    def read(root, record):
        row = make_row(record.record_id)
        row.signal[:, 50:100] = row.signal[:, 50:100] // 1000
        row.signal[:, 100:150] = 5
        return [row.part(start, start + 50) for start in (0, 50, 100, 150)]

    corpus = build_corpus(made_definition(read, records=2), tmp_path, tmp_path / "out", progress=False)
    assert corpus.names == ["r000_0", "r000_50", "r000_150", "r001_0", "r001_50", "r001_150"]
    assert [row["name"] for row in corpus.refused] == ["r000_100", "r001_100"]


def test_a_doubled_lead_is_refused():
    with pytest.raises(LeadError, match="twice"):
        make_row(1, leads=("I", "lead I"))
