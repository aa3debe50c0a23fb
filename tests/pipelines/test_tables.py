"""Folders to tables: order, resuming, refused files."""

import csv

import numpy as np
import pyarrow.parquet
import pytest

from ecg_transformers.errors import CheckpointError, RecordFileError, SignalError
from ecg_transformers.pipelines import tables
from ecg_transformers.pipelines.tables import checkpoint_hash, write_table
from ecg_transformers.signals.wfdb.read import write_wfdb


@pytest.fixture
def folder(make_record, tmp_path):
    """Seven recordings of 10 to 30 s in two folders, one of them broken."""
    root = tmp_path / "records"
    for number in range(7):
        place = root / ("a" if number < 4 else "b")
        place.mkdir(parents=True, exist_ok=True)
        write_wfdb(make_record(10 * (1 + number % 3), 100, seed=number, name=f"r{number}"), place)
    (root / "a" / "r2.dat").write_bytes(b"\0" * 100)
    return root


NAMES = ["a/r0", "a/r1", "a/r3", "b/r4", "b/r5", "b/r6"]
WINDOWS = [1, 2, 1, 2, 3, 1]


def test_rows_are_in_order_with_window_start_and_hash(embed, folder, tmp_path):
    table = embed.to_table(folder, batch_size=4, output=tmp_path / "embeddings.parquet")
    columns = table.read().to_pydict()
    assert list(columns) == ["record", "window", "start", "checkpoint", "notes", "embedding"]
    assert columns["record"] == [name for name, count in zip(NAMES, WINDOWS, strict=True) for _ in range(count)]
    assert columns["start"] == [10.0 * index for count in WINDOWS for index in range(count)]
    assert set(columns["checkpoint"]) == {checkpoint_hash(embed.model, embed.feature_extractor)}
    last = embed(folder / "b" / "r5.hea", windows=True)
    np.testing.assert_allclose(columns["embedding"][6:9], last, rtol=1e-4, atol=1e-5)


def test_a_broken_file_is_listed_and_loses_no_other(embed, folder, tmp_path):
    table = embed.to_table(folder, output=tmp_path / "embeddings.parquet")
    assert (table.records, table.rows, table.refused) == (7, sum(WINDOWS), 1)
    with open(tmp_path / "embeddings.refused.csv", newline="") as file:
        header, refused = csv.reader(file)
    assert header == ["record", "reason"]
    assert refused[0] == "a/r2"
    assert "r2.dat" in refused[1]
    assert "1 refused" in str(table)


def test_what_is_said_of_files_holds_where_they_do_not_state_it(embed, make_record, tmp_path):
    """Files with unit and rate, with neither, and with another unit; every note is in the table."""
    root = tmp_path / "mixed"
    record = make_record(10, 100, seed=0, name="stated")
    write_wfdb(record, root)
    values = record.signal.astype(np.float64)
    for name, factor, unit in (("bare", 1000, ""), ("millivolts", 1, " (mV)")):
        head = ",".join(f"{lead}{unit}" for lead in record.leads)
        np.savetxt(root / f"{name}.csv", values.T * factor, delimiter=",", header=head, comments="", fmt="%.9g")
    table = embed.to_table(root, tmp_path / "e.parquet", units="uV", sampling_rate=100).read().to_pydict()
    assert table["record"] == ["bare.csv", "millivolts.csv", "stated"]
    first, *others = np.array(table["embedding"])
    np.testing.assert_allclose(others, [first, first], atol=2e-2)
    assert "converted uV -> mV" in table["notes"][0]
    assert "converted" not in table["notes"][1]
    with pytest.raises(RecordFileError, match="states mV"):
        embed(root / "millivolts.csv", units="uV", sampling_rate=100)


def test_one_row_for_each_record(classify, folder, tmp_path):
    table = classify.to_table(folder, output=tmp_path / "labels.csv")
    columns = table.read().to_pydict()
    assert columns["record"] == NAMES
    scores = np.array([columns[f"score_{code}"] for code in classify.codes]).T
    expected = classify([folder / f"{name}.hea" for name in NAMES], as_array=True)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    np.testing.assert_allclose(columns["score"], scores.max(axis=1))
    best = [classify.codes[index] for index in scores.argmax(axis=1)]
    assert columns["label"] == best
    positive = [";".join(code for code, s in zip(classify.codes, row, strict=True) if s >= 0.5) for row in scores]
    assert [value or "" for value in columns["positive"]] == positive


def test_vectors_survive_a_csv_file_to_the_last_digit(embed, folder, tmp_path):
    numbers = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    text = run(embed, folder, tmp_path / "e.csv", rows=lambda vectors: {"embedding": numbers[: len(vectors)]}).read()
    again = np.array([text[f"embedding_{index}"].to_numpy() for index in range(16)], dtype=np.float32).T
    np.testing.assert_array_equal(again, np.concatenate([numbers[:count] for count in WINDOWS]))


