"""Options of `training/score_beats.py`."""

from dataclasses import dataclass

from ..option import option

__all__ = ["BeatScoringArguments"]


@dataclass(frozen=True)
class BeatScoringArguments:
    """What `training/score_beats.py` takes."""

    corpus: str = option(
        "", help="Folder of the prepared beats (training/prepare.py mitdb_beats).", group="Data", required=True,
        recorded=False,
    )  # fmt: skip
    splits: list[str] = option(
        default_factory=lambda: ["de_chazal"],
        help="Splits: published/0 to published/4 (patients in training and in test), patients/0 to patients/4, "
        "de_chazal; patients and published stand for the mean of their five.",
        group="Data",
    )
    model: list[str] = option(
        default_factory=list,
        help="Checkpoints that were trained on the normal beats of the split; none: the baselines only.",
        group="Data",
        recorded=False,
    )
    as_used: str | None = option(
        None,
        help="Official tree of the recordings: also score those of the test patients by the pipeline, with detected "
        "instead of annotated beats.",
        group="Data",
        recorded=False,
    )
    baselines: bool = option(True, help="Score the baselines, too.", group="Data")
    resamples: int = option(1000, help="Number of bootstrap resamples of the patients.", group="Report")
    seed: int = option(0, help="Seed of the resamples and of the isolation forest.", group="Report")
    card: str | None = option(
        None,
        help="Name of the one checkpoint in the entries; they are added to hub_cards/CARD/results.json.",
        group="Report",
        recorded=False,
    )
    output_dir: str = option("runs/score_beats", help="Folder of results.json.", recorded=False)
