"""Layouts: the arrangement of leads on a page of ECG paper.

A layout arranges the leads of a record in rows of stretches. Time on the page is consecutive: in a layout with four
columns, the second column continues after the first, as printed by most electrocardiographs.

* `"3x4"`: three rows, with one column for each group I-II-III, aVR-aVL-aVF, V1-V3, V4-V6; columns and rows without a
  lead are omitted, and other leads (MLII, Frank X Y Z ...) follow in columns of three. Up to three leads are shown over
  the full time.
* `"3x4+II"`: the same with lead II over the full time below.
* `"stacked"`: every lead of the record over the full time, one per row.
* `"12x1"`: the 12 standard leads over the full time in 12 rows; the row of a missing lead is empty and marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import LeadError, SignalError
from ..signals.leads import STANDARD_LEADS

__all__ = ["LAYOUTS", "Layout", "Order", "Stretch", "arrange"]

Layout = Literal["3x4", "3x4+II", "stacked", "12x1"]
Order = Literal["standard", "cabrera"]
LAYOUTS: tuple[Layout, ...] = ("3x4", "3x4+II", "stacked", "12x1")

# the frontal plane from left to right; aVR is inverted (-aVR is at +30 degrees)
CABRERA_LEADS = ("aVL", "I", "aVR", "II", "aVF", "III", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True)
class Stretch:
    """One lead from `start` to `stop` seconds of the page; `lead` is its index in the record, None if missing."""

    lead: int | None
    label: str
    start: float
    stop: float
    inverted: bool = False


def arrange(leads: Sequence[str], *, layout: Layout, order: Order, duration: float) -> list[list[Stretch]]:
    """Rows of the page from top to bottom, each a list of stretches in temporal order.

    Args:
        leads: Lead names of the record, in its order.
        layout: One of `LAYOUTS`.
        order: `"standard"` (I, II, III, aVR ...) or `"cabrera"` (aVL, I, -aVR, II, aVF, III, then V1 to V6).
        duration: Length of the page in seconds.

    Raises:
        SignalError: If layout or order is unknown.
        LeadError: If a record without standard leads has the layout `"12x1"`.
    """
    if layout not in LAYOUTS:
        raise SignalError(f"layout is {layout!r}; expected one of {', '.join(LAYOUTS)}.")
    if order not in ("standard", "cabrera"):
        raise SignalError(f'order is {order!r}; expected "standard" or "cabrera".')
    places = CABRERA_LEADS if order == "cabrera" else STANDARD_LEADS
    position = {name: index for index, name in enumerate(leads)}

    def stretch(name: str, start: float = 0.0, stop: float = duration) -> Stretch:
        inverted = order == "cabrera" and name == "aVR"
        return Stretch(position.get(name), f"\N{MINUS SIGN}{name}" if inverted else name, start, stop, inverted)

    if layout == "12x1":
        if not any(name in position for name in places):
            raise LeadError(
                f"layout 12x1 shows the twelve standard leads; this record has {', '.join(leads)}. "
                "Pass layout='stacked'."
            )
        return [[stretch(name)] for name in places]
    others = [name for name in leads if name not in places]
    present = [name for name in places if name in position] + others
    if layout == "stacked" or len(present) <= 3:
        return [[stretch(name)] for name in present]
    groups = [places[i : i + 3] for i in range(0, 12, 3)] + [tuple(others[i : i + 3]) for i in range(0, len(others), 3)]
    columns = [group for group in groups if any(name in position for name in group)]
    width = duration / len(columns)
    rows = [
        [
            stretch(group[row], column * width, (column + 1) * width)
            for column, group in enumerate(columns)
            if row < len(group) and group[row] in position
        ]
        for row in range(3)
    ]
    rows = [row for row in rows if row]
    # with a single column, lead II is already shown over the full time
    if layout == "3x4+II" and "II" in position and len(columns) > 1:
        rows.append([stretch("II")])
    return rows
