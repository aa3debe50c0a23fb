"""Published scores in a card: never without the folds they were computed on."""

import pytest

from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing.card.literature import literature_list


def test_each_score_has_its_folds_its_kind_and_its_source(results):
    systems = [{"system": "xresnet1d50"}, {"system": "xresnet1d101", "mode": "from_scratch"}]
    text = literature_list(systems, [results[0] | {"labels": "all"}])
    lines = text.splitlines()
    assert lines[0].startswith("- test fold 10, mean over 10 runs (T. Mehari")
    assert lines[0].endswith(": xresnet1d50, from scratch, all: 0.924.")
    assert any(line.startswith("- validation fold 9, one run") and line.endswith("all: 0.928.") for line in lines)


def test_only_scores_of_the_same_corpus_and_label_sets_are_listed(results):
    systems = [{"system": "xresnet1d101"}]
    assert "superclass: 0.928." in literature_list(systems, results[:1])
    assert literature_list(systems, [results[0] | {"corpus": "own"}]) == ""
    assert literature_list([], results) == literature_list(systems, []) == ""
    with pytest.raises(CheckpointError, match="xresnet1d51"):
        literature_list([{"system": "xresnet1d51"}], results)
