"""One flat set of names from a YAML file and the command line, converted to the types of their fields and checked."""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import ArgumentsError

__all__ = ["convert", "field_types", "parse_command_line", "read_command_line", "read_yaml", "with_negations"]


def parse_command_line(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Split a command line into positional arguments and `--name value` options, values still as text.

    `--name` alone means true, `--name a b` is a list, `--name=value` works too, and `-` in a name means `_`.

    Args:
        argv: The command line without the program's name. A single value before the first option is positional, as is
            every further one before it.

    Example:
        >>> parse_command_line(["run.yaml", "--max_steps", "5", "--resume"])
        (['run.yaml'], {'max_steps': '5', 'resume': True})
    """
    positional: list[str] = []
    options: dict[str, Any] = {}
    current: list[str] | None = None
    collected: dict[str, list[str]] = {}
    for argument in argv:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            current = collected.setdefault(name.replace("-", "_"), [])
            current.clear()
            if equals:
                current.append(value)
        elif current is None:
            positional.append(argument)
        else:
            current.append(argument)
    for name, values in collected.items():
        options[name] = True if not values else values[0] if len(values) == 1 else values
    return positional, options


def with_negations(options: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Options with `--no_X` as X = false, where X is a switch and no option is called `no_X`.

    Args:
        options: By name, as read.
        kinds: Type of each known option.

    Example:
        >>> with_negations({"no_head_first": True, "seed": "1"}, {"head_first": bool, "seed": int})
        {'head_first': False, 'seed': '1'}
    """
    found = {}
    for name, value in options.items():
        positive = name.removeprefix("no_")
        if (
            name not in kinds
            and positive != name
            and value is True
            and bool in (get_args(kinds.get(positive)) or (kinds.get(positive),))
        ):
            found[positive] = False
        else:
            found[name] = value
    return found


def read_command_line(
    argv: Sequence[str], *, takes_config: bool = True
) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    """Read `[CONFIG.yaml] --name value ...`: the file if there is one, its settings, and the options as text.

    Args:
        argv: The command line without the program's name.
        takes_config: Whether a file may be named before the options. Default: yes.

    Raises:
        ArgumentsError: A value without an option before it, or a file that cannot be read.
    """
    positional, options = parse_command_line(argv)
    if len(positional) > int(takes_config):
        wanted = "one CONFIG and --name value" if takes_config else "--name value"
        raise ArgumentsError(f"{positional[-1]!r} has no option before it; expected {wanted}. See --help.")
    config = positional[0] if positional else None
    return config, {} if config is None else read_yaml(config), options


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a flat YAML (or JSON) file of names and values.

    Raises:
        ArgumentsError: If the file is missing, no YAML, or not a mapping.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise ArgumentsError(f"{path} does not exist. The configurations of the package are in training/configs/.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ArgumentsError(f"{path} is no valid YAML: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ArgumentsError(f"{path} must hold names and values (`name: value`), found {type(values).__name__}.")
    return values


def field_types(owner: type) -> dict[str, Any]:
    """Types of the fields of a dataclass, config class included, by name."""
    # Transformers' configs name "torch.dtype" without importing torch at run time; options are declared without it.
    import torch

    hints = get_type_hints(owner, localns={"torch": torch})
    return {entry.name: hints.get(entry.name, Any) for entry in dataclasses.fields(owner) if entry.init}


def convert(name: str, value: Any, kind: Any) -> Any:
    """Convert a value from YAML or the command line to a field's type.

    Text becomes a number where a number is wanted (YAML reads `1e-3` as text), `1-8` and `1,2,5` become lists of
    integers, JSON text becomes a mapping, `none` becomes None where that is allowed.

    Args:
        name: Name of the field, for the message.
        value: The value found.
        kind: Annotated type of the field.

    Raises:
        ArgumentsError: If the value does not fit.

    Example:
        >>> convert("learning_rate", "1e-3", float), convert("train_folds", "1-3", list[int])
        (0.001, [1, 2, 3])
    """
    try:
        return _convert(value, kind)
    except (ValueError, TypeError) as error:
        raise ArgumentsError(f"{name} is {value!r}; expected {_wanted(kind)}.") from error


_IN_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}


def _wanted(kind: Any) -> str:
    """The name of a type, as far as it is one that a user knows."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_wanted(one) for one in get_args(kind) if one is not type(None)))
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) in (list, tuple, Sequence):
        return f"a list, of each {_wanted(get_args(kind)[0])}"
    if kind is dict or get_origin(kind) in (dict, Mapping):
        return "NAME=VALUE, or JSON such as '{\"name\": value}'"
    return _IN_WORDS.get(kind) or getattr(kind, "__name__", None) or str(kind).replace("typing.", "")


def _convert(value: Any, kind: Any) -> Any:
    origin = get_origin(kind)
    if kind is Any or isinstance(kind, (str, typing.TypeVar)):
        return value
    if origin is typing.Annotated:
        return _convert(value, get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(kind))
    if origin is Literal:
        return _convert_literal(value, get_args(kind))
    if kind is bool:
        return _to_bool(value)
    if kind is int:
        return _to_int(value)
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        return float(value)
    if kind is str:
        # YAML reads `no` as False and `8` as a number where a name is meant.
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return value.value if isinstance(value, Enum) else _convert(value, str)
    if kind in (list, tuple) or origin in (list, tuple, Sequence):
        return _to_list(value, (get_args(kind) or (Any,))[0])
    if kind is dict or origin in (dict, Mapping):
        return _to_dict(value)
    return value


def _convert_union(value: Any, members: tuple) -> Any:
    if value is None or (isinstance(value, str) and value.lower() in ("none", "null", "~", "")):
        if type(None) in members:
            return None
    members = tuple(member for member in members if member is not type(None))
    for member in members:
        if isinstance(member, type) and type(value) is member:
            return value
    # Text last: everything can be read as text.
    for member in sorted(members, key=lambda member: member is str):
        try:
            return _convert(value, member)
        except (ValueError, TypeError):
            continue
    raise ValueError


def _convert_literal(value: Any, choices: tuple) -> Any:
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    for choice in choices:
        if isinstance(value, str) and value.lower() == str(choice).lower():
            return choice
    raise ValueError


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    booleans = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    if str(value).lower() not in booleans:
        raise ValueError
    return booleans[str(value).lower()]


def _to_int(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError
    number = float(value) if isinstance(value, str) else value
    if number != int(number):
        raise ValueError
    return int(number)


def _to_list(value: Any, kind: Any) -> list:
    if isinstance(value, str):
        text = value.strip()
        if kind is str and Path(text).exists():  # names of folders may have commas: those of a benchmark do
            value = [text]
        else:
            value = json.loads(text) if text.startswith("[") else [part for part in text.split(",") if part.strip()]
    elif not isinstance(value, Sequence):
        value = [value]
    items: list = []
    for item in value:
        first, dash, last = item.strip().partition("-") if isinstance(item, str) else ("", "", "")
        if kind is int and dash and first.isdigit() and last.isdigit():
            items += range(int(first), int(last) + 1)
        else:
            items.append(_convert(item.strip() if isinstance(item, str) else item, kind))
    return items


def _to_dict(value: Any) -> dict:
    pairs = value.split(",") if isinstance(value, str) else value
    if isinstance(pairs, Sequence) and all(
        isinstance(pair, str) and re.fullmatch(r"[^={}]+=[^={}]+", pair) for pair in pairs
    ):
        return dict(pair.strip().split("=") for pair in pairs)
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, Mapping):
        raise ValueError
    return dict(value)
