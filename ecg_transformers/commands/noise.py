"""A classifier under the levels of noise: predictions, entries of `results.json`, a table, a picture.

Nothing is trained or chosen under noise: head and thresholds are those of the clean evaluation. The noise does not
depend on the seed of a training, so that every model and every seed is scored on the same noisy recordings.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..corpora.protocol import Splits
from ..errors import ArgumentsError
from ..evaluation.modes import Outcome, baseline_name
from ..evaluation.results.entries import metric_words
from ..evaluation.results.predictions import Predictions
from ..evaluation.results.report import outcome_entries, prediction_file
from ..evaluation.results.store import format_table
from ..inference.aggregation import Aggregate
from ..inference.encode import predict_records
from ..inference.noise import NOISE_LEVELS, check_noise_place

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["NOISE_SEED", "check_noise_levels", "draw_noise_robustness", "noise_table", "score_under_noise"]

NOISE_SEED = 0
FIGURE = "noise_robustness.png"


def check_noise_levels(levels: Sequence[int] | None, extractor: "EcgFeatureExtractor", splits: Splits) -> None:
    """Refuse what could not be scored under noise, before anything is trained.

    Args:
        levels: The wanted levels; None or none: nothing is checked.
        extractor: The checkpoint's feature extractor.
        splits: The protocol.

    Raises:
        ArgumentsError: There is no such level.
        SignalError: The signal is normalized before its windows are cut.
    """
    if not levels:
        return
    unknown = [level for level in levels if level not in NOISE_LEVELS]
    if unknown:
        raise ArgumentsError(
            f"noise_levels has {', '.join(map(str, unknown))}; expected numbers from 1 to {max(NOISE_LEVELS)}."
        )
    check_noise_place(extractor, splits.evaluate.corpus)


def score_under_noise(
    levels: Sequence[int],
    outcome: Outcome,
    baseline: Outcome | None,
    extractor: "EcgFeatureExtractor",
    splits: Splits,
    *,
    folder: str | Path,
    name: str,
    seed: int,
    aggregate: Aggregate = "mean",
    bf16: bool | None = None,
    batch_size: int = 256,
    **common: Any,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Score an outcome, and its baseline on the same noisy recordings.

    The predictions of a level are kept in `predictions/noise<level>/`.

    Args:
        levels: 1 to 6; each is scored once.
        outcome: Of the system on the recordings as they are.
        baseline: What it is compared with.
        extractor: The feature extractor of both.
        splits: The protocol.
        folder: Where the predictions go.
        name: What the entries call the checkpoint.
        seed: Of the run.
        aggregate: How the windows of a record are joined.
        bf16: bfloat16 autocast; on with an accelerator when `None`.
        batch_size: Windows per pass.
        **common: What else `outcome_entries` is told.

    Returns:
        The entries of the system and those of the baseline, each with `noise_level` and `noise_seed`.
    """
    entries: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    common |= {"name": name, "seed": seed, "aggregate": aggregate}
    for level in sorted(set(levels)):
        noisy = {}
        for key, one in (("system", outcome), ("baseline", baseline)):
            if one is None:
                continue
            noisy[key] = _predict(
                one, extractor, splits, level=level, aggregate=aggregate, bf16=bf16, batch_size=batch_size
            )
            path = prediction_file(folder, one, splits, checkpoint=name.replace("/", "-"), seed=seed)
            noisy[key].predictions.save(path.parent / f"noise{level}" / path.name)
        facts = {"noise_level": level, "noise_seed": NOISE_SEED}
        against = [(baseline_name(outcome.mode), noisy["baseline"])] if baseline is not None else []
        made = outcome_entries(noisy["system"], splits, against=against, **common)
        entries += [entry | facts for entry in made]
        if baseline is not None:
            beside += [entry | facts for entry in outcome_entries(noisy["baseline"], splits, **common)]
    return entries, beside


def _predict(
    outcome: Outcome,
    extractor: "EcgFeatureExtractor",
    splits: Splits,
    *,
    level: int,
    aggregate: Aggregate,
    bf16: bool | None,
    batch_size: int,
) -> Outcome:
    """The outcome with predictions under noise."""
    started = time.monotonic()
    scores = predict_records(
        outcome.model,
        splits.evaluate.corpus,
        extractor,
        aggregate=aggregate,
        batch_size=batch_size,
        bf16=outcome.model.device.type != "cpu" if bf16 is None else bf16,
        noise_level=level,
        seed=NOISE_SEED,
    )
    predictions = Predictions.of(splits.evaluate, scores, splits.task, outcome.thresholds)
    return replace(outcome, predictions=predictions, seconds=time.monotonic() - started)


def noise_table(entries: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]) -> str:
    """A row for each level, the recordings as they are first: figure, that of the baseline, paired difference.

    Args:
        entries: Of the system, clean and under noise.
        baseline: Of its baseline, or none.
    """
    others = {entry.get("noise_level", 0): entry for entry in baseline if entry["min_positives"] == 1}
    rows = []
    for entry in entries:
        if entry["min_positives"] != 1:
            continue
        level = entry.get("noise_level", 0)
        row = {"noise": level or "clean", metric_words(entry["metric"]): _figure(entry)}
        if level in others:
            difference = entry["difference"]
            row[str(difference["against"]).replace("_", " ")] = _figure(others[level])
            row["difference"] = f"{difference['value']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
        rows.append(row)
    return format_table(rows)


def _figure(entry: Mapping[str, Any]) -> str:
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


def draw_noise_robustness(folder: str | Path, entries: Sequence[Mapping[str, Any]]) -> Path:
    """Draw `noise_robustness.png` from the entries of a run or a card.

    Args:
        folder: Where it goes.
        entries: Clean ones and those under noise.

    Returns:
        The file.
    """
    from ..viz import plot_noise_robustness

    path = Path(folder) / FIGURE
    plot_noise_robustness(entries).savefig(path, dpi=110)
    return path