class Stopped(Exception):
    """Stands for a kill."""


def run(embed, folder, output, *, rows=lambda vectors: {"embedding": vectors}, **options):
    return write_table(
        embed,
        folder,
        output,
        rows=rows,
        options={"windows": True, **options},
        batch_size=2,
        overwrite=options.pop("overwrite", False),
        progress=False,
        records_per_part=2,
    )


def assert_same_table(found, expected):
    """The same rows; the vectors to rounding, since the network ran twice."""
    assert found.drop_columns("embedding").equals(expected.drop_columns("embedding"))
    vectors = [table["embedding"].to_pylist() for table in (found, expected)]
    np.testing.assert_allclose(*vectors, rtol=1e-5, atol=1e-5)


def test_a_stopped_job_goes_on_and_gives_the_same_table(embed, folder, tmp_path, monkeypatch):
    (folder / "a" / "r2.hea").unlink()
    whole = run(embed, folder, tmp_path / "whole.parquet")
    prepared, output = [], tmp_path / "resumed.parquet"

    def stop_at_the_fifth(item, *args, **kwargs):
        prepared.append(item)
        if len(prepared) == 5:
            raise Stopped
        return prepare(item, *args, **kwargs)

    prepare = tables.prepare_windows
    monkeypatch.setattr(tables, "prepare_windows", stop_at_the_fifth)
    with pytest.raises(Stopped):
        run(embed, folder, output)
    assert not output.exists()
    monkeypatch.setattr(
        tables, "prepare_windows", lambda item, *a, **k: prepared.append(item) or prepare(item, *a, **k)
    )
    prepared.clear()
    resumed = run(embed, folder, output)
    assert len(prepared) == 2  # the two complete parts of two records each were not read again
    assert_same_table(resumed.read(), whole.read())
    assert (resumed.rows, resumed.refused) == (whole.rows, whole.refused)
    assert not list(tmp_path.glob("*.parts"))
    prepared.clear()
    assert run(embed, folder, output) == resumed
    assert not prepared


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_finished_table_is_returned_until_a_file_changes(embed, folder, make_record, tmp_path, monkeypatch, suffix):
    output = tmp_path / f"e.{suffix}"
    prepared, prepare = [], tables.prepare_windows
    monkeypatch.setattr(
        tables, "prepare_windows", lambda item, *a, **k: prepared.append(item.name) or prepare(item, *a, **k)
    )
    assert run(embed, folder, output).refused == 1
    prepared.clear()
    assert run(embed, folder, output).refused == 1  # the part of the refused record is tried again
    assert prepared == ["r3"]
    samples = (folder / "a" / "r3.dat").read_bytes()
    (folder / "a" / "r3.dat").write_bytes(samples[:100])
    assert "a/r3" not in run(embed, folder, output).read()["record"].to_pylist()
    (folder / "a" / "r3.dat").write_bytes(samples)
    write_wfdb(make_record(10, 100, seed=9, name="r2"), folder / "a")
    prepared.clear()
    mended = run(embed, folder, output)
    assert (sorted(prepared), mended.refused, mended.refused_path) == (["r2", "r3"], 0, None)
    assert mended.read()["record"].to_pylist()[3:5] == ["a/r2", "a/r3"]
    assert not list(tmp_path.glob("*.parts"))
    prepared.clear()
    assert run(embed, folder, output) == mended
    assert not prepared
    with pytest.raises(CheckpointError, match=rf"e\.{suffix} is of another job, which differs in options"):
        run(embed, folder, output, pooling="mean")
    write_wfdb(make_record(20, 100, seed=8, name="r2"), folder / "a")
    with pytest.raises(CheckpointError, match=rf"e\.{suffix} is of another job, which differs in files"):
        run(embed, folder, output)


def test_a_csv_that_was_replaced_is_not_taken_for_that_of_the_job(embed, folder, tmp_path):
    (folder / "a" / "r2.hea").unlink()
    run(embed, folder, tmp_path / "e.csv")
    (tmp_path / "e.csv").write_text("record\n")
    with pytest.raises(CheckpointError, match="not known to be this job's"):
        run(embed, folder, tmp_path / "e.csv")


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("writer", ["write_parquet", "write_text"])
def test_a_kill_while_a_part_is_written_loses_no_row(embed, folder, tmp_path, monkeypatch, writer, place):
    """In each part: one with refused records is made again in any case."""
    whole = run(embed, folder, tmp_path / "whole.parquet").read()
    output, written, write = tmp_path / "resumed.parquet", [], getattr(tables, writer)

    def stop_there(*args):
        written.append(args)
        if len(written) == place:
            raise Stopped
        return write(*args)

    monkeypatch.setattr(tables, writer, stop_there)
    with pytest.raises(Stopped):
        run(embed, folder, output)
    monkeypatch.undo()
    assert_same_table(run(embed, folder, output).read(), whole)


