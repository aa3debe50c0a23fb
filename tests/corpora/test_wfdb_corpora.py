"""MIT-BIH, the Challenge's sources and CinC 2017 from small trees of real and made records."""

import shutil

import numpy as np
import pytest

from ecg_transformers.corpora import CORPORA, corpus_definition
from ecg_transformers.corpora.build import build_corpus
from ecg_transformers.corpora.sources.mitdb import DS1, DS2, PACED
from ecg_transformers.errors import CorpusError


def built(name, source, tmp_path, **options):
    return build_corpus(corpus_definition(name), source, tmp_path / "prepared" / name, progress=False, **options)


def write_mat_record(folder, name, signal, *, gain="1000/mV", rate=500, extra="", leads=("I", "II")):
    """A record in the Challenge's form: MATLAB level 4, 16-bit, leads fastest."""
    folder.mkdir(parents=True, exist_ok=True)
    count, samples = signal.shape
    # Level-4 header: type 30 (int16), rows, columns, real, length of the name "val".
    head = np.array([30, count, samples, 0, 4], "<i4").tobytes() + b"val\0"
    (folder / f"{name}.mat").write_bytes(head + signal.T.astype("<i2").tobytes())
    lines = [f"{name} {count} {rate} {samples} 12-May-2020 12:33:59"]
    for row, lead in zip(signal.astype(np.int16), leads, strict=True):
        checksum = int(row.sum(dtype=np.int16))
        lines.append(f"{name}.mat 16+24 {gain} 16 0 {row[0]} {checksum} 0 {lead}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n" + extra)


@pytest.fixture
def waves():
    time = np.arange(1000) / 500
    return np.rint(1000 * np.stack([np.sin(2 * np.pi * time), np.cos(2 * np.pi * time)])).astype(np.int16)


def test_mitdb_keeps_beats_patients_and_the_division_of_de_chazal(data_dir, tmp_path):
    corpus = built("mitdb", data_dir / "mitdb", tmp_path)
    record = corpus[0]
    assert (record.name, record.leads, record.sampling_rate) == ("100", ("MLII", "V5"), 360)
    assert corpus.folds.tolist() == [2]
    assert record.patient_id == 100
    assert record.require_annotations().symbols[:3] == ["+", "N", "N"]
    assert corpus.info["annotations"] == len(record.annotations)
    assert not corpus.info["label_sets"]
    assert len(DS1) == len(DS2) == 22
    assert len({*DS1, *DS2, *PACED}) == 48


def test_mitdb_without_its_beats_is_noted(data_dir, tmp_path):
    for name in ("100.hea", "100.dat"):
        shutil.copy(data_dir / "mitdb" / name, tmp_path)
    record = built("mitdb", tmp_path, tmp_path)[0]
    assert record.annotations is None
    assert any("100.atr" in note for note in record.notes)


def test_a_challenge_source_has_labels_ages_and_scored_classes(data_dir, tmp_path):
    corpus = built("georgia", data_dir / "georgia", tmp_path)
    assert corpus.names == ["E03823"]
    assert corpus.record_ids.tolist() == [3823]
    assert corpus.info["label_system"] == "snomed-ct"
    assert len(corpus.label_matrix("scored").codes) == 26
    assert corpus.info["expected"] == {"records": 10344}
    assert corpus.label_matrix().codes == tuple(sorted(corpus.labels[0], key=lambda code: (len(code), code)))


def test_the_trees_of_the_challenge_are_found_at_every_depth(tmp_path, waves):
    for number, tree in enumerate(
        ["a/training/cpsc_2018/g1", "b/challenge-2021-1.0.3/training/cpsc_2018/g1", "c/cpsc_2018", "d"]
    ):
        extra = "#Age: 74\n#Sex: Male\n#Dx: 59118001\n"
        write_mat_record(tmp_path / tree, "A0001", waves, extra=extra)
        corpus = built("cpsc2018", tmp_path / tree.split("/")[0], tmp_path / str(number))
        assert (corpus[0].labels, corpus[0].age, corpus[0].sex) == (("59118001",), 74, "male")
    with pytest.raises(CorpusError, match=r"not the tree of ningbo: looked for .* training/ningbo"):
        built("ningbo", tmp_path / "d", tmp_path)
    with pytest.raises(CorpusError, match="not a folder"):
        built("ningbo", tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize(
    ("corpus", "name", "stated", "true"),
    [("georgia", "E00009", 4880, 1000), ("incart", "I0001", 306000, 306), ("ptbxl_cinc", "HR00599", 200, 1000)],
)
def test_known_wrong_gains_are_corrected_and_noted(tmp_path, waves, corpus, name, stated, true):
    write_mat_record(tmp_path / "tree", name, waves, gain=f"{stated}/mV")
    record = built(corpus, tmp_path / "tree", tmp_path)[0]
    np.testing.assert_allclose(record.signal, waves / np.float32(true), rtol=1e-6)
    assert any(f"{stated}/mV" in note and f"{true}/mV" in note for note in record.notes)


def test_cinc2017_takes_classes_from_the_newest_reference_and_doubles_once(tmp_path, waves):
    for folder, names in (("training/A00", ("A00001", "A00002", "A00003")), ("validation", ("A00002",))):
        for name in names:
            write_mat_record(tmp_path / "tree" / folder, name, waves[:1], rate=300, leads=("ECG",))
    (tmp_path / "tree" / "training" / "REFERENCE.csv").write_text("A00001,N\nA00002,A\n")
    (tmp_path / "tree" / "REFERENCE-v3.csv").write_text("A00001,O\n")
    (tmp_path / "tree" / "validation" / "REFERENCE.csv").write_text("A00002,~\n")
    corpus = built("cinc2017", tmp_path / "tree", tmp_path)
    assert corpus.names == ["A00001", "A00002", "A00003"]
    assert corpus.folds.tolist() == [1, 2, 1]
    assert corpus.labels == [["N"], ["~"], []]
    matrix = corpus.label_matrix()
    assert matrix.codes == ("N", "A", "O", "~")
    assert matrix.problem_type == "single_label_classification"
    assert any("not in the reference" in note for note in corpus[2].notes)
    (tmp_path / "tree" / "validation" / "REFERENCE.csv").write_text("A00002,X\n")
    with pytest.raises(CorpusError, match="classes X; expected N, A, O, ~"):
        built("cinc2017", tmp_path / "tree", tmp_path / "again")


def test_every_corpus_states_who_made_it_and_under_which_license():
    for name in CORPORA:
        definition = corpus_definition(name)
        assert definition.name == name
        assert definition.expected["records"] > 0
        assert definition.physionet is not None
        assert all((definition.title, definition.version, definition.license, definition.homepage, definition.citation))
    with pytest.raises(CorpusError, match="Did you mean 'georgia'"):
        corpus_definition("georgai")
