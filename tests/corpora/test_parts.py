"""Rows that are parts of recordings: one source gives many rows, and everything else works on them unchanged."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from ecg_transformers.corpora import build as build_module
from ecg_transformers.corpora import shard_builder
from ecg_transformers.corpora.build import build_corpus, write_corpus
from ecg_transformers.corpora.definition import CorpusDefinition, LabelSet, RecordSource
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.corpora.patients import count_patients, patient_groups, source_ids
from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.corpora.splits import check_disjoint, nested_fraction, split_by_patient, split_off_patients
from ecg_transformers.errors import CorpusError
from ecg_transformers.metrics.bootstrap import resample_weights
from ecg_transformers.objectives.sources import source_numbers
from ecg_transformers.signals.record import Annotations
from ecg_transformers.trainer import WindowDataset

RECORDINGS = 12
BEATS = 5


def recording(number: int, *, known_patients: bool = True) -> CorpusRecord:
    """60 s of two leads with a mark every 10 s; two recordings per patient where patients are known."""
    generator = np.random.default_rng(number)
    return CorpusRecord(
        generator.integers(-2000, 2000, (2, 3000)).astype(np.int16), 50, ("I", "II"), np.full(2, 1000.0), np.zeros(2),
        record_id=number, name=f"r{number}", patient_id=number // 2 if known_patients else -1,
        annotations=Annotations(np.arange(250, 3000, 500), list("NVNVNV")),
    )  # fmt: skip


def read_beats(root, record: RecordSource) -> list[CorpusRecord]:
    """100 samples around each mark but the last one."""
    row = recording(record.record_id, known_patients=record.patient_id >= 0)
    marks = row.annotations
    found = zip(marks.samples[:-1], marks.symbols, strict=False)
    return [row.part(int(sample) - 40, int(sample) + 60, labels=(symbol,)) for sample, symbol in found]


def beats_definition(read=read_beats, *, known_patients: bool = True) -> CorpusDefinition:
    """A made corpus of beats: one source, many rows."""
    sources = [
        RecordSource(f"{n}", f"r{n}", n, patient_id=n // 2 if known_patients else -1, size=12_000)
        for n in range(RECORDINGS)
    ]
    return CorpusDefinition(
        "beats", "made beats", "1", "", "", "", "own", lambda source, rate: (source, sources), read,
        lambda codes: {"all": LabelSet(("N", "V"), ("normal", "ventricular"), "own")}, native_rates=(50,),
    )  # fmt: skip


def build_beats(source, output, read=read_beats, known_patients=True, **options):
    options = {"progress": False, "shard_bytes": 30_000, **options}
    return build_corpus(beats_definition(read, known_patients=known_patients), source, output, **options)


@pytest.fixture(scope="module")
def beats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return build_beats(folder, folder / "beats")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """The same beats of unknown patients."""
    folder = tmp_path_factory.mktemp("parts")
    return build_beats(folder, folder / "strangers", known_patients=False)


def test_one_source_gives_many_rows_that_know_their_recording(beats):
    assert len(beats) == RECORDINGS * BEATS
    assert (beats.info["records"], beats.info["recordings"], beats.info["patients"]) == (60, 12, 6)
    assert beats.info["format_version"] == 2
    np.testing.assert_array_equal(beats.parent_ids, np.repeat(np.arange(RECORDINGS), BEATS))
    assert beats.starts[:BEATS].tolist() == [210, 710, 1210, 1710, 2210]
    assert len(set(beats.record_ids.tolist())) == len(beats)
    assert beats.record_ids.min() >= 0
    row = beats[7]
    whole = recording(1)
    assert row.name == "r1_1210"
    np.testing.assert_array_equal(row.signal, whole.in_millivolts()[:, 1210:1310])
    assert row.require_annotations().samples.tolist() == [40]
    assert beats.label_matrix().values[:3].tolist() == [[1, 0], [0, 1], [1, 0]]
    assert load_corpus(beats.dataset).hash == beats.hash


def test_content_depends_neither_on_processes_nor_on_shards(beats, tmp_path):
    two = build_beats(tmp_path, tmp_path / "two", num_proc=2, shard_bytes=12_000)
    big = build_beats(tmp_path, tmp_path / "big", shard_bytes=10**9)
    assert two.hash == big.hash == beats.hash
    np.testing.assert_array_equal(two.record_ids, beats.record_ids)
    assert len(list(big.path.glob("*.arrow"))) == 1 < len(list(two.path.glob("*.arrow")))


def test_parent_and_start_enter_the_hash(tmp_path):
    row = recording(3)
    part = row.part(100, 200)
    hashes = {
        write_corpus([part], tmp_path / "part", {"name": "x"}).hash,
        write_corpus([CorpusRecord(**(vars(part) | {"start": 101}))], tmp_path / "start", {"name": "x"}).hash,
        write_corpus([CorpusRecord(**(vars(part) | {"parent_id": 4}))], tmp_path / "parent", {"name": "x"}).hash,
    }
    assert len(hashes) == 3


def killed_at(place: str, tmp_path) -> None:
    """Builds in this process until it kills itself at a place."""

    def kill(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    read = read_beats
    if place == "read":

        def read(root, record):
            return read_beats(root, record) if record.record_id < 8 else kill()

    elif place == "report":
        write = shard_builder.write_text
        shard_builder.write_text = lambda path, text: kill() if "part-00002" in path.name else write(path, text)
    else:
        build_module._publish = kill
    build_beats(tmp_path, tmp_path / "out", read)


@pytest.mark.parametrize(("place", "shards"), [("read", 2), ("report", 2), ("publish", 4)])
def test_a_killed_build_resumes_with_the_same_content(tmp_path, beats, place, shards):
    child = multiprocessing.get_context("fork").Process(target=killed_at, args=(place, tmp_path))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / ".out.building").glob("part-*.json"))) == shards
    again = []

    def read(root, record):
        again.append(record.record_id)
        return read_beats(root, record)

    corpus = build_beats(tmp_path, tmp_path / "out", read)
    assert corpus.hash == beats.hash
    assert again == list(range(3 * shards, RECORDINGS))
    assert corpus.info["recordings"] == RECORDINGS


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda row: [], "found no part"),
        (lambda row: [row.part(0, 10), row.part(0, 20)], "an id of its own"),
        (lambda row: [row.part(0, 10), row], "not parts of record"),
        (lambda row: [row.part(0, 10), recording(99).part(5, 10)], "not parts of record"),
        (lambda row: [row.part(2990, 3010)], "a part of its 3000"),
    ],
)
def test_a_source_whose_rows_are_not_its_parts_is_refused_whole(tmp_path, made, reason):
    def read(root, record):
        return made(recording(record.record_id)) if record.record_id == 4 else read_beats(root, record)

    corpus = build_beats(tmp_path, tmp_path / "out", read)
    assert len(corpus) == (RECORDINGS - 1) * BEATS
    assert 4 not in corpus.parent_ids
    assert reason in (tmp_path / "out" / "refused.csv").read_text()


def test_a_build_begun_in_the_earlier_format_is_not_resumed(tmp_path, beats):
    child = multiprocessing.get_context("fork").Process(target=killed_at, args=("publish", tmp_path))
    child.start()
    child.join(60)
    plan = tmp_path / ".out.building" / "plan.json"
    state = json.loads(plan.read_text())
    assert state.pop("format_version") == 2
    plan.write_text(json.dumps(state))
    assert build_beats(tmp_path, tmp_path / "out").hash == beats.hash


def test_resampled_parts_keep_their_ids_and_move_their_start(tmp_path, beats):
    faster = build_beats(tmp_path, tmp_path / "out", sampling_rate=100)
    np.testing.assert_array_equal(faster.record_ids, beats.record_ids)
    np.testing.assert_array_equal(faster.starts, 2 * beats.starts)
    assert faster[0].signal.shape == (2, 200)


@pytest.mark.parametrize("name", ["beats", "strangers"])
def test_rows_of_one_recording_are_never_on_both_sides_of_a_split(request, name):
    corpus = request.getfixturevalue(name)
    fold = split_by_patient(corpus, 3, stratify=corpus.label_matrix().values, seed=1)
    small, (train, validation) = nested_fraction(corpus, 0.4, seed=2), split_off_patients(corpus, 0.2)
    masks = [*(fold == number for number in range(3)), np.isin(corpus.record_ids, small.record_ids)]
    masks.append(np.isin(corpus.record_ids, validation.record_ids))
    assert 0 < len(small) < len(corpus)
    for mask in masks:
        assert not set(corpus.parent_ids[mask]) & set(corpus.parent_ids[~mask])
    check_disjoint({"train": train, "validation": validation})
    with pytest.raises(CorpusError, match="1 patients are both"):
        check_disjoint({"train": corpus.select([0, 7]), "test": corpus.select([1])})


def test_the_patient_bootstrap_draws_whole_recordings_of_unknown_patients(strangers):
    assert count_patients(strangers.patient_ids) == RECORDINGS
    assert strangers.info["patients"] == 0
    (weights,) = resample_weights(len(strangers), 20, patient_ids=strangers.patient_ids)
    by_recording = weights.reshape(RECORDINGS, BEATS, 20)
    assert (by_recording == by_recording[:, :1]).all()
    assert (by_recording[:, 0].sum(axis=0) == RECORDINGS).all()
    assert strangers[0].patient_id is None


def test_parts_share_a_source_and_whole_recordings_of_strangers_do_not(strangers):
    ids = strangers.source_ids
    assert len(set(ids.tolist())) == RECORDINGS
    torch_ids = [torch.as_tensor(values) for values in (strangers.patient_ids, strangers.record_ids)]
    assert source_numbers(*torch_ids).tolist() == ids.tolist()
    # The whole recording and its parts are of one source, another recording is not.
    patients, records = np.array([-1, -2 - 7, -1]), np.array([7, 123_456, 8])
    assert source_ids(patients, records).tolist() == [-9, -9, -10]
    assert patient_groups(np.array([5, -1, -9, 5, -1, -9])).tolist() == [1, 2, 0, 1, 3, 0]


def test_windows_of_parts_name_their_recording(strangers, extractor):
    extractor.lead_names = ["I", "II"]
    data = WindowDataset(strangers, extractor)
    batch = data.__getitems__([0, 4, 5])
    assert batch["patient_ids"].tolist() == [-2, -2, -3]
    assert batch["input_values"].shape == (3, 2, 100)
    wanted = extractor([strangers[0], strangers[4], strangers[5]], return_tensors="pt")["input_values"]
    torch.testing.assert_close(batch["input_values"], wanted, rtol=0, atol=2e-6)