def test_another_job_is_not_continued(embed, folder, tmp_path, monkeypatch):
    output = tmp_path / "e.parquet"
    prepare = tables.prepare_windows
    monkeypatch.setattr(tables, "prepare_windows", lambda *a, **k: (_ for _ in ()).throw(Stopped))
    with pytest.raises(Stopped):
        run(embed, folder, output)
    monkeypatch.setattr(tables, "prepare_windows", prepare)
    with pytest.raises(CheckpointError, match="options"):
        run(embed, folder, output, pooling="mean")
    done = embed.to_table(folder, output, pooling="mean", overwrite=True).read()
    assert len(done) == sum(WINDOWS)
    with pytest.raises(CheckpointError, match="overwrite=True"):
        embed.to_table(folder, output)
    assert embed.to_table(folder, output, overwrite=True).read() != done


def test_records_in_memory_and_lists_of_paths(embed, make_record, folder, tmp_path):
    records = [make_record(10, 500, name="x"), make_record(20, 250, name="y")]
    assert embed.to_table(records, tmp_path / "a.parquet").read()["record"].to_pylist() == ["x", "y", "y"]
    paths = [folder / "b" / "r6.hea", folder / "a" / "r0"]
    listed = embed.to_table(paths, tmp_path / "b.parquet", windows=False).read()["record"].to_pylist()
    assert listed == [path.as_posix().removesuffix(".hea") for path in paths]


def test_one_recording_is_a_table_too(embed, folder, tmp_path):
    path = folder / "a" / "r0.hea"
    for source in (path, str(path.with_suffix(""))):
        (tmp_path / "one.csv").unlink(missing_ok=True)
        rows = embed.to_table(source, tmp_path / "one.csv", windows=False).read()
        assert rows["record"].to_pylist() == [path.with_suffix("").as_posix()]


def test_checkpoint_hash_follows_weights_and_preprocessing(embed, classify):
    import copy

    first = checkpoint_hash(embed.model, embed.feature_extractor)
    assert first == checkpoint_hash(embed.model, embed.feature_extractor)
    extractor = copy.copy(embed.feature_extractor)
    extractor.normalization = "record"
    assert checkpoint_hash(embed.model, extractor) != first
    assert checkpoint_hash(classify.model, embed.feature_extractor) != first
    assert len(checkpoint_hash(copy.deepcopy(embed.model).bfloat16(), extractor)) == 16


def test_sources_and_outputs_that_cannot_be_used_are_errors(embed, folder, tmp_path):
    with pytest.raises(SignalError, match=r"\.parquet or \.csv"):
        embed.to_table(folder, tmp_path / "e.xlsx")
    with pytest.raises(RecordFileError, match="no folder"):
        embed.to_table(tmp_path / "nowhere", tmp_path / "e.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordFileError, match="no recording"):
        embed.to_table(tmp_path / "empty", tmp_path / "e.csv")
    with pytest.raises(SignalError, match="length"):
        embed.to_table(iter([]), tmp_path / "e.csv")
    same = [np.ones((12, 1000))] * 2
    twice = [{"signal": one, "sampling_rate": 100, "name": "x"} for one in same]
    with pytest.raises(SignalError, match="0 and 1 of the list have the same name 'x'"):
        embed.to_table(twice, tmp_path / "e.csv")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "x.hea").write_text("nonsense\n")
    with pytest.raises(RecordFileError, match="none of 1 records"):
        embed.to_table(bad, tmp_path / "e.parquet")
    assert (tmp_path / "e.refused.csv").is_file()
    assert not (tmp_path / "e.parquet").exists()


def test_the_table_is_parquet_that_others_read(embed, folder, tmp_path):
    embed.to_table(folder, tmp_path / "e.parquet")
    schema = pyarrow.parquet.read_schema(tmp_path / "e.parquet")
    assert (str(schema.field("embedding").type.value_type), schema.field("embedding").type.list_size) == ("float", 16)


def test_a_table_of_other_recordings_in_memory_is_not_returned(embed, make_record, tmp_path):
    output = tmp_path / "e.parquet"
    first, other = make_record(10, 100, seed=1, name="r"), make_record(10, 100, seed=2, name="r")
    table = embed.to_table([first], output, progress=False)
    assert embed.to_table([first], output, progress=False) == table
    with pytest.raises(CheckpointError, match="files"):
        embed.to_table([other], output, progress=False)
