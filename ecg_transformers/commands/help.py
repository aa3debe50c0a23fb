"""`--help` of the scripts, from the declarations that are read: grouped, with types, defaults and required marks.

Only the fields of a family, which a CONFIG asks for, need torch and Transformers.
"""

import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from .command_line import read_yaml
from .entry import IMPORT_HELP
from .options import Declared, declared_options

__all__ = ["TRAINER_ARGUMENTS", "command_help", "type_text", "wants_help"]

_WIDTH, _NAME_WIDTH = 118, 30
_GROUPS = (
    "Data", "Files that do not state everything", "Labels and folds", "Windows and records", "Unusual recordings",
    "Classification head", "Training", "Report", "Run",
)  # fmt: skip
# Arguments of the Trainer that a user sets most: what a value looks like, default, description. Importing their class
# takes seconds; a test compares it with these.
TRAINER_ARGUMENTS: dict[str, tuple[str, Any, str]] = {
    "num_train_epochs": ("NUMBER", 3.0, "Number of epochs."),
    "max_steps": ("INT", -1, "Number of optimizer steps instead of num_train_epochs; -1 = not set."),
    "per_device_train_batch_size": ("INT", 8, "Batch size of a process."),
    "gradient_accumulation_steps": ("INT", 1, "Batches per optimizer step."),
    "learning_rate": ("NUMBER", 5e-5, "Peak learning rate."),
    "lr_scheduler_type": ("NAME", "linear", "Schedule of the learning rate."),
    "warmup_steps": ("NUMBER", 0, "Steps of a linear warm-up; below 1: share of all steps."),
    "warmup_epochs": ("NUMBER", None, "Warm-up in epochs instead of warmup_steps."),
    "weight_decay": ("NUMBER", 0.0, "Weight decay."),
    "max_grad_norm": ("NUMBER", 0.0, "Largest norm of the gradient; 0 does not clip."),
    "bf16": ("", False, "Mixed precision with bfloat16."),
    "eval_strategy": ("NAME", "no", "When to evaluate: no, steps, epoch."),
    "save_strategy": ("NAME", "steps", "When to save a checkpoint: no, steps, epoch, best."),
    "logging_steps": ("NUMBER", 500, "Steps between two lines of the log; below 1: share of all steps."),
    "dataloader_num_workers": ("INT", 0, "Processes that make batches."),
    "disable_tqdm": ("true|false", None, "Hide progress bars."),
}
_TYPES = {int: "INT", float: "NUMBER", str: "TEXT", dict: "JSON", list: "LIST", tuple: "LIST"}
_TRAINER_PAGE = "https://huggingface.co/docs/transformers/main_classes/trainer#transformers.TrainingArguments"


def wants_help(argv: list[str]) -> bool:
    """Whether a command line asks for help: by name, or by being empty."""
    return not argv or "--help" in argv or "-h" in argv


def command_help(
    usage: str,
    kind: type,
    argv: Iterable[str] = (),
    *,
    trainer: Mapping[str, Any] | None = None,
    left_out: Iterable[str] = (),
) -> str:
    """The text of `--help`.

    Args:
        usage: Docstring of the script.
        kind: Its arguments, a dataclass of options.
        argv: The command line: a CONFIG on it lists the fields of its architecture too.
        trainer: Defaults of the Trainer's arguments; `None` = the script takes none.
        left_out: Options of `kind` that this script does not take.
    """
    declared = {name: one for name, one in declared_options(kind).items() if name not in set(left_out)}
    groups = sorted({one.facts["group"] for one in declared.values()}, key=_GROUPS.index)
    parts = [usage.strip()]
    for group in groups:
        rows = [_option_row(one) for one in declared.values() if one.facts["group"] == group]
        if group == "Run":
            rows.append(("--import FILE|MODULE", IMPORT_HELP))
        parts.append(_block(group, rows))
    if trainer is not None:
        parts.append(_block("Trainer (the most used; every field is an option)", _trainer_rows(declared, trainer)))
        parts[-1] += f"\n  all: {_TRAINER_PAGE}"
    config = next((one for one in argv if one.endswith((".yaml", ".yml", ".json"))), None)
    return "\n\n".join([*parts, *([] if config is None else _architecture_blocks(config, declared))])


def _option_row(one: Declared) -> tuple[str, str]:
    names = " / ".join(f"--{name}" for name in (one.name, one.facts["alias"]) if name)
    text = one.facts["help"]
    if one.facts["choices"]:
        text += f" One of {', '.join(one.facts['choices'])}."
    if one.facts["required"]:
        text = f"Required. {text}"
    return f"{names} {type_text(one.kind, one.default)}".rstrip(), text + _default_text(one.default, text)


def _default_text(default: Any, text: str) -> str:
    if default is False or default in (None, MISSING, "", {}, [], ()) or "Default:" in text:
        return ""
    if isinstance(default, list | tuple):
        return f" (default: {','.join(map(str, default))})"
    return f" (default: {str(default).lower() if default is True else default})"


