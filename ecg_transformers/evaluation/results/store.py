"""`results.json`: one entry per result with everything needed to repeat it, and its table."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import EcgError
from ...files import write_text
from .entries import KEY_FIELDS, unfinished_text

__all__ = ["add_to_card", "card_folder", "format_table", "merge_results", "read_results"]

# What an entry without the field has.
_KEY_DEFAULTS = {"noise_level": 0}


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """The entries of a file; none where there is no file."""
    path = Path(path)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def merge_results(path: str | Path, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add entries to a file: one with the key of an older entry replaces it, the others stay.

    `evaluations` counts how often a result was made, so that one of a test fold shows how often the fold was used.

    Args:
        path: `results.json`; written atomically.
        entries: New entries.

    Returns:
        All entries of the file.

    Raises:
        EcgError: A value is not finite.
    """
    for entry in entries:
        for name in ("value", "low", "high"):
            if not math.isfinite(entry[name]):
                raise EcgError(
                    f"{entry['checkpoint']}, {entry['mode']}: {name} is {entry[name]}; expected a number. "
                    "Evaluate more records."
                )
    path = Path(path)
    merged = {_key(entry): dict(entry) for entry in read_results(path)}
    for entry in entries:
        earlier = merged.get(_key(entry))
        count = 1 if earlier is None else int(earlier.get("evaluations", 1)) + 1
        merged[_key(entry)] = dict(entry) | {"evaluations": count}
    write_text(path, json.dumps(list(merged.values()), indent=1, allow_nan=False) + "\n")
    return list(merged.values())


def add_to_card(name: str, entries: Sequence[Mapping[str, Any]], *, run: str | Path | None = None) -> Path:
    """Add entries to the results of a card, and copy the other files that its run left for it.

    Args:
        name: Folder under `hub_cards/`.
        entries: New entries, named as the card should call them.
        run: Output folder whose `run.json` and `labels.csv` belong to the checkpoint of the card.

    Returns:
        The card's `results.json`.

    Raises:
        EcgError: A training was ended by its time limit.
    """
    for text in filter(None, map(unfinished_text, entries)):
        raise EcgError(f"the training is {text}; a card takes finished ones. Add --resume to continue it.")
    card = card_folder(name)
    merge_results(card / "results.json", entries)
    for file in ("run.json", "labels.csv"):
        if run is not None and (Path(run) / file).is_file():
            shutil.copyfile(Path(run) / file, card / file)
    return card / "results.json"


def card_folder(name: str) -> Path:
    """Folder of a card in the repository.

    Args:
        name: Name of its checkpoint.
    """
    return Path("hub_cards") / name


def _key(entry: Mapping[str, Any]) -> str:
    return json.dumps([entry.get(name, _KEY_DEFAULTS.get(name)) for name in KEY_FIELDS])


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as aligned plain text, the keys as header."""
    if not rows:
        return ""
    cells = [list(rows[0])] + [[str(value) for value in row.values()] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join(lines)
