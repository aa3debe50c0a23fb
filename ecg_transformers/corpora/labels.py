"""Label systems: the tables of codes, the published label sets, and translation from one system to another."""

import csv
from functools import cache
from pathlib import Path

from ecg_transformers.corpora.definition import LabelSet

__all__ = ["read_table", "scp_label_sets"]

_TABLES = Path(__file__).parent / "tables"


@cache
def read_table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of ``tables/<name>.csv``; the lines before the header state its source and version."""
    with open(_TABLES / f"{name}.csv", encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(line for line in file if not line.startswith("#")))


@cache
def scp_label_sets() -> dict[str, LabelSet]:
    """PTB-XL's six label sets: all 71 statements, 44 diagnostic, 23 subclasses, 5 superclasses, 19 form, 12 rhythm.

    Labels are in the sorted order of their codes, as the published benchmarks have them. A statement counts whatever its
    likelihood.
    """
    rows = sorted(read_table("scp_statements"), key=lambda row: row["code"])
    sets = {}
    for name in ("all", "diagnostic", "form", "rhythm"):
        kept = [row for row in rows if name == "all" or row[name] == "1"]
        sets[name] = LabelSet(tuple(row["code"] for row in kept), tuple(row["name"] for row in kept), "scp")
    for level in ("subclass", "superclass"):
        names = {row["code"]: row["name"] for row in read_table("scp_classes") if row["level"] == level}
        codes = tuple(sorted(names))
        sources = tuple(tuple(row["code"] for row in rows if row["diagnostic"] == "1" and row[level] == code) for code in codes)
        sets[level] = LabelSet(codes, tuple(names[code] for code in codes), f"scp-{level}", sources)
    return {name: sets[name] for name in ("all", "diagnostic", "subclass", "superclass", "form", "rhythm")}