def type_text(kind: Any, default: Any = None) -> str:
    """What a value looks like; nothing for a switch that is off by default.

    Args:
        kind: Annotated type.
        default: Default of the option.
    """
    kinds = [one for one in get_args(kind) if one is not type(None)] if _is_union(kind) else [kind]
    names: list[str] = []
    for one in kinds:
        if get_origin(one) is Literal:
            names += map(str, get_args(one))
        elif isinstance(one, type) and issubclass(one, Enum):
            names += ["NAME"]
        elif one is bool:
            names += [] if default is False else ["true", "false"]
        else:
            names.append(_TYPES.get(get_origin(one) or one, "VALUE"))
    if {"TEXT", "NAME"} <= set(names):
        names.remove("TEXT")
    return "|".join(dict.fromkeys(names))


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (typing.Union, types.UnionType)


def _trainer_rows(declared: Mapping[str, Declared], defaults: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [] if "output_dir" in declared else [("--output_dir TEXT", "Required. Output folder.")]
    for name, (shown, default, text) in TRAINER_ARGUMENTS.items():
        if name not in declared:
            rows.append((f"--{name} {shown}".rstrip(), text + _default_text(defaults.get(name, default), text)))
    return rows


def _architecture_blocks(config: str, declared: Iterable[str]) -> list[str]:
    """The fields of the family that a CONFIG names, each with its description and the value in CONFIG.

    A field is shown once: not if it is an option of the script, and with the signal if the extractor has it too. Those
    that a training sets are left out.
    """
    from ..configuration import LABEL_FIELDS
    from ..features.contract import CHOICES, SignalContract
    from .settings import architecture_of, architecture_owners

    values = read_yaml(config)
    if "model_type" not in values and "model" in values:
        return []
    architecture = architecture_of(values.get("model_type"))
    blocks = []
    classes = {"config": architecture.config, "extractor": architecture.feature_extractor}
    described: list[type] = [architecture.config]
    if "backbone_config" in {entry.name for entry in fields(architecture.config)}:
        described.insert(0, architecture.config.read_backbone(values.get("backbone_config"))[0])
    defaults = {
        "config": {entry.name: entry.default for kind in described for entry in fields(kind)},
        "extractor": {
            name: parameter.default
            for name, parameter in inspect.signature(architecture.feature_extractor.__init__).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        },
    }
    owners = architecture_owners(architecture, values.get("backbone_config"))
    elsewhere = {
        "config": {*declared, *LABEL_FIELDS, "pretrained_by", *owners["extractor"]},
        "extractor": set(declared),
    }
    for owner, kinds in owners.items():
        sources = described if owner == "config" else [SignalContract, classes[owner]]
        docs = {name: text for kind in sources for name, text in _field_docs(kind).items()}
        rows = []
        for name in sorted(kinds.keys() - elsewhere[owner]):
            set_here = f" ({config.rpartition('/')[2]}: {values[name]})" if name in values else ""
            choices = f" One of {', '.join(map(str, CHOICES[name]))}." if name in CHOICES else ""
            default = set_here or _default_text(defaults[owner].get(name), docs.get(name, ""))
            rows.append((f"--{name} {type_text(kinds[name])}".rstrip(), docs.get(name, "") + choices + default))
        title = "Architecture" if owner == "config" else "Signal"
        blocks.append(_block(f"{title} ({classes[owner].__name__})", rows))
    return blocks


def _field_docs(kind: type) -> dict[str, str]:
    """The first sentence that a class, or one it is derived from, has for each argument in its docstring."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        section = re.search(r"Args:\n(.*?)(?:\n\n|\Z)", base.__doc__ or "", re.DOTALL)
        if section and base.__module__.startswith(__package__.split(".")[0]):
            text = textwrap.dedent(section[1])
            for entry in re.finditer(r"^(\w+)(?: \(.*?\))?: (.*(?:\n[ ]+.*)*)", text, re.MULTILINE):
                found[entry[1]] = _first_sentence(" ".join(entry[2].split()))
    return found


def _first_sentence(text: str) -> str:
    """A text up to its first full stop or semicolon outside parentheses, with a full stop."""
    ends = (match.start() for match in re.finditer(r"[.;](?= |$)", text))
    end = next((end for end in ends if text.count("(", 0, end) == text.count(")", 0, end)), len(text))
    return text[:end] + "."


def _block(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Names at the left, texts at the right, wrapped."""
    lines = [f"{title}:"]
    for name, text in rows:
        wrapped = textwrap.wrap(text, _WIDTH - _NAME_WIDTH - 4) or [""]
        if len(name) > _NAME_WIDTH:
            lines.append(f"  {name}")
            name = ""
        lines += [f"  {name:<{_NAME_WIDTH}}  {wrapped[0]}".rstrip()]
        lines += [f"  {'':<{_NAME_WIDTH}}  {line}" for line in wrapped[1:]]
    return "\n".join(lines)
