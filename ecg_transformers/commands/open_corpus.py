"""The corpus of a command: a prepared folder, or an official tree that is prepared when it is first used."""

from collections.abc import Callable, Sequence
from pathlib import Path

from transformers.utils import logging

from ..corpora import CORPORA, corpus_definition
from ..corpora.build import build_corpus
from ..corpora.checks import corpus_faults
from ..corpora.join import join_corpora
from ..corpora.made_folds import has_folds, with_made_folds, write_folds
from ..corpora.prepared import Corpus, load_corpus
from ..errors import ArgumentsError
from .downstream import DownstreamArguments

__all__ = ["corpus_with_folds", "open_corpus", "sample_words"]


def open_corpus(arguments: DownstreamArguments, print_line: Callable[[str], None]) -> Corpus:
    """Open a prepared corpus, or prepare one from its official tree in the output folder.

    Args:
        arguments: `corpus` is the folder of a prepared corpus, several with commas between them, or with `source`, its
            official tree, the name of one.
        print_line: Called with a line for each fault of the corpus.

    Raises:
        ArgumentsError: A name without a tree, or a tree without a name.
        CorpusError: The folder is no prepared corpus, or the tree is not that of the corpus.
    """
    name, source = str(arguments.corpus), arguments.source
    if source is None:
        if name in CORPORA and not Path(name).is_dir():
            raise ArgumentsError(
                f"there is no folder {name}; for the corpus of that name pass its official tree: --corpus {name} "
                "--source DIR."
            )
        folders = [name] if Path(name).is_dir() else name.split(",")
        if not all(folder.strip() for folder in folders):
            raise ArgumentsError(f"--corpus is {name!r}; expected one folder, or several with a comma between them.")
        corpus = join_corpora([load_corpus(folder.strip()) for folder in folders])
    elif name not in CORPORA:
        raise ArgumentsError(
            f"--source is the official tree of a corpus by name; expected --corpus {'|'.join(CORPORA)}."
        )
    else:
        target, progress = Path(arguments.output_dir) / f"corpus-{name}", logging.is_progress_bar_enabled()
        corpus = build_corpus(corpus_definition(name), source, target, num_proc=arguments.num_proc, progress=progress)
    for fault in corpus_faults(corpus):
        print_line(f"warning: {fault}")
    return corpus


def corpus_with_folds(corpus: Corpus, named: Sequence[int], folder: Path, print_line: Callable[[str], None]) -> Corpus:
    """The corpus, with folds that are made, named and saved where its own cannot be used.

    Args:
        corpus: The corpus.
        named: Numbers of folds that were named on the command line.
        folder: Output folder, which gets `folds.csv`.
        print_line: Called with a line for the screen.
    """
    if has_folds(corpus, named):
        return corpus
    made = with_made_folds(corpus)
    file = write_folds(made, folder / "folds.csv")
    roles = made.fold_roles.to_dict() if made.fold_roles else {}
    named_roles = "; ".join(f"{role} {_span(numbers)}" for role, numbers in roles.items())
    print_line(
        f"{corpus.name} has no folds to train on and report: {made.info['folds_made']} ({named_roles}) -> {file}"
    )
    return made


def _span(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


def sample_words(corpus: Corpus) -> str:
    """Available part of its official corpus: "a sample of 41 of 10,344 records", or "all 48 records"."""
    records, official = int(corpus.info["records"]), corpus.info.get("expected", {}).get("records")
    if official in (None, records):
        return f"all {records:,} records"
    return f"a sample of {records:,} of {official:,} records"
