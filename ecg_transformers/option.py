"""One setting, declared once: parsing, help, checks and records are derived from it. Nothing heavy is imported."""

from collections.abc import Callable, Iterable
from dataclasses import MISSING, field
from typing import Any

__all__ = ["option"]


def option(
    default: Any = MISSING,
    *,
    help: str,
    group: str = "Run",
    default_factory: Any = MISSING,
    required: bool = False,
    choices: Iterable[str] = (),
    used_by: str | None = None,
    only_if: Callable[[Any], bool] | None = None,
    recorded: bool = True,
    alias: str | None = None,
) -> Any:
    """A field of a dataclass of settings, declared once: parsing, help, checks and records are derived from it.

    Args:
        default: Its default.
        help: One line for `--help`.
        group: Heading under which `--help` lists it.
        default_factory: As for `dataclasses.field`.
        required: Whether it must be given.
        choices: Names that it may have, where its type is text.
        used_by: Group of settings that a mode must use (`Mode.uses`) for it to have an effect; `None` = it always has.
        only_if: Given its dataclass, whether the other settings leave it an effect.
        recorded: Whether it shapes a result, and so is kept in `run.json` and `results.json`.
        alias: Another name on the command line.
    """
    facts = {"help": help, "group": group, "required": required, "choices": choices, "used_by": used_by}
    facts |= {"only_if": only_if, "recorded": recorded, "alias": alias}
    if default_factory is not MISSING:
        return field(default_factory=default_factory, metadata=facts)
    return field(default=default, metadata=facts)
