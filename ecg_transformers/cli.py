"""The command `ecg-transformers`: parse and call. What a subcommand needs is imported when it runs."""

import argparse
import csv
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from .commands.entry import IMPORT_HELP, arguments_of, script_text
from .commands.options import Declared, converted, declared_options
from .commands.recordings import FileSettings, RecordingSettings, refusal_lines
from .errors import ArgumentsError, CheckpointError, CorpusError, EcgError, RecordFileError
from .hub_access import hub_errors

if TYPE_CHECKING:
    import numpy as np

    from .signals.record import EcgRecord

__all__ = ["build_parser", "describe_record", "main"]

CONVERSION = """\
Convert an official checkpoint of another project into a folder of ours: weights, config, preprocessing; or recordings
of any readable format to WFDB.

  ecg-transformers convert mimic_iv_ecg_physionet_pretrained.pt --output_dir runs/ecg-fm
  ecg-transformers convert mimic_iv_ecg_finetuned.pt --output_dir runs/ecg-fm-17 --labels ecg_fm
  ecg-transformers convert ecg-selfsupervised-simclr model.ckpt runs/simclr
  ecg-transformers convert ecg-selfsupervised-xresnet finetuned.pt runs/xresnet --labels lbl_itos.txt
  ecg-transformers convert wfdb my_ecgs/ wfdb/

A checkpoint is read without running anything that it names. Tensors that nothing takes, that are missing or that have
another shape are an error. The order of labels is in no file: a classifier is converted with --labels only. A file of
fairseq-signals or ECG-FM needs no KIND.
"""

INSPECTION = """\
Print what a checkpoint expects, or what a recording holds.

  ecg-transformers inspect hub/mae-moco-ecg            model, input contract, comparison with the golden recording
  ecg-transformers inspect 00001_hr                    a recording: WFDB, CSV, NPY, HDF5, MATLAB ...
  ecg-transformers inspect 00001_hr --model hub/mae-moco-ecg      what the checkpoint would do with it
"""

DESCRIPTION = """\
Recordings and checkpoints from the command line.

  ecg-transformers inspect hub/mae-moco-ecg            a checkpoint: model, input contract, golden recording
  ecg-transformers inspect 00001_hr                    a recording: WFDB, CSV, NPY, HDF5, MATLAB ...
  ecg-transformers plot 00001_hr                       on ECG paper -> 00001_hr.png
  ecg-transformers classify hub/xresnet1d50-ecg 00001_hr
  ecg-transformers classify hub/xresnet1d50-ecg my_ecgs/ --output labels.csv
  ecg-transformers embed hub/mae-moco-ecg my_ecgs/ --output embeddings.parquet
  ecg-transformers convert wfdb my_ecgs/ wfdb/         recordings to WFDB; official checkpoints of other projects
  ecg-transformers app                                 a page in the browser: upload, statements, similar recordings
  ecg-transformers index my_ecgs/ --model hub/mae-moco-ecg --output mine.parquet      recordings that the app compares
  ecg-transformers export hub/xresnet1d50-ecg --output_dir exported      ONNX, with its preparation of recordings
  ecg-transformers push prepared/ptbxl OWNER/NAME      a prepared corpus to the Hub, from which load_corpus streams it
  ecg-transformers list                                architectures, corpora, formats, checkpoints with their scores

`ecg-transformers COMMAND --help` lists the options of a command.
"""

HUB_PATTERNS = ["*.json", "*.safetensors", "*.md"]
# Options about files and about unusual recordings, declared once for all commands; here files are the main thing.
_READING = {name.removeprefix("read_"): one for name, one in declared_options(FileSettings).items()}
_RULES = declared_options(RecordingSettings)
# The kind of a conversion of recordings.
_WFDB = "wfdb"
# Most probable labels that are printed of one recording.
_SHOWN_LABELS = 10
_PICTURES = (".png", ".pdf", ".svg")


