"""Published results on PTB-XL with their source, for the column next to ours.

Macro AUROC. Nearly all are of the *test* fold 10, on PTB-XL 1.0.1 (21,837 records; 1.0.3 has 21,799): none is on the
records that we report, except where `evaluate_folds` differs. The benchmark's results on ICBEB2018 are left out: its
folds are not those of our corpora.
"""

from dataclasses import dataclass

from ...corpora import official_fold_roles

__all__ = ["PUBLISHED", "PublishedResult", "Source", "check_published_name", "published_results"]


@dataclass(frozen=True)
class Source:
    """Source of published results.

    Args:
        name: Short name for a table.
        citation: The publication, and where the results were read.
        brackets: Meaning of the number in brackets, in units of 0.001.
    """

    name: str
    citation: str
    brackets: str


@dataclass(frozen=True)
class PublishedResult:
    """One published result.

    Args:
        system: Architecture that was trained, with its pretraining if there was one.
        mode: Mode, as in `evaluation.modes`.
        labels: Label set of PTB-XL.
        value: Macro AUROC.
        brackets: Number in brackets, see `Source`; `None` where there is none.
        source: Source of the result.
        evaluate_folds: Folds it was computed on.
    """

    system: str
    mode: str
    labels: str
    value: float
    brackets: int | None
    source: Source
    evaluate_folds: tuple[int, ...] = (10,)

    @property
    def is_of_test_folds(self) -> bool:
        """Whether it was computed on the test folds of PTB-XL."""
        roles = official_fold_roles("ptbxl")
        return roles is not None and roles.role_of(self.evaluate_folds) == "test"

    def __str__(self) -> str:
        return f"{self.value:.3f}" + ("" if self.brackets is None else f"({self.brackets:02d})")


SELF_SUPERVISED = Source(
    "Mehari & Strodthoff 2022",
    "T. Mehari, N. Strodthoff: Self-supervised representation learning from 12-lead ECG data. Comput. Biol. Med. 141 "
    "(2022) 105114; as quoted in the table of kweimann/ECG-JEPA",
    "mean over 10 runs (standard deviation)",
)
BENCHMARK = Source(
    "Strodthoff et al. 2021",
    "N. Strodthoff, P. Wagner, T. Schaeffter, W. Samek: Deep learning for ECG analysis: benchmarks and insights from "
    "PTB-XL. IEEE J. Biomed. Health Inform. 25 (2021) 1519-1528; leaderboard of helme/ecg_ptbxl_benchmarking",
    "one run (larger half of its 90 % bootstrap interval)",
)
STORED_RUN = Source(
    "Strodthoff et al. 2021, stored run",
    "computed by us from the predictions stored in helme/ecg_ptbxl_benchmarking",
    "one run",
)

# Columns and rows of the benchmark's leaderboard.
_LABEL_SETS = ("all", "diagnostic", "subclass", "superclass", "form", "rhythm")
_BENCHMARK = {
    "inception1d": ((0.925, 8), (0.931, 9), (0.930, 10), (0.921, 6), (0.899, 22), (0.953, 13)),
    "xresnet1d101": ((0.925, 7), (0.937, 8), (0.929, 14), (0.928, 5), (0.896, 12), (0.957, 19)),
    "resnet1d_wang": ((0.919, 8), (0.936, 8), (0.928, 10), (0.930, 5), (0.880, 15), (0.946, 10)),
    "fcn_wang": ((0.918, 8), (0.926, 10), (0.927, 11), (0.925, 6), (0.869, 12), (0.931, 8)),
    "lstm_bidir": ((0.914, 8), (0.932, 7), (0.923, 12), (0.921, 6), (0.876, 15), (0.949, 11)),
    "lstm": ((0.907, 8), (0.927, 8), (0.928, 10), (0.927, 5), (0.851, 15), (0.953, 9)),
    "Wavelet+NN": ((0.849, 13), (0.855, 15), (0.859, 16), (0.874, 7), (0.757, 29), (0.890, 24)),
}
# Mehari and Strodthoff 2022, all 71 statements: system, pretrained or not, fine-tuned (or from scratch), linear.
_SELF_SUPERVISED = (
    ("xresnet1d50", False, (0.924, 5), (0.721, 16)),
    ("4FC+2LSTM+2FC", False, (0.932, 3), (0.711, 7)),
    ("SimCLR, xresnet1d50", True, (0.927, 3), (0.883, 3)),
    ("BYOL, xresnet1d50", True, (0.929, 2), (0.878, 2)),
    ("CPC with PTB-XL", True, (0.942, 1), (0.927, 1)),
    ("CPC without PTB-XL", True, (0.940, 2), (0.919, 1)),
    ("CPC, S4", True, (0.945, 2), None),
)

PUBLISHED: tuple[PublishedResult, ...] = (
    *(
        PublishedResult(system, mode, "all", *result, SELF_SUPERVISED)
        for system, pretrained, fine_tuned, linear in _SELF_SUPERVISED
        for mode, result in (("fine_tune" if pretrained else "from_scratch", fine_tuned), ("linear_probe", linear))
        if result is not None
    ),
    *(
        PublishedResult(system, "from_scratch", labels, *result, BENCHMARK)
        for system, row in _BENCHMARK.items()
        for labels, result in zip(_LABEL_SETS, row, strict=True)
    ),
    PublishedResult("xresnet1d101", "from_scratch", "all", 0.9280807631, None, STORED_RUN, (9,)),
)


def check_published_name(system: str) -> None:
    """Refuse a system without published results.

    Raises:
        ArgumentsError: With the nearest known name.
    """
    # Here, not above: the pipelines reach this file, and opening the package must not load the Trainer.
    from ...errors import check_names

    check_names([system], {result.system for result in PUBLISHED}, where="published")


def published_results(system: str | None, mode: str, *, corpus: str, labels: str) -> tuple[PublishedResult, ...]:
    """Published results of a system in a mode; none on another corpus than PTB-XL.

    Args:
        system: A name of `PUBLISHED`, or `None`.
        mode: Its mode.
        corpus: Name of the corpus.
        labels: Label set.

    Example:
        >>> [str(result) for result in published_results("xresnet1d50", "from_scratch", corpus="ptbxl", labels="all")]
        ['0.924(05)']
    """
    if corpus != "ptbxl":
        return ()
    return tuple(one for one in PUBLISHED if (one.system, one.mode, one.labels) == (system, mode, labels))
