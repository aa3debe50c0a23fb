"""Figures of the literature: never without the folds they were made on."""

import pytest

from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing.card.literature import literature_table


def test_each_figure_has_its_folds_its_kind_and_its_source(results):
    entry = results[0] | {"labels": "all"}
    systems = [{"system": "xresnet1d50"}, {"system": "xresnet1d101", "mode": "from_scratch"}]
    text = literature_table(systems, [entry])
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert rows[0] == (
        "| xresnet1d50 | from scratch | 0.924 | mean over 10 runs, standard deviation 0.005 | test fold 10 | "
        "Mehari & Strodthoff 2022 |"
    )
    assert any("0.928 | one run | validation fold 9" in row for row in rows)
    assert "- Mehari & Strodthoff 2022: T. Mehari" in text


def test_only_figures_of_the_same_corpus_and_labels_stand_there(results):
    systems = [{"system": "xresnet1d101"}]
    assert "0.928 | one run, larger half" in literature_table(systems, results[:1])
    assert literature_table(systems, [results[0] | {"corpus": "own"}]) == ""
    assert literature_table([], results) == literature_table(systems, []) == ""
    with pytest.raises(CheckpointError, match="xresnet1d51"):
        literature_table([{"system": "xresnet1d51"}], results)