class _Version(argparse.Action):
    """Prints the versions of the package and of what it computes with."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        names = ("ecg-transformers", "transformers", "torch", "numpy", "wfdb")
        sys.stdout.write("\n".join(f"{name} {_version(name)}" for name in names) + "\n")
        sys.exit(0)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="ecg-transformers", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print versions")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    inspect = commands.add_parser(
        "inspect",
        help="what a checkpoint expects, what a recording holds",
        description=INSPECTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inspect.add_argument("what", metavar="CHECKPOINT|RECORD", help="folder, repository on the Hub, or recording")
    inspect.add_argument("--model", metavar="CHECKPOINT", help="recording: show how this checkpoint would prepare it")

    plot = commands.add_parser("plot", help="a recording on ECG paper")
    plot.add_argument("record", metavar="RECORD")
    plot.add_argument("--output", type=Path, metavar="FILE", help=".png, .pdf or .svg (default: RECORD.png)")
    plot.add_argument("--layout", default="3x4+II", help="3x4, 3x4+II (default), stacked or 12x1")
    plot.add_argument("--start", type=float, default=0.0, metavar="S", help="first second shown (0)")
    plot.add_argument("--duration", type=float, metavar="S", help="seconds shown (10)")

    classify = commands.add_parser("classify", help="labels of recordings by a classifier")
    classify.add_argument("--aggregate", choices=("mean", "max"), help="of the windows of a recording (mean)")
    embed = commands.add_parser("embed", help="embeddings of recordings by an encoder")
    for command, default in (
        (classify, "labels of one recording are printed; else labels.parquet"),
        (embed, "default: embeddings.parquet"),
    ):
        command.add_argument("checkpoint", metavar="CHECKPOINT", help="folder or repository on the Hub")
        command.add_argument("source", metavar="RECORD|FOLDER", nargs="+", help="recordings, or a folder of them")
        command.add_argument("--output", metavar="TABLE", help=f"table, .parquet or .csv ({default})")
        command.add_argument("--windows", action="store_true", help="a row per window instead of one per recording")
        command.add_argument("--batch_size", type=int, default=64, metavar="N", help="windows per pass (64)")
        command.add_argument(
            "--max_memory", metavar="SIZE", help="bound for the process, such as 2GB: fewer windows per pass"
        )
        command.add_argument("--overwrite", action="store_true", help="replace a table of another job")

    export, push = _add_export(commands), _add_push(commands)
    convert = _add_convert(commands)
    listing = commands.add_parser("list", help="architectures, corpora, formats, checkpoints with their scores")
    listing.add_argument(
        "source",
        metavar="FOLDER|ACCOUNT",
        nargs="?",
        help="where checkpoints are looked for: a folder, or an account of the Hub (hub/, else ecg-transformers)",
    )

    app, index = _add_app(commands)
    for command in (inspect, plot, classify, embed, export, push, convert, listing, app, index):
        command.add_argument("--import", metavar="FILE|MODULE", help=IMPORT_HELP)
    for command in (inspect, plot, classify, embed, convert, index):
        _add_settings(command.add_argument_group("files that do not state everything"), _READING)
    for command in (inspect, classify, embed):
        unusual = command.add_argument_group("unusual recordings (default: as saved with the checkpoint)")
        _add_settings(unusual, _RULES)
    for command in (plot, convert):
        _add_settings(command.add_argument_group("unusual recordings"), {"treat_as": _RULES["treat_as"]})
    return parser


def _add_settings(group: Any, settings: Mapping[str, Declared]) -> None:
    """Add options that are declared for the scripts; their values are read as those of the scripts."""
    for name, one in settings.items():
        choices = [choice for kind in get_args(one.kind) for choice in get_args(kind) if get_origin(kind) is Literal]
        how: dict[str, Any] = {"metavar": "|".join(choices) or "VALUE"}
        if one.kind == bool | None:
            how = {"action": "store_true", "default": None}
        group.add_argument(f"--{name}", help=one.facts["help"].replace("%", "%%"), **how)


def _given(options: argparse.Namespace, settings: Mapping[str, Declared]) -> dict[str, Any]:
    """The values of the settings that were given.

    Raises:
        ArgumentsError: A value that does not fit.
    """
    values = {name: getattr(options, name, None) for name in settings}
    return converted({name: value for name, value in values.items() if value is not None}, settings, {})


def _add_export(commands: Any) -> argparse.ArgumentParser:
    export: argparse.ArgumentParser = commands.add_parser("export", help="a checkpoint as ONNX or torch.export graph")
    export.add_argument("checkpoint", metavar="CHECKPOINT", help="folder or repository on the Hub")
    export.add_argument("--output_dir", type=Path, required=True, metavar="DIR", help="folder to write to")
    export.add_argument(
        "--format", choices=("onnx", "torch"), default="onnx", help="onnx (default; extra [onnx]) or torch"
    )
    return export


def _add_push(commands: Any) -> argparse.ArgumentParser:
    push: argparse.ArgumentParser = commands.add_parser("push", help="a prepared corpus to the Hub, as Parquet")
    push.add_argument("corpus", metavar="CORPUS", help="folder of the prepared corpus")
    push.add_argument("repo_id", metavar="OWNER/NAME", help="dataset on the Hub; it is created if it does not exist")
    push.add_argument("--public", action="store_true", help="a new dataset is public (default: private)")
    return push


def _add_app(commands: Any) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    app: argparse.ArgumentParser = commands.add_parser("app", help="a page in the browser, for this machine only")
    app.add_argument(
        "--model", metavar="CHECKPOINT", nargs="+", default=(), help="folders or Hub names (the shipped ones)"
    )
    app.add_argument(
        "--index", dest="indexes", metavar="FILE", nargs="+", default=(), help="recordings to compare, from `index`"
    )
    app.add_argument("--port", type=int, metavar="N", help="port (first free one from 7860 on)")
    index: argparse.ArgumentParser = commands.add_parser(
        "index", help="recordings that the app compares an upload with"
    )
    index.add_argument("source", metavar="FOLDER", help="recordings, searched recursively, or a prepared corpus")
    index.add_argument("--model", metavar="CHECKPOINT", required=True, help="folder or Hub name")
    index.add_argument("--output", metavar="FILE", type=Path, required=True, help="file to write, .parquet")
    index.add_argument("--records", type=int, metavar="N", help="number of records, spread over the labels (all)")
    index.add_argument("--license", default="", metavar="TEXT", help="origin and license (those of the corpus)")
    return app, index


def _add_convert(commands: Any) -> argparse.ArgumentParser:
    from .commands.convert import CONVERTERS, LABEL_LISTS

    convert: argparse.ArgumentParser = commands.add_parser(
        "convert",
        help="an official checkpoint of another project, or recordings to WFDB",
        description=CONVERSION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    convert.add_argument(
        "arguments",
        metavar="[KIND] FILE [OUT]",
        nargs="+",
        help=f"the official file, or a recording or a folder of them; before it {', '.join((*CONVERTERS, _WFDB))}",
    )
    convert.add_argument("--output_dir", metavar="OUT", help="the new folder")
    convert.add_argument(
        "--labels",
        metavar="FILE",
        help=f"codes of the outputs in their order, one a line; or {' or '.join(LABEL_LISTS)}",
    )
    convert.add_argument(
        "--preparation",
        choices=("ecg_fm", "millivolts"),
        help="of a file of fairseq-signals: leads of the whole recording standardized (default), or none",
    )
    convert.add_argument(
        "--strides", metavar="N,N,...", help="strides of a CPC encoder that is none of the official ones"
    )
    return convert


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Arguments. Default: those of the process.

    Returns:
        Exit code: 0; 1 if the golden outputs differ from the stored ones, or half of the recordings were refused; 2
        after an error (one line); 130 after an interruption.
    """
    commands = {"inspect": _inspect, "plot": _plot, "classify": _to_table, "embed": _to_table}
    commands |= {"convert": _convert, "export": _export, "push": _push, "list": _list}
    commands |= {"app": _app, "index": _index}
    options = argparse.Namespace()
    try:
        build_parser().parse_args(arguments_of(argv), options)
        reading = _given(options, _READING | {"treat_as": _RULES["treat_as"]})
        return commands[options.command](options, reading)
    except (EcgError, OSError, ImportError) as error:
        text = script_text(str(error), vars(options))
        sys.stderr.write(f"ecg-transformers: {type(error).__name__}: {text}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("ecg-transformers: interrupted. The same command continues a table where it left off.\n")
        return 130


def _inspect(options: argparse.Namespace, reading: dict[str, Any]) -> int:
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
    record = _read(path, reading)
    sys.stdout.write(describe_record(record) + "\n")
    if options.model is not None:
        from transformers import AutoFeatureExtractor

        extractor = AutoFeatureExtractor.from_pretrained(options.model).with_policies(**_given(options, _RULES))
        text = extractor.explain(record).strip()
        sys.stdout.write(f"\nPreparation by {options.model}:\n{text}\n")
    return 0


def _inspect_checkpoint(folder: Path) -> int:
    from .publishing.inspection import inspect_checkpoint

    found = inspect_checkpoint(folder)
    sys.stdout.write(found.text + "\n")
    return 0 if found.golden is None or found.golden.passed else 1


def _fetch(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download

    with hub_errors(f"{repo_id} is no local recording or checkpoint, and the Hub does not have it"):
        return Path(snapshot_download(repo_id, allow_patterns=HUB_PATTERNS))


def _read(path: Path, reading: dict[str, Any]) -> "EcgRecord":
    from .signals.formats.readers import read_record

    return read_record(path, **reading)


def _plot(options: argparse.Namespace, reading: dict[str, Any]) -> int:
    from .files import replace_file
    from .viz.paper import plot_ecg

    if options.output is not None and options.output.suffix not in _PICTURES:
        raise ArgumentsError(f"--output is {options.output}; expected a file that ends in {', '.join(_PICTURES)}.")
    record = _read(Path(options.record), reading)
    figure = plot_ecg(record, options.layout, start=options.start, duration=options.duration)
    output = options.output or Path(f"{record.name or Path(options.record).stem}.png")
    with replace_file(output) as temporary:
        figure.savefig(temporary, format=output.suffix[1:] or "png", dpi=150)
    sys.stdout.write(f"-> {output}\n")
    return 0


def _to_table(options: argparse.Namespace, reading: dict[str, Any]) -> int:
    from transformers import pipeline

    from .inference.loading import checkpoint_errors, quiet_loading

    task = {"classify": "ecg-classification", "embed": "ecg-feature-extraction"}[options.command]
    make: Any = pipeline  # its annotations know the tasks of the library only
    with checkpoint_errors(options.checkpoint), quiet_loading():
        apply = make(task, model=options.checkpoint)
    reading |= _given(options, _RULES)
    if getattr(options, "aggregate", None):
        reading["aggregate"] = options.aggregate
    only = options.source[0] if len(options.source) == 1 else None
    if options.command == "classify" and only is not None and options.output is None and not Path(only).is_dir():
        sys.stdout.write(_labels(apply(only, top_k=_SHOWN_LABELS, max_memory=options.max_memory, **reading)) + "\n")
        return 0
    source = only if only is not None and Path(only).is_dir() else list(options.source)
    written = apply.to_table(
        source, options.output, batch_size=options.batch_size, max_memory=options.max_memory,
        windows=options.windows or None, overwrite=options.overwrite, **reading,
    )  # fmt: skip
    if written.refused_path is not None:
        with written.refused_path.open(encoding="utf-8", newline="") as file:
            refused = [{"name": row["record"], "reason": row["reason"]} for row in csv.DictReader(file)]
        lines = refusal_lines(refused, written.records, str(written.refused_path), vars(options))
        sys.stdout.write(f"{lines}\n")
    sys.stdout.write(f"{written}\n")
    return int(written.refused * 2 >= written.records > 0)


def _labels(found: list[dict[str, Any]]) -> str:
    """The labels of a recording, one a line: code, score, decision, name."""
    words = {True: "positive", False: "", None: "no threshold"}
    return "\n".join(
        f"{one['label']:<12} {one['score']:.3f}  {words[one['positive']]:<12}  {one['name']}".rstrip() for one in found
    )


def _export(options: argparse.Namespace, reading: dict[str, Any]) -> int:
    from .exporting import export_checkpoint

    folder = Path(options.checkpoint)
    if not folder.is_dir() and re.fullmatch(r"[\w.-]+/[\w.-]+", options.checkpoint) and not folder.parent.exists():
        folder = _fetch(options.checkpoint)
    done = export_checkpoint(folder, options.output_dir, format=options.format)
    shapes = "; ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in done.signature.inputs.items())
    sys.stdout.write(
        f"{shapes} -> {', '.join(done.signature.outputs)}\n"
        f"equal to the model within {done.difference:.1e} of the largest value\n-> {done.file}\n"
    )
    if done.example is not None:
        sys.stdout.write(f"-> {done.example}\n")
    elif options.format == "onnx":
        sys.stdout.write("no example: this contract has steps that score_recording.py does not know\n")
    return 0


def _push(options: argparse.Namespace, reading: dict[str, Any]) -> int:
    from .corpora.hub import push_corpus
    from .corpora.prepared import load_corpus

    if not Path(options.corpus).is_dir():
        raise CorpusError(f"{options.corpus} does not exist; expected the folder of a prepared corpus.")
    url = push_corpus(load_corpus(options.corpus), options.repo_id, private=not options.public)
    sys.stdout.write(f"-> {url}\n")
    return 0


def _convert(options: argparse.Namespace, reading: dict[str, Any]) -> int:
    from .commands.convert import CONVERTERS, DEFAULT_KIND, convert_checkpoint, read_labels

    arguments = list(options.arguments)
    folder = options.output_dir
    named = arguments[0] in (*CONVERTERS, _WFDB) or len(arguments) + (folder is not None) > 2
    kind = arguments.pop(0) if named else DEFAULT_KIND
    if len(arguments) != (1 if folder is not None else 2):
        raise ArgumentsError(f"convert got {' '.join(options.arguments)}; expected [KIND] FILE and --output_dir OUT.")
    file, folder = arguments[0], folder or arguments[-1]
    if kind == _WFDB:
        return _to_wfdb(Path(file), Path(folder), options, reading)
    labels = None if options.labels is None else read_labels(options.labels)
    strides = None
    if options.strides is not None:
        if not re.fullmatch(r"\d+(,\d+)*", options.strides):
            raise ArgumentsError(f"strides is {options.strides!r}; expected numbers such as 2,2,2,2.")
        strides = [int(number) for number in options.strides.split(",")]
    try:
        converted = convert_checkpoint(
            kind,
            file,
            folder,
            labels=labels,
            lead_names=reading.get("leads"),
            strides=strides,
            preparation=options.preparation,
        )
    except CheckpointError as error:
        if named or Path(folder).exists():
            raise
        others = ", ".join(name for name in CONVERTERS if name != DEFAULT_KIND)
        raise CheckpointError(f"{error} A file of another project needs its kind before it: {others}.") from error
    sys.stdout.write(f"{type(converted.model).__name__} in {folder}\n")
    sys.stdout.write("".join(f"{note}.\n" for note in converted.notes))
    return 0


def _to_wfdb(source: Path, target: Path, options: argparse.Namespace, reading: dict[str, Any]) -> int:
    from .signals.formats.folders import find_recordings
    from .signals.formats.readers import read_record_with_defaults
    from .signals.wfdb.write import write_wfdb

    done = refused = 0
    for path in find_recordings(source) if source.is_dir() else [source]:
        try:
            record = read_record_with_defaults(path, **reading) if source.is_dir() else _read(path, reading)
            record.name = re.sub(r"[^A-Za-z0-9_-]+", "_", record.name or path.stem)
            if (target / f"{record.name}.hea").exists():
                raise RecordFileError(f"{target / record.name}.hea exists; choose another folder.")
            write_wfdb(record, target)
            done += 1
        except EcgError as error:
            refused += 1
            sys.stderr.write(f"{path}: {script_text(str(error), vars(options))}\n")
    sys.stdout.write(f"{done} recordings -> {target}" + (f", {refused} refused" if refused else "") + "\n")
    return int(refused * 2 >= done + refused)


def _app(options: argparse.Namespace, reading: dict[str, Any]) -> int:
    from .app.page import launch

    launch(options.model, indexes=options.indexes, port=options.port)
    return 0


def _index(options: argparse.Namespace, reading: dict[str, Any]) -> int:
    from .app.analysis import Checkpoint
    from .app.index import build_index

    checkpoint = Checkpoint(options.model)
    written = build_index(
        checkpoint.embed,
        options.source,
        options.output,
        records=options.records,
        license_text=options.license,
        **reading,
    )
    sys.stdout.write(f"{len(written.names)} recordings -> {options.output}\n")
    return 0


def _list(options: argparse.Namespace, reading: dict[str, Any]) -> int:
    from .auto import ARCHITECTURES
    from .corpora import CORPORA
    from .listing import DEFAULT_FOLDER, list_models
    from .signals.formats.readers import reader_names

    is_local = Path(options.source or DEFAULT_FOLDER).is_dir()
    entries = list_models(options.source) if is_local else []
    names: dict[str, list[str]] = {}
    for entry in entries:
        names.setdefault(entry.model_type, []).append(Path(entry.name).name)
    rows = [
        (one.model_type, ", ".join(one.heads), ", ".join(names.get(one.model_type, ())))
        for one in ARCHITECTURES.values()
    ]
    _write_part("architectures", _columns(rows))
    _write_part("corpora", [", ".join(CORPORA)])
    _write_part("formats", [", ".join(reader_names())])
    checkpoints = "none"
    if not is_local:
        sys.stdout.flush()  # the rest may wait for the network
        try:
            entries = list_models(options.source)
        except CheckpointError as error:
            if options.source is not None:
                raise
            checkpoints = f"not listed: {error}"
    lines = _columns([(entry.name, entry.facts) for entry in entries])
    scores = (entry.scores for entry in entries)
    listed = ["\n      ".join(map(str, (line, *found))) for line, found in zip(lines, scores, strict=True)]
    _write_part("checkpoints", listed or [checkpoints])
    return 0


def _write_part(title: str, lines: Sequence[str]) -> None:
    sys.stdout.write(f"{title}:\n" + "".join(f"  {line}\n" for line in lines))


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def describe_record(record: "EcgRecord") -> str:
    """Describes a recording, one fact per line.

    Args:
        record: The recording.

    Returns:
        Leads, sampling rate, length, range in mV, patient, labels, annotations, and the notes of the reader.
    """
    import numpy as np

    from .signals.quality import flat_leads

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


def _range(signal: "np.ndarray") -> str:
    import numpy as np

    finite = signal[np.isfinite(signal)]
    missing = signal.size - finite.size
    text = f"{finite.min():.3f} to {finite.max():.3f}" if finite.size else "none"
    return text + (f", {missing:,} missing" if missing else "")


if __name__ == "__main__":
    sys.exit(main())
