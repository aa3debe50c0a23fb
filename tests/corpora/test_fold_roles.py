"""Roles of folds: stated once per corpus, and read by protocol, screen and card."""

import json
import shutil
from pathlib import Path

import pytest

from ecg_transformers.corpora import CORPORA, corpus_definition, official_fold_roles
from ecg_transformers.corpora.build import build_corpus, write_corpus
from ecg_transformers.corpora.fold_roles import FoldRoles, default_fold_roles, describe_folds
from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.corpora.protocol import chosen_folds
from ecg_transformers.errors import CorpusError

from .conftest import made_definition, make_row, read_made

VERSION_1 = Path(__file__).parent / "data" / "version_1"


def corpus_with_folds(tmp_path, *folds, name="x", **options):
    rows = [make_row(number, fold=fold, patient_id=number) for number, fold in enumerate(folds)]
    return write_corpus(rows, tmp_path / name, {"name": name}, **options)


def test_mitdb_trains_on_ds1_tests_on_ds2_and_paced_records_have_no_role(data_dir, tmp_path):
    corpus = build_corpus(corpus_definition("mitdb"), data_dir / "mitdb", tmp_path / "mitdb", progress=False)
    assert corpus.fold_roles == FoldRoles(train=(1,), test=(2,))
    assert corpus.describe_folds([2]) == "test (fold 2)"
    assert corpus.describe_folds([3]) == "fold 3"
    assert chosen_folds(corpus) == ((1,), (2,))
    assert corpus.in_role("test").tolist() == [True]
    assert json.loads((tmp_path / "mitdb" / "corpus.json").read_text())["fold_roles"] == {
        "train": [1],
        "validation": [],
        "test": [2],
    }


def test_ptbxl_and_cinc2017_have_their_published_roles():
    assert official_fold_roles("ptbxl") == FoldRoles(tuple(range(1, 9)), (9,), (10,))
    assert official_fold_roles("cinc2017") == FoldRoles((1,), (2,))
    assert official_fold_roles("georgia") is None
    assert official_fold_roles("folder") is None
    assert {name for name in CORPORA if official_fold_roles(name)} == {"ptbxl", "mitdb", "mitdb_beats", "cinc2017"}


@pytest.mark.parametrize(
    ("folds", "roles"),
    [
        ((1, 2, 3, 4), FoldRoles((1, 2), (3,), (4,))),
        ((7, 3), FoldRoles((3,), (7,))),
        ((2, 2), None),
        ((-1, -1), None),
    ],
)
def test_folds_of_an_own_table_have_the_documented_roles(tmp_path, folds, roles):
    corpus = corpus_with_folds(tmp_path, *folds)
    assert corpus.fold_roles == roles == default_fold_roles(folds)
    assert corpus.info["fold_roles"] == (None if roles is None else roles.to_dict())


def test_roles_that_are_named_are_kept(tmp_path):
    roles = FoldRoles(train=(2,), validation=(1,))
    corpus = corpus_with_folds(tmp_path, 1, 2, 3, fold_roles=roles)
    assert load_corpus(corpus.path).fold_roles == roles
    assert chosen_folds(corpus) == ((2,), (1,))


def test_a_corpus_without_folds_has_no_roles_and_says_so(tmp_path):
    corpus = build_corpus(made_definition(read_made), tmp_path, tmp_path / "folds", progress=False)
    assert corpus.fold_roles == FoldRoles((1,), (2,), (3,))
    corpus = corpus_with_folds(tmp_path, -1, -1)
    assert not corpus.in_role("train").any()
    assert corpus.describe_folds([-1]) == "fold -1"
    with pytest.raises(CorpusError, match="0 folds and none to report"):
        chosen_folds(corpus)


def test_a_corpus_prepared_before_roles_were_saved_has_those_of_its_name(tmp_path):
    assert load_corpus(VERSION_1).fold_roles == FoldRoles((1,), (2,), (3,))
    copy = tmp_path / "ptbxl"
    shutil.copytree(VERSION_1, copy)
    info = json.loads((copy / "corpus.json").read_text())
    (copy / "corpus.json").write_text(json.dumps(info | {"name": "ptbxl"}))
    corpus = load_corpus(copy)
    assert corpus.fold_roles == official_fold_roles("ptbxl")
    assert corpus.describe_folds([3]) == "fold 3"


def test_a_validation_score_never_looks_like_a_test_score():
    roles = FoldRoles((1, 2), (3,), (4, 5))
    assert describe_folds([4], roles) == "test (fold 4)"
    assert describe_folds([5, 4], roles) == "test (folds 5, 4)"
    assert describe_folds([3, 4], roles) == "folds 3, 4"
    assert describe_folds([2], roles) == "fold 2"
    assert describe_folds([3], None) == "fold 3"
    with pytest.raises(CorpusError, match="one role per fold"):
        FoldRoles((1, 2), (2,))
