"""Label systems: the tables fit together, the published sets have their sizes, translations say what is lost."""

import csv

import numpy as np
import pytest

from ecg_transformers.corpora.definition import LabelSet
from ecg_transformers.corpora.labels import (
    label_set,
    map_labels,
    read_table,
    scp_label_sets,
    snomed_label_sets,
    translation,
)
from ecg_transformers.errors import CorpusError


def test_the_published_sets_of_ptbxl_have_their_sizes():
    sizes = {name: len(labels.codes) for name, labels in scp_label_sets().items()}
    assert sizes == {"all": 71, "diagnostic": 44, "subclass": 23, "superclass": 5, "form": 19, "rhythm": 12}
    superclass = scp_label_sets()["superclass"]
    assert superclass.codes == ("CD", "HYP", "MI", "NORM", "STTC")
    assert sum(len(sources) for sources in superclass.sources) == 44
    assert sum(len(sources) for sources in scp_label_sets()["subclass"].sources) == 44
    for labels in scp_label_sets().values():
        assert list(labels.codes) == sorted(labels.codes)
        assert all(name and name != code for code, name in zip(labels.codes, labels.names, strict=True))


def test_the_challenge_has_26_scored_classes_with_four_pairs():
    scored = label_set("challenge2021")
    assert len(scored.codes) == 26
    assert sorted(set(sources) for sources in scored.sources if len(sources) > 1) == sorted(
        [{"733534002", "164909002"}, {"713427006", "59118001"}, {"284470004", "63593006"}, {"427172004", "17338001"}],
    )
    assert scored.names[scored.codes.index("426783006")] == "sinus rhythm"


def test_tables_name_their_source_and_fit_together():
    folder = __import__("ecg_transformers.corpora.labels", fromlist=["_TABLES"])._TABLES
    for path in folder.glob("*.csv"):
        first, second = path.read_text(encoding="utf-8").splitlines()[:2]
        assert first.startswith("# source: ")
        assert second.startswith("# version: ")
        assert read_table(path.stem)
    snomed = {row["code"] for row in read_table("snomed")}
    scp = {row["code"] for row in read_table("scp_statements")}
    for table in ("snomed_scp", "chapman", "cpsc2018"):
        assert {row["snomed"] for row in read_table(table)} <= snomed
    assert {row["scp"] for row in read_table("snomed_scp")} <= scp
    assert len(snomed) == 133


def test_the_tables_are_those_of_the_sources(shared):
    with open(shared / "data" / "cinc2021" / "scored_classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    scored = label_set("challenge2021")
    assert list(scored.codes) == [row["code"] for row in rows]
    assert [set(sources) for sources in scored.sources] == [set(row["codes"].split("|")) for row in rows]
    with open(shared / "data" / "cinc2021" / "dx_mapping.csv", newline="") as file:
        mapping = list(csv.DictReader(file))
    assert {row["code"] for row in mapping if int(row["cpsc"])} == {row["snomed"] for row in read_table("cpsc2018")}
    with open(shared / "data" / "ptbxl" / "scp_statements.csv", newline="") as file:
        assert {row[""]: row["diagnostic_class"] for row in csv.DictReader(file)} == {
            row["code"]: row["superclass"] for row in read_table("scp_statements")
        }


def test_beats_fall_into_the_five_aami_classes():
    table = translation("mitbih", "aami")
    assert {code for code, classes in table.items() if classes == ("N",)} == set("NLRej")
    assert {code for code, classes in table.items() if classes == ("S",)} == set("AaJS")
    assert {code for code, classes in table.items() if classes == ("Q",)} == set("/fQ")
    assert {"V": ("V",), "E": ("V",), "F": ("F",)}.items() <= table.items()
    assert "+" not in table


def test_translation_goes_over_several_tables_and_chapman_af_is_flutter():
    assert translation("chapman", "scp-rhythm")["AF"] == ("AFLT",)
    assert translation("chapman", "scp-rhythm")["AFIB"] == ("AFIB",)
    assert translation("cpsc2018", "scp-superclass")["LBBB"] == ("CD",)
    assert translation("scp", "challenge2021")["CLBBB"] == ("733534002",)
    with pytest.raises(CorpusError, match="no label system 'snomed'"):
        translation("snomed", "scp")
    with pytest.raises(CorpusError, match="from 'aami' to 'scp'"):
        translation("aami", "scp")


def test_mapped_lists_come_with_what_had_no_target():
    lists = [["164889003", "426783006"], ["39732003", "39732003"], ["39732003", "59118001", "713427006"], []]
    mapped, unmapped = map_labels(lists, source="snomed-ct", target="scp")
    assert mapped == [("AFIB", "SR"), (), ("CRBBB",), ()]
    assert unmapped == {"39732003": 2}
    with pytest.raises(CorpusError, match=r"none of the labels .*check source="):
        map_labels([["NORM"]], source="snomed-ct", target="scp")


def test_a_corpus_and_a_dataset_are_mapped_alike(small_corpus):
    named = [("SR", "LOST") if row % 2 else ("AFIB",) for row in range(20)]
    corpus = small_corpus.with_labels(named, LabelSet(("SR", "AFIB", "LOST"), ("a", "b", "c"), "scp"), note="test")
    mapped, unmapped = map_labels(corpus.select([1, 2]), source="scp", target="snomed-ct")
    assert mapped.labels == [["426783006"], ["164889003"]]
    assert unmapped == {"LOST": 1}
    assert mapped.label_matrix().system == "snomed-ct"
    assert mapped.hash != corpus.hash
    dataset, unmapped = map_labels(corpus.dataset, source="scp", target="snomed-ct")
    assert dataset[0]["labels"] == ["164889003"]
    assert unmapped == {"LOST": 10}
    assert dataset.column_names.count("labels") == 1


def test_snomed_sets_hold_what_occurs_and_the_scored_classes():
    sets = snomed_label_sets({"713427006": 3, "59118001": 1, "999": 1})
    assert sets["all"].codes == ("999", "59118001", "713427006")
    assert sets["all"].names[1] == "right bundle branch block"
    assert len(sets["scored"].codes) == 26


def test_a_label_set_refuses_doubled_codes():
    with pytest.raises(CorpusError, match="1 different"):
        LabelSet(("A", "A"), ("a", "a"), "own")
    assert LabelSet.from_dict(LabelSet(("A",), ("a",), "own").to_dict()) == LabelSet(("A",), ("a",), "own")


def test_positive_classes_follow_the_pairs():
    scored = label_set("challenge2021")
    column = scored.codes.index("713427006")
    assert np.flatnonzero(["59118001" in sources for sources in scored.sources]).tolist() == [column]
