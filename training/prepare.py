"""Prepare a corpus from its official tree or from your own folder.

    python training/prepare.py CORPUS --source DIR --output DIR [--download] [--num_proc N] [--sampling_rate HZ]
    python training/prepare.py folder --source DIR --table labels.csv --output DIR
    python training/prepare.py mitdb_beats --source DIR --output DIR [--preparation published]
    python training/prepare.py synthetic --records 2000 --seed 0 --output DIR

An interrupted or killed command resumes where it left off when it is run again. Records that cannot be read are left
out and listed with the reason in OUTPUT/refused.csv.
"""

import argparse
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from ecg_transformers.commands.entry import IMPORT_HELP, arguments_of, run_script
from ecg_transformers.commands.help import type_text
from ecg_transformers.commands.options import build, converted, declared_options
from ecg_transformers.commands.recordings import FileSettings, RecordingSettings, refusal_lines
from ecg_transformers.corpora import CORPORA, corpus_definition
from ecg_transformers.corpora.definition import CorpusDefinition
from ecg_transformers.corpora.label_table import TASKS
from ecg_transformers.errors import CorpusError

if TYPE_CHECKING:
    from ecg_transformers.corpora.prepared import Corpus

# Options about files that do not state everything and about unusual recordings, and the names of all options.
READING = {**declared_options(FileSettings), **declared_options(RecordingSettings)}
OPTIONS = {*READING, "task"}
# Those of corpora whose files state everything.
OPTIONS_OF_OTHERS = OPTIONS - declared_options(FileSettings).keys()

OWN = {
    "folder": "your own recordings, labels from --table",
    "synthetic": "synthesized recordings, see --records and --seed",
}


