"""The command `ecg-transformers`."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .errors import ArgumentsError, CheckpointError, EcgError, RecordFileError
from .signals.formats.readers import read_record
from .signals.quality import flat_leads
from .signals.record import EcgRecord

__all__ = ["build_parser", "describe_record", "main"]

CONVERSION = """\
Convert an official checkpoint of another project into a folder of ours: weights, config, preprocessing.

  ecg-transformers convert ecg-selfsupervised-simclr model.ckpt runs/simclr
  ecg-transformers convert ecg-selfsupervised-xresnet finetuned.pt runs/xresnet --labels lbl_itos.txt

The file is read without running anything that it names. Tensors that nothing takes, that are missing or that have
another shape are an error. The order of labels is in no file: a classifier is converted with --labels only.
"""

DESCRIPTION = """\
Describe a checkpoint or a recording.

  ecg-transformers inspect hub/mae-moco-ecg            a checkpoint: model, input contract, golden recording
  ecg-transformers inspect me/mae-moco-ecg             the same from the Hub (no code is downloaded)
  ecg-transformers inspect 00001_hr                    a recording: WFDB, CSV, NPY, HDF5, MATLAB ...
  ecg-transformers inspect patient7.csv --sampling_rate 250 --units uV
  ecg-transformers inspect 00001_hr --model hub/mae-moco-ecg      how this checkpoint would prepare it
"""

HUB_PATTERNS = ["*.json", "*.safetensors", "*.md"]


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    from .commands.convert import CONVERTERS

    parser = argparse.ArgumentParser(
        prog="ecg-transformers", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    inspect = commands.add_parser(
        "inspect",
        help="input contract and golden check of a checkpoint; contents of a recording",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inspect.add_argument("what", metavar="CHECKPOINT|RECORD", help="folder, repository on the Hub, or recording")
    inspect.add_argument("--model", metavar="CHECKPOINT", help="recording: show how this checkpoint would prepare it")
    inspect.add_argument("--sampling_rate", type=float, metavar="HZ", help="rate of a recording whose file states none")
    inspect.add_argument("--units", metavar="UNIT", help="unit (mV, uV, V) of a recording whose file states none")
    inspect.add_argument("--leads", metavar="I,II,...", help="lead names of a recording whose file states none")
    inspect.add_argument("--key", metavar="NAME", help="array of a container (HDF5, NPZ, MAT)")
    inspect.add_argument("--index", type=int, metavar="N", help="record of an array of records")
    convert = commands.add_parser(
        "convert",
        help="official checkpoint of another project to a folder of ours",
        description=CONVERSION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    convert.add_argument("kind", metavar="KIND", help=", ".join(CONVERTERS))
    convert.add_argument("file", metavar="FILE", help="the official file")
    convert.add_argument("folder", metavar="OUT", help="the new folder")
    convert.add_argument("--labels", metavar="FILE", help="codes of the outputs in their order, one a line")
    convert.add_argument(
        "--leads", metavar="I,II,...", help="leads of the file in its order, if not the official twelve"
    )
    convert.add_argument(
        "--strides", metavar="N,N,...", help="strides of a CPC encoder that is none of the official ones"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Arguments. Default: those of the process.

    Returns:
        Exit code: 0; 1 if the golden outputs differ from the stored ones; 2 after an error (one line).
    """
    options = build_parser().parse_args(argv)
    try:
        return _convert(options) if options.command == "convert" else _inspect(options)
    except (EcgError, OSError) as error:
        sys.stderr.write(f"ecg-transformers: {type(error).__name__}: {error}\n")
        return 2


