"""The registry of modes: how a checkpoint is turned into a classifier, and what that is compared with.

A new mode is one row here and the function that fits it. Nothing heavy is imported: tables, plots and cards read the
names from here too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from ..errors import EcgError

__all__ = ["MODES", "Initialization", "Mode", "find_mode", "mode_title"]

Initialization = Literal["pretrained", "random"]

# Groups of settings: each option names the one it belongs to (`used_by`), each mode the ones it uses.
LEARNING, TRAINING, FINE_TUNING = "learning", "training", "fine_tuning"


@dataclass(frozen=True)
class Mode:
    """One mode.

    Args:
        name: Name on the command line and in `results.json`.
        title: Name in tables and plots.
        learned: What is learned, in one line.
        fitted_by: Module of this package and function that fits it, `"module:function"`; it takes an
            `fitting.Fitting` and returns what was chosen and the scores of the reported records.
        uses: Groups of settings that it uses: `learning` (folds, head, class weights), `training` (the Trainer's
            arguments, epochs), `fine_tuning` (layer-wise rates, epochs of the head alone).
        initialization: Weights of the encoder it starts from.
        baseline: Name of the mode it is compared with, run from random weights; `None` = it has no baseline.
        made: How a card names the training of a checkpoint that this mode made.
        linear_head: Whether the head is one linear layer, whatever the checkpoint's config asks for.
        attentive: Whether the head attends over the tokens, whatever is set.
    """

    name: str
    title: str
    learned: str
    fitted_by: str
    uses: frozenset[str]
    initialization: Initialization = "pretrained"
    baseline: str | None = None
    made: str = "Training"
    linear_head: bool = False
    attentive: bool = False

    @property
    def trains(self) -> bool:
        """Whether the encoder is trained, by the Trainer."""
        return TRAINING in self.uses

    @property
    def baseline_name(self) -> str:
        """What entries call its baseline: `random` for the same mode from random weights, else the other mode."""
        return "random" if self.baseline == self.name else str(self.baseline)

    def fit(self, fitting: Any) -> Any:
        """Fit the classifier; see `fitted_by`."""
        module, _, function = self.fitted_by.partition(":")
        fit: Callable[[Any], Any] = getattr(import_module(f"{__package__}.{module}"), function)
        return fit(fitting)


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode(
            "linear_probe",
            title="linear probe",
            learned="a linear layer on the pooled features of the frozen encoder",
            fitted_by="fit_probe:fit_probe",
            uses=frozenset({LEARNING}),
            baseline="linear_probe",
            linear_head=True,
        ),
        Mode(
            "attentive_probe",
            title="attentive probe",
            learned="one query over the tokens of the frozen encoder, then a linear layer",
            fitted_by="fit_probe:fit_probe",
            uses=frozenset({LEARNING}),
            baseline="attentive_probe",
            linear_head=True,
            attentive=True,
        ),
        Mode(
            "fine_tune",
            title="fine-tuned",
            learned="encoder and head, from the pretrained encoder",
            fitted_by="fine_tune:fit_classifier",
            uses=frozenset({LEARNING, TRAINING, FINE_TUNING}),
            baseline="from_scratch",
            made="Fine-tuning",
        ),
        Mode(
            "from_scratch",
            title="from scratch",
            learned="encoder and head, from random weights, by the supervised recipe of the architecture",
            fitted_by="fine_tune:fit_classifier",
            uses=frozenset({LEARNING, TRAINING}),
            initialization="random",
            made="Supervised training from random weights",
        ),
    )
}


def find_mode(name: str) -> Mode:
    """The row of a mode.

    Raises:
        EcgError: There is no such mode.
    """
    if name not in MODES:
        raise EcgError(f"mode is {name!r}; expected one of {', '.join(MODES)}.")
    return MODES[name]


def mode_title(name: str) -> str:
    """A mode's name in tables and plots; one that is not registered: its name with blanks."""
    return MODES[name].title if name in MODES else name.replace("_", " ")