def parser() -> argparse.ArgumentParser:
    known = "\n".join(f"  {name:<17} {corpus_definition(name).title}" for name in CORPORA)
    known += "".join(f"\n  {name:<17} {title}" for name, title in OWN.items())
    result = argparse.ArgumentParser(
        prog="prepare.py",
        description=__doc__,
        epilog=f"corpora:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("corpus", metavar="CORPUS", help="name of the corpus, see below")
    result.add_argument(
        "--source", type=Path, metavar="DIR", help="official tree or your folder; with --download: destination"
    )
    result.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the prepared corpus")
    result.add_argument(
        "--download", action="store_true", help="download the tree from PhysioNet first (extra [download])"
    )
    result.add_argument("--base_url", metavar="URL", help="download from another server with PhysioNet's interface")
    result.add_argument("--num_proc", type=int, default=1, metavar="N", help="number of reading processes (default 1)")
    result.add_argument(
        "--max_memory",
        metavar="AMOUNT",
        help="bound for the memory of all processes, such as 2GB: fewer processes and smaller shards where needed",
    )
    result.add_argument(
        "--sampling_rate",
        type=float,
        metavar="HZ",
        help="stored sampling rate (default: as recorded); PTB-XL is published at 500 and 100 Hz, other rates are "
        "resampled and stored as float32",
    )
    result.add_argument(
        "--model", metavar="CHECKPOINT", help="store signals with this checkpoint's leads, rate and filters"
    )
    result.add_argument(
        "--table",
        type=Path,
        metavar="CSV",
        help="folder: table with the columns record[, patient, fold, age, sex] and label columns; with three or more "
        "folds the last one is the test fold and the one before it the validation fold",
    )
    result.add_argument(
        "--task", choices=TASKS, help="folder: kind of task of the table (default: inferred from its cells and printed)"
    )
    for name, one in READING.items():
        result.add_argument(f"--{name}", nargs="*", metavar=type_text(one.kind), help=one.facts["help"])
    result.add_argument(
        "--preparation",
        choices=("corrected", "published"),
        help="mitdb_beats: every annotated beat (default), or the preparation that BeatGAN was published with",
    )
    result.add_argument("--records", type=int, default=2000, help="synthetic: number of records (default 2000)")
    result.add_argument("--seed", type=int, default=0, help="synthetic: seed of the recordings (default 0)")
    result.add_argument("--overwrite", action="store_true", help="replace an existing OUTPUT")
    result.add_argument("--import", metavar="FILE|MODULE", help=IMPORT_HELP)
    result.add_argument("--no_progress", action="store_true", help="hide the progress bar")
    return result


def reading_settings(options: argparse.Namespace) -> tuple[FileSettings, RecordingSettings]:
    """Options for files that do not state everything, and for unusual recordings."""
    given = {name: getattr(options, name) for name in READING if getattr(options, name) is not None}
    given = {name: True if not values else values[0] if len(values) == 1 else values for name, values in given.items()}
    values = converted(given, READING, {})
    return build(FileSettings, values), build(RecordingSettings, values)


def find_definition(options: argparse.Namespace) -> CorpusDefinition:
    """The definition of the corpus; options of another corpus are refused."""
    name = options.corpus
    if name not in (*CORPORA, *OWN):
        near = get_close_matches(name, (*CORPORA, *OWN), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CorpusError(f"there is no corpus {name!r}; expected {', '.join((*CORPORA, *OWN))}.{hint}")
    files, recordings = reading_settings(options)
    reading = files.read_options
    if name == "folder" and recordings.treat_as:
        reading["treat_as"] = recordings.treat_as
    if name != "folder" and (options.table is not None or reading):
        raise CorpusError(f"--table and --read_* belong to the corpus 'folder'; {name} has its own labels and headers.")
    if name != "mitdb_beats" and options.preparation is not None:
        raise CorpusError(f"--preparation belongs to the corpus 'mitdb_beats'; {name} has one preparation.")
    if name == "synthetic":
        from ecg_transformers.corpora.sources.synthetic import synthetic_definition

        return synthetic_definition(options.records, seed=options.seed, sampling_rate=options.sampling_rate or 100)
    if options.source is None:
        raise CorpusError(f"--source is missing; set it to the folder of {name}.")
    if name == "folder":
        from ecg_transformers.corpora.label_table import read_label_table
        from ecg_transformers.corpora.sources.folder import folder_definition
        from ecg_transformers.signals.formats.folders import count_other_files, find_recordings

        if options.table is not None:
            table = read_label_table(options.table, task=options.task)
            print(f"labels: {table.describe()}\ntask: {table.because} (--task overrides)")
        elif others := count_other_files(options.source, find_recordings(options.source)):
            kinds = ", ".join(f"{suffix} {count}" for suffix, count in others.most_common(5))
            print(f"not read: {others.total()} files of other kinds ({kinds})")
        return folder_definition(options.source, options.table, task=options.task, read_options=reading)
    if name == "mitdb_beats" and options.preparation is not None:
        from ecg_transformers.corpora.sources.mitdb_beats import beats_definition

        return beats_definition(options.preparation)
    return corpus_definition(name)


def main(argv: list[str] | None = None) -> "Corpus":
    options = parser().parse_args(arguments_of(argv))
    # Here, so that help is there at once.
    from transformers.utils import logging

    from ecg_transformers.corpora.build import build_corpus
    from ecg_transformers.corpora.sources.download import download_corpus

    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        logging.set_verbosity_info()
    definition = find_definition(options)
    source = options.source or Path()
    if options.download:
        source = download_corpus(definition, source, sampling_rate=options.sampling_rate, base_url=options.base_url)
    _, recordings = reading_settings(options)
    usable = {"implausible_amplitude", "treat_as"} if options.corpus == "folder" else {"implausible_amplitude"}
    if options.model is None and (unused := recordings.policies.keys() - usable):
        names = ", ".join(f"--{name}" for name in sorted(unused))
        raise CorpusError(
            f"{names} concerns the input of a checkpoint, and records are stored as they are recorded without --model. "
            "Leave it out here, and pass it to finetune.py or score.py."
        )
    extractor = None
    if options.model is not None:
        from transformers import AutoFeatureExtractor

        from ecg_transformers.inference.loading import checkpoint_errors

        with checkpoint_errors(options.model):
            loaded = AutoFeatureExtractor.from_pretrained(options.model)
        extractor = loaded.with_policies(**recordings.policies)
    corpus = build_corpus(
        definition,
        source,
        options.output,
        num_proc=options.num_proc,
        sampling_rate=options.sampling_rate,
        extractor=extractor,
        implausible_amplitude=recordings.implausible_amplitude or "error",
        overwrite=options.overwrite,
        progress=not options.no_progress,
        max_memory=options.max_memory,
    )
    print(report(corpus))
    if corpus.info["refused"]:
        total = corpus.info["refused"] + len(corpus)
        print(refusal_lines(corpus.refused, total, f"{corpus.path}/refused.csv", option_names(options.corpus)))
    return corpus


def report(corpus: "Corpus") -> str:
    """Summary of a prepared corpus, compared with the official counts."""
    from ecg_transformers.corpora.checks import amplitude_fault, identical_fault

    info = corpus.info
    folds = {name: count for name, count in info["folds"].items() if name != "-1"}
    found = {"records": info["records"], "patients": info["patients"], "annotations": info["annotations"]}
    found |= {f"fold {name}": count for name, count in folds.items()}
    lines = [f"{corpus.path}: {info['title']}, {info['version']}".removesuffix(", ")]
    complete = True
    for name, official in info["expected"].items():
        count = found.get(name, 0)
        complete = complete and count == official
        lines.append(
            f"  {name:<12} {count:>9,} of {official:,} official" + ("" if count == official else "  <- a part")
        )
    for name in ("records", "patients"):
        if name not in info["expected"] and found[name]:
            lines.append(f"  {name:<12} {found[name]:>9,}")
    if info["expected"] and not complete:
        lines.append("  a part of the official corpus: state this with every result")
    if info.get("recordings", info["records"]) != info["records"]:
        lines.append(f"  recordings   {info['recordings']:>9,}, whose parts are the records")
    if folds:
        lines.append(f"  folds        {', '.join(f'{name}: {count}' for name, count in folds.items())}")
    if corpus.fold_roles is not None:
        roles = corpus.fold_roles.to_dict().items()
        named = [f"{role} {', '.join(map(str, numbers))}" for role, numbers in roles if numbers]
        lines.append(f"  roles        {'; '.join(named)}")
    lead_sets = [f"{names} ({count})" for names, count in list(info["lead_sets"].items())[:3]]
    lines.append(f"  leads        {'; '.join(lead_sets)}{' ...' if len(info['lead_sets']) > 3 else ''}")
    rates = ", ".join(f"{rate} Hz ({count})" for rate, count in info["sampling_rates"].items())
    lines.append(f"  stored       {rates}, {info['storage']}")
    sets = ", ".join(f"{name} {len(values['codes'])}" for name, values in info["label_sets"].items())
    lines.append(f"  label sets   {sets or 'none'}")
    if info.get("median_amplitude"):
        fault = amplitude_fault(corpus)
        line = f"  amplitude    {info['median_amplitude']:.3g} mV: median swing of the largest lead within 2 s"
        lines.append(line if fault is None else f"{line}  <- {fault}")
    if (identical := identical_fault(corpus)) is not None:
        lines.append(f"  identical    {identical}")
    lines.append(f"  content hash {info['content_hash']}")
    return "\n".join(lines)


def option_names(corpus: str) -> set[str]:
    """Names of the options that a message may advise for a corpus."""
    return OPTIONS if corpus == "folder" else OPTIONS_OF_OTHERS


def prepare() -> None:
    """Prepare; exit status 1 where half of the records or more were refused."""
    found = main()
    if 2 * found.info["refused"] >= found.info["refused"] + len(found):
        sys.exit("prepare.py: half of the records or more were refused")


if __name__ == "__main__":
    run_script(
        prepare,
        "prepare.py",
        interrupted="run the same command again to resume.",
        options=lambda: option_names("folder" if "folder" in sys.argv[1:] else ""),
    )
