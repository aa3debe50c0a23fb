"""Official checkpoints of other projects to folders of ours: what `ecg-transformers convert` does."""

import inspect
import shutil
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentsError, CheckpointError
from ..files import replace_folder

if TYPE_CHECKING:
    from ..conversion import Converted, OutputLabels

__all__ = ["CONVERTERS", "DEFAULT_KIND", "LABEL_LISTS", "convert_checkpoint", "read_labels"]

# Kind of a file that is given without one.
DEFAULT_KIND = "fairseq-signals"
# Label systems whose order is that of the outputs of published classifiers.
LABEL_LISTS = ("ecg_fm", "challenge2021")

# Kind of checkpoint to module and function.
CONVERTERS: dict[str, str] = {
    "fairseq-signals": "ecg_wav2vec2.convert_ecg_wav2vec2:convert_fairseq_signals",
    "beatgan": "beatgan.convert_beatgan:convert_beatgan",
    "ecg-selfsupervised-simclr": "simclr.convert_simclr:convert_simclr",
    "ecg-selfsupervised-byol": "byol.convert_byol:convert_byol",
    "ecg-selfsupervised-swav": "swav.convert_swav:convert_swav",
    "ecg-selfsupervised-cpc": "cpc.convert_cpc:convert_cpc",
    "ecg-selfsupervised-xresnet": "xresnet1d.convert_xresnet1d:convert_xresnet",
}


def read_labels(text: str) -> "OutputLabels":
    """The labels that `--labels` names.

    Args:
        text: A name of `LABEL_LISTS`, or a file with one code a line, in the order of the outputs.

    Raises:
        ArgumentsError: It is neither.
    """
    from ..conversion import OutputLabels
    from ..corpora.labels import label_set, read_table

    if text in LABEL_LISTS:
        labels = label_set(text)
        joined = {row["code"]: row.get("windows") for row in read_table(text)}
        most = tuple(code for code in labels.codes if joined[code] == "max")
        return OutputLabels(labels.codes, labels.names, labels.system, most)
    if not Path(text).is_file():
        raise ArgumentsError(f"labels is {text!r}; expected a file with one code a line, or {', '.join(LABEL_LISTS)}.")
    lines = (line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines())
    return OutputLabels(tuple(line for line in lines if line))


def convert_checkpoint(
    kind: str,
    file: str | Path,
    folder: str | Path,
    *,
    labels: "OutputLabels | Sequence[str] | None" = None,
    **options: Any,
) -> "Converted":
    """Convert a checkpoint into a folder with weights, config and preprocessing, which appears whole.

    Args:
        kind: A name of `CONVERTERS`.
        file: The official file.
        folder: The new folder.
        labels: Labels of the outputs, or their codes.
        **options: `lead_names`, `strides`, `preparation`, where the kind takes them; `None` = not given.

    Raises:
        ArgumentsError: An unknown kind, or an option that it does not take.
        CheckpointError: The file is no such checkpoint, or the folder exists.
    """
    from ..publishing.card.head import converted_template
    from ..publishing.folder import TEMPLATE_FILE

    if kind not in CONVERTERS:
        raise ArgumentsError(f"The kind of checkpoint is {kind!r}; expected one of {', '.join(CONVERTERS)}.")
    module, _, name = CONVERTERS[kind].partition(":")
    convert: Callable[..., Converted] = getattr(import_module(f"..models.{module}", __package__), name)
    given = {option: value for option, value in options.items() if value is not None}
    accepted = inspect.signature(convert).parameters
    if labels is not None:
        given |= _given_labels(kind, labels, accepted)
    if unknown := given.keys() - accepted.keys():
        raise ArgumentsError(f"{kind} takes no {', '.join(sorted(unknown))}.")
    folder = Path(folder)
    if folder.exists():
        raise CheckpointError(f"{folder} exists; choose another output folder.")
    converted = convert(file, **given)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    converted.model.save_pretrained(unfinished)
    converted.extractor.save_pretrained(unfinished)
    if converted.source is not None:
        card = converted_template(
            converted.source, Path(file), command=_command(kind, file, folder), notes=converted.notes
        )
        (unfinished / TEMPLATE_FILE).write_text(card, encoding="utf-8")
    replace_folder(unfinished, folder)
    return converted


def _given_labels(kind: str, labels: "OutputLabels | Sequence[str]", accepted: Collection[str]) -> dict[str, Any]:
    """The labels as the kind of checkpoint takes them."""
    from ..conversion import OutputLabels

    known = labels if isinstance(labels, OutputLabels) else OutputLabels(tuple(labels))
    if "outputs" in accepted:
        return {"outputs": known}
    if known.system != "own":
        raise ArgumentsError(f"{kind} takes a file of codes as labels, not the list {known.system}.")
    return {"labels": list(known.codes)}


def _command(kind: str, file: str | Path, folder: Path) -> str:
    """The command that converts the file, without the place of either on this machine."""
    named = "" if kind == DEFAULT_KIND else f"{kind} "
    return f"ecg-transformers convert {named}{Path(file).name} --output_dir {folder.name}"
