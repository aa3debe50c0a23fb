"""External validation: the records of another corpus, their labels as those of a finished classifier.

A record in which no label has a counterpart has no information about the classifier's labels and is left out; in every
other record a label that is not stated counts as absent, as in the published label sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..corpora.definition import LabelSet
from ..corpora.labels import label_set, map_labels, scp_label_sets, translation
from ..corpora.prepared import Corpus
from ..corpora.protocol import Part, Splits, Task, usable_records
from ..errors import CorpusError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from ..features.extractor import EcgFeatureExtractor

__all__ = ["External", "external_validation"]


@dataclass(frozen=True)
class External:
    """Another corpus for a classifier.

    Args:
        splits: Task and reported records; nothing is trained.
        source: Label system of the corpus.
        target: Label system of the classifier.
        unmapped: Labels of the corpus without a counterpart, with the number of records that carry them.
        possible: Codes of the classifier that the label system of the corpus can state.
    """

    splits: Splits
    source: str
    target: str
    unmapped: dict[str, int]
    possible: tuple[str, ...]

    def describe(self, sample: str) -> str:
        """What is scored, for the screen.

        Args:
            sample: Available part of its official corpus.
        """
        splits, part = self.splits, self.splits.evaluate
        names = _names(self.source)
        listed = [f"{code}{f' {names[code]}' if code in names else ''} ({n})" for code, n in self.unmapped.items()]
        occurring = int(part.labels.any(axis=0).sum())
        lines = [
            f"external validation on {part.corpus.name}, {sample}: {len(part):,} are reported, {splits.left_out:,} "
            "without a label that the classifier knows are left out",
            f"labels {self.source} -> {self.target}: {len(self.possible)} of {splits.task.num_labels} can be stated by "
            f"the corpus, {occurring} occur",
            f"not mapped (records): {', '.join(listed) or 'none'}",
        ]
        return "\n".join(lines)

    @property
    def facts(self) -> dict[str, Any]:
        """Its fields in an entry of `results.json`."""
        return {"external": {"labels_of_corpus": self.source, "labels_not_mapped": self.unmapped}}


def external_validation(
    config: "PreTrainedConfig",
    corpus: Corpus,
    extractor: "EcgFeatureExtractor",
    *,
    labels: str = "all",
    evaluate_folds: Sequence[int] | None = None,
) -> External:
    """The records of a corpus for a classifier that was trained on another one.

    Args:
        config: Config of the classifier: codes, names and label system of its outputs.
        corpus: The corpus, with or without folds.
        extractor: Decides which records can be used.
        labels: `"all"` labels of the classifier, or a set of its label system that it predicts ("rhythm").
        evaluate_folds: Reported folds. Default: all records.

    Raises:
        CorpusError: The classifier predicts no such set, no label of the corpus has a counterpart, or no record is
            left.
    """
    outputs = _outputs(config)
    codes = _codes(outputs, labels)
    names = dict(zip(outputs, getattr(config, "label_names", None) or outputs, strict=True))
    corpus = usable_records(corpus if not evaluate_folds else corpus.select(folds=evaluate_folds), extractor)
    source, target = _system_of(corpus), str(getattr(config, "label_system", None) or "own")
    mapped, unmapped, possible = _mapped(corpus, source, target, codes)
    problem_type = str(config.problem_type)
    wanted = LabelSet(codes, tuple(names[code] for code in codes), target, problem_type=problem_type)
    matrix = mapped.label_matrix(wanted)
    counts = matrix.values.sum(axis=1)
    # One class per record: a record that states two, or none, has no class.
    keep = counts == 1 if problem_type == "single_label_classification" else counts > 0
    if not keep.any():
        raise CorpusError(
            f"no record of {corpus.name} has a label that the classifier predicts ({', '.join(codes[:8])} ...); "
            "expected some. Choose another corpus or set of labels."
        )
    task = Task(labels, wanted.codes, wanted.names, target, problem_type)
    part = Part(mapped.select(keep), matrix.values[keep], problem_type)
    nothing = Part(Corpus(mapped.rows, mapped.info, indices=np.empty(0, np.int64)), matrix.values[:0], problem_type)
    splits = Splits(
        task, nothing, (), True, part, (), tuple(evaluate_folds or ()), (), 1.0, left_out=len(keep) - len(part)
    )
    return External(splits, source, target, unmapped, tuple(code for code in codes if code in possible))


def _outputs(config: "PreTrainedConfig") -> tuple[str, ...]:
    """The codes of a classifier's outputs."""
    return tuple(str(code) for _, code in sorted((config.id2label or {}).items()))


def _codes(codes: tuple[str, ...], labels: str) -> tuple[str, ...]:
    """The classifier's codes that belong to a set of labels, in its order."""
    sets = {"all": codes} | {name: one.codes for name, one in scp_label_sets().items() if set(one.codes) <= set(codes)}
    if labels not in sets:
        raise CorpusError(
            f"labels is {labels!r}; an external validation is in the classifier's own labels: {', '.join(sets)}."
        )
    return tuple(code for code in codes if code in sets[labels])


def _system_of(corpus: Corpus) -> str:
    """Label system of a corpus's codes; that of its label set where the files of a folder state them."""
    system = str(corpus.info.get("label_system", "own"))
    known = corpus.label_sets.get("all")
    return known.system if known is not None and system not in _systems() else system


def _systems() -> set[str]:
    return {"scp", "snomed-ct", "challenge2021", "chapman", "cpsc2018", "cinc2017", "mitbih", "aami"}


def _mapped(corpus: Corpus, source: str, target: str, codes: Sequence[str]) -> tuple[Corpus, dict[str, int], set[str]]:
    """The corpus with the classifier's codes, the labels without a counterpart, and what can be stated at all."""
    if source == target or source not in _systems():
        carried = {code: sum(code in found for found in corpus.labels) for code in corpus.info["label_counts"]}
        unmapped = {code: count for code, count in carried.items() if count and code not in codes}
        return corpus, unmapped, {*corpus.info["label_counts"]} & set(codes)
    found, unmapped = map_labels(corpus, source=source, target=target)
    assert isinstance(found, Corpus)
    possible = {code for targets in translation(source, target).values() for code in targets}
    return found, unmapped, possible


def _names(system: str) -> dict[str, str]:
    """Names of the codes of a system; none for one without a table."""
    if system not in _systems():
        return {}
    known = label_set(system)
    return dict(zip(known.codes, known.names, strict=True))