def _inspect(options: argparse.Namespace) -> int:
    path = Path(options.what)
    if (path / "config.json").is_file():
        return _inspect_checkpoint(path)
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder without config.json; expected a checkpoint or the file of a recording."
        )
    if not path.exists() and not path.with_name(f"{path.name}.hea").is_file():
        if re.fullmatch(r"[\w.-]+/[\w.-]+", options.what) and not path.parent.exists():
            return _inspect_checkpoint(_fetch(options.what))
        raise RecordFileError(
            f"{path} does not exist; expected a recording (WFDB: with or without suffix) or a checkpoint."
        )
    leads = options.leads.split(",") if options.leads else None
    given = {"sampling_rate": options.sampling_rate, "units": options.units, "leads": leads}
    given |= {"key": options.key, "index": options.index}
    record = read_record(path, **{name: value for name, value in given.items() if value is not None})
    sys.stdout.write(describe_record(record) + "\n")
    if options.model is not None:
        from transformers import AutoFeatureExtractor

        text = AutoFeatureExtractor.from_pretrained(options.model).explain(record).strip()
        sys.stdout.write(f"\nPreparation by {options.model}:\n{text}\n")
    return 0


def _convert(options: argparse.Namespace) -> int:
    from .commands.convert import convert_checkpoint

    labels = None
    if options.labels is not None:
        labels = Path(options.labels).read_text(encoding="utf-8").split()
    strides = None
    if options.strides is not None:
        if not re.fullmatch(r"\d+(,\d+)*", options.strides):
            raise ArgumentsError(f"strides is {options.strides!r}; expected numbers such as 2,2,2,2.")
        strides = [int(number) for number in options.strides.split(",")]
    leads = options.leads.split(",") if options.leads else None
    converted = convert_checkpoint(
        options.kind, options.file, options.folder, labels=labels, lead_names=leads, strides=strides
    )
    sys.stdout.write(f"{type(converted.model).__name__} in {options.folder}\n")
    sys.stdout.write("".join(f"{note}.\n" for note in converted.notes))
    return 0


def _inspect_checkpoint(folder: Path) -> int:
    from .publishing.inspection import inspect_checkpoint

    found = inspect_checkpoint(folder)
    sys.stdout.write(found.text + "\n")
    return 0 if found.golden is None or found.golden.passed else 1


def _fetch(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, allow_patterns=HUB_PATTERNS))
    except Exception as error:  # the client raises its own, its transport's and the system's
        raise CheckpointError(
            f"{repo_id} is no local recording or checkpoint, and the Hub does not have it: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error


def describe_record(record: EcgRecord) -> str:
    """Describes a recording, one fact per line.

    Args:
        record: The recording.

    Returns:
        Leads, sampling rate, length, range in mV, patient, labels, annotations, and the notes of the reader.
    """
    leads = ", ".join(record.leads) if record.leads else f"{record.num_leads} without names"
    lines = [
        ("record", f"{record.name or 'without a name'}" + (f" ({record.source})" if record.source else "")),
        ("leads", f"{leads} ({record.num_leads})" if record.leads else leads),
        ("rate", f"{record.sampling_rate:g} Hz"),
        ("length", f"{record.duration:g} s, {record.num_samples:,} samples"),
        ("units", f"mV, values {_range(record.signal)}"),
    ]
    patient = [
        f"{name} {value}" for name, value in (("id", record.patient_id), ("age", record.age)) if value is not None
    ]
    patient += [record.sex] if record.sex else []
    lines.append(("patient", ", ".join(patient) or "not stated"))
    lines.append(("labels", ", ".join(record.labels) or "none"))
    marks = record.annotations
    lines.append(
        ("annotations", "none" if marks is None else f"{len(marks):,} marks: {' '.join(sorted(set(marks.symbols)))}")
    )
    flat = np.flatnonzero(flat_leads(record.signal))
    if len(flat):
        lines.append(("flat", ", ".join(record.leads[row] if record.leads else f"lead {row + 1}" for row in flat)))
    lines += [("note", note) for note in record.notes]
    return "\n".join(f"{title:<12} {text}" for title, text in lines)


def _range(signal: np.ndarray) -> str:
    finite = signal[np.isfinite(signal)]
    missing = signal.size - finite.size
    text = f"{finite.min():.3f} to {finite.max():.3f}" if finite.size else "none"
    return text + (f", {missing:,} missing" if missing else "")


if __name__ == "__main__":
    sys.exit(main())
