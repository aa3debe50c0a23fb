"""Options of `training/benchmark.py`."""

from dataclasses import dataclass
from typing import Any, Literal

from ..option import option

__all__ = ["BeatBenchmarkArguments", "BenchmarkArguments"]


@dataclass(frozen=True)
class BenchmarkArguments:
    """The settings of `training/benchmark.py` in addition to those of `training/finetune.py`."""

    systems: list[Any] = option(
        default_factory=list,
        help="Checkpoints, recipes, or in CONFIG mappings (name, model, config, pretrain, mode, any setting; or "
        "name, together); the others are compared with the first.",
        group="Data",
        required=True,
    )
    only: list[str] | None = option(
        None, help="Names of the systems to run and compare. Default: all of CONFIG.", group="Data"
    )
    corpus: str = option("", help="Folder of the prepared corpus (training/prepare.py).", group="Data", required=True)
    output_dir: str = option("", help="Folder of the runs and the table.", required=True)
    labels: list[str] = option(default_factory=lambda: ["all"], help="Label sets of the corpus.", group="Data")
    seeds: list[int] = option(default_factory=lambda: [0], help="Seeds of heads, orders and splits.", group="Data")
    label_efficiency: list[float] | None = option(
        None,
        help="Train on the first n training folds, for each of these n (1,2,4,8), or on shares of all (0.0115).",
        group="Data",
    )
    unit: Literal["record", "patient"] = option("record", help="Resampling unit of the bootstrap.", group="Report")
    resamples: int = option(1000, help="Number of bootstrap resamples.", group="Report")
    card: str | None = option(
        None,
        help="Add the entries of all runs to hub_cards/CARD/results.json, by system; those that start from the "
        "checkpoint CARD under its name.",
        group="Report",
    )
    dry_run: bool = option(False, help="List the runs, done and missing, and the table so far; run nothing.")


@dataclass(frozen=True)
class BeatBenchmarkArguments:
    """What `training/benchmark.py` takes where CONFIG names `splits`: systems that score beats."""

    systems: list[Any] = option(
        default_factory=list,
        help="In CONFIG mappings: name, config of the pretraining, any of its settings, teacher (name of a system "
        "above), seed_offset.",
        group="Data",
        required=True,
    )
    corpus: str = option("", help="Folder of the prepared beats.", group="Data", required=True)
    output_dir: str = option("", help="Folder of the runs.", required=True)
    splits: list[str] = option(
        default_factory=lambda: [f"patients/{fold}" for fold in range(5)], help="Splits of the beats.", group="Data"
    )
    seeds: list[int] = option(default_factory=lambda: [0, 1, 2], help="Seeds of the trainings.", group="Data")
    claims: list[Any] = option(
        default_factory=list,
        help="In CONFIG mappings: claim (text), system, against (names of systems).",
        group="Report",
    )
    resamples: int = option(1000, help="Number of bootstrap resamples.", group="Report")
    dry_run: bool = option(False, help="List the runs, done and missing, and the table so far; run nothing.")
