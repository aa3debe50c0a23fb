"""Which lead stands where on a page of ECG paper.

A layout turns the leads of a record into rows of stretches. The page shows consecutive time: in a layout of four
columns the second column shows what happened after the first, as most electrocardiographs print it.

* `"3x4"`: three rows, a column for each group I-II-III, aVR-aVL-aVF, V1-V3, V4-V6; columns and rows in which the record
  has no lead are left out, and other leads (MLII, Frank X Y Z ...) follow in columns of three. Up to three leads have
  the whole time each.
* `"3x4+II"`: the same with lead II over the whole time below.
* `"stacked"`: every lead of the record over the whole time, one a row.
* `"12x1"`: the twelve standard leads over the whole time in twelve rows, each at its own place; an absent lead leaves
  its row empty and says so.
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

# the frontal plane from left to right; aVR is turned round (-aVR looks at +30 degrees)
CABRERA_LEADS = ("aVL", "I", "aVR", "II", "aVF", "III", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True)
class Stretch:
    """One lead from `start` to `stop` seconds of the page; `lead` is its index in the record, None if absent."""

    lead: int | None
    label: str
    start: float
    stop: float
    inverted: bool = False


def arrange(leads: Sequence[str], *, layout: Layout, order: Order, duration: float) -> list[list[Stretch]]:
    """The rows of the page from top to bottom, each a list of stretches in the order of time.

    Args:
        leads: Lead names of the record, in the record's order.
        layout: One of `LAYOUTS`.
        order: `"standard"` (I, II, III, aVR ...) or `"cabrera"` (aVL, I, -aVR, II, aVF, III, then V1 to V6).
        duration: Seconds on the page.

    Raises:
        SignalError: The layout or the order is unknown.
        LeadError: `"12x1"` of a record that has none of the twelve standard leads.
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
                'Pass layout="stacked".'
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
    # with a single column lead II is already there over the whole time
    if layout == "3x4+II" and "II" in position and len(columns) > 1:
        rows.append([stretch("II")])
    return rows
