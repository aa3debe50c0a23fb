"""Options of a command: names, types and defaults read off the dataclasses that use them, and their values read.

A command's arguments are a dataclass; its fields are options (`ecg_transformers.option.option`) or dataclasses of
options, the objects that use them. On the command line and in a YAML file all names are flat.
"""

from collections.abc import Container, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from ..errors import ArgumentsError
from .command_line import convert

__all__ = [
    "Declared",
    "build",
    "changed_options",
    "converted",
    "declared_options",
    "option_types",
    "unused_options",
]


@dataclass(frozen=True)
class Declared:
    """One option of a command.

    Args:
        name: Name of the option.
        kind: Its annotated type.
        entry: Its field, with default and facts.
        owner: Names of the attributes that lead from the command's arguments to its dataclass.
    """

    name: str
    kind: Any
    entry: Field
    owner: tuple[str, ...] = ()

    @property
    def facts(self) -> Mapping[str, Any]:
        """What `option` was given."""
        return self.entry.metadata

    @property
    def default(self) -> Any:
        """Its default; `MISSING` where it must be given."""
        if self.entry.default_factory is not MISSING:
            return self.entry.default_factory()
        return self.entry.default


def declared_options(kind: type) -> dict[str, Declared]:
    """The options of a command's arguments by name, those of its inner dataclasses included.

    Args:
        kind: A dataclass.
    """
    return _declared(kind, ())


def _declared(kind: type, owner: tuple[str, ...]) -> dict[str, Declared]:
    found: dict[str, Declared] = {}
    hints = get_type_hints(kind)
    for entry in fields(kind):
        inner = hints[entry.name]
        if isinstance(inner, type) and is_dataclass(inner):
            found |= _declared(inner, (*owner, entry.name))
        elif "help" in entry.metadata:
            found[entry.name] = Declared(entry.name, inner, entry, owner)
    return found


def option_types(kind: type) -> dict[str, Any]:
    """Types of the options of a command's arguments, by name and alias."""
    declared = declared_options(kind).values()
    return {str(name): one.kind for one in declared for name in (one.name, one.facts["alias"]) if name}


def converted(values: Mapping[str, Any], declared: Mapping[str, Declared], others: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the types of their options, under the options' own names.

    Args:
        values: By name or alias, as read.
        declared: The options.
        others: Types of names that are no options.

    Raises:
        ArgumentsError: A value that does not fit.
    """
    own_names = {str(one.facts["alias"]): name for name, one in declared.items() if one.facts["alias"]}
    found = {}
    for given, value in values.items():
        name = own_names.get(given, given)
        if value in (None, "") and name in declared and declared[name].facts["required"]:
            continue
        made = convert(name, value, declared[name].kind if name in declared else others[name])
        choices = declared[name].facts["choices"] if name in declared else ()
        if choices and made is not None and made not in choices:
            raise ArgumentsError(f"{name} is {made!r}; expected one of {', '.join(choices)}.")
        found[name] = made
    return found


def build(kind: type, values: Mapping[str, Any], **others: Any) -> Any:
    """A command's arguments from flat values.

    Args:
        kind: The dataclass.
        values: By name of option.
        **others: Values of fields that are no options, by name, wherever they are.

    Raises:
        ArgumentsError: A required option is missing.
    """
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for entry in fields(kind):
        inner = hints[entry.name]
        if isinstance(inner, type) and is_dataclass(inner):
            given[entry.name] = build(inner, values, **others)
        elif "help" not in entry.metadata:
            given |= {entry.name: others[entry.name]} if entry.name in others else {}
        elif entry.name in values:
            given[entry.name] = values[entry.name]
        elif entry.metadata["required"]:
            raise ArgumentsError(f"--{entry.name} must be given.")
    return kind(**given)


def changed_options(arguments: Any) -> dict[str, Any]:
    """The recorded options of a command's arguments that are not at their defaults, by name."""
    values = {name: (one, _value(arguments, one)) for name, one in declared_options(type(arguments)).items()}
    return {name: value for name, (one, value) in values.items() if one.facts["recorded"] and value != one.default}


def unused_options(arguments: Any, given: Container[str], uses: frozenset[str]) -> list[str]:
    """Options that were set to another value than their default and have no effect in a mode.

    Args:
        arguments: A command's arguments.
        given: Names that were set.
        uses: Groups of settings that the mode uses (`Mode.uses`).
    """
    found = []
    for name, one in declared_options(type(arguments)).items():
        facts = one.facts
        used = facts["used_by"] is None or facts["used_by"] in uses
        applies = facts["only_if"] is None or facts["only_if"](_holder(arguments, one))
        if name in given and _value(arguments, one) != one.default and not (used and applies):
            found.append(name)
    return found


def _holder(arguments: Any, one: Declared) -> Any:
    for part in one.owner:
        arguments = getattr(arguments, part)
    return arguments


def _value(arguments: Any, one: Declared) -> Any:
    return getattr(_holder(arguments, one), one.name)
