"""Label efficiency: scores over the number of labeled records, from the entries of `results.json`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import SignalError
from ..evaluation.results.entries import label_efficiency_curves, train_amount
from .curves import draw_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_label_efficiency"]


def plot_label_efficiency(entries: Sequence[Mapping[str, Any]], *, title: str | None = None) -> "Figure":
    """Plot the score of each system over the number of training folds and of labeled records in them.

    A band shows the 95 % interval over the evaluated records. Seeds are averaged, and shown as small dots. Label sets,
    corpora, evaluated folds and minimum numbers of positives have separate panels, unless no rare label was excluded.
    Systems with a single amount of data and entries under noise are omitted. Systems without pretraining are dashed.

    Args:
        entries: Entries of `results.json`; those of a curve differ in `train_folds` or `train_fraction`.
        title: Title. Default: "Label efficiency".

    Returns:
        A matplotlib figure.

    Raises:
        SignalError: If no system was trained on two amounts of data.

    Example:
        >>> one = {"metric": "macro_auroc", "mode": "from_scratch", "checkpoint": "xresnet1d50-ecg"}
        >>> few = one | {"train_folds": [1], "value": 0.84, "low": 0.82, "high": 0.86}
        >>> many = one | {"train_folds": [1, 2], "value": 0.87, "low": 0.85, "high": 0.89}
        >>> plot_label_efficiency([few, many]).axes[0].get_xlabel()
        'training folds'
    """
    curves = label_efficiency_curves(entries)
    if not curves:
        raise SignalError(
            "no system was trained on two amounts of data; expected entries that differ in train_folds or "
            "train_fraction. Make them with --label_efficiency 1,2,4,8."
        )
    figure = draw_curves(curves, amount=train_amount, title=title or "Label efficiency (band: 95 % interval)")
    for axes, systems in zip(figure.axes, curves, strict=True):
        _name_amounts(axes, [entry for system in systems.values() for entry in system])
    return figure


def _name_amounts(axes: "Axes", entries: Sequence[Mapping[str, Any]]) -> None:
    """Label the axis with folds, and with records if their number is nearly the same for every system and draw."""
    records: dict[float, set[int]] = {}
    for entry in entries:
        records.setdefault(train_amount(entry), set()).add(int(entry.get("train_records") or 0))
    # Logarithmic: doubling the data is one step to the right.
    axes.set_xscale("log", base=2)
    ticks = sorted(records)
    # Draws of a share differ by a few records, because they are of whole patients.
    known = all(0 < max(counts) <= 1.02 * min(counts) for counts in records.values())
    # A share of the records says more in records than as a part of a fold.
    folds = ["" if known and n % 1 else f"{n:.3g}" for n in ticks]
    numbers = [f"\n{min(records[n]):,}" if known else "" for n in ticks]
    axes.set_xticks(ticks, [fold + count for fold, count in zip(folds, numbers, strict=True)], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("training folds\nlabeled records" if known else "training folds")
