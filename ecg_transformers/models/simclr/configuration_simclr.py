"""Configuration of SimCLR, and the fields that BYOL and SwAV share with it."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers.utils import logging

from ...augmentations.recipes import VIEW_QUIRKS, RecordViews, view_recipe
from ...backbone import EcgBackboneConfig
from ...configuration import SelectionConfig
from ...errors import CheckpointError

__all__ = ["RecordViewsConfig", "SimclrConfig"]

logger = logging.get_logger(__name__)

# Numbered over the three families; a setting of the optimizer or the schedule is one of the run, not of the model.
_QUIRKS = ("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7", "Q8", "Q9")
_OF_THE_RUN = {
    "Q2": "decay_norms_and_biases: true and no_decay: [bias]",
    "Q3": "weight_decay: 1e-6",
    "Q6": "published_schedule: step (SimCLR, SwAV) or epoch (BYOL)",
    "Q9": "learning_rate: 1e-3 and weight_decay: 1e-6",
}


@strict
class RecordViewsConfig(EcgBackboneConfig):
    """Fields of the families that compare views of a record (SimCLR, BYOL, SwAV) on any registered encoder.

    Fields of the backbone, of input and head are those of `backbone_config`. "Published" is the code
    ecg-selfsupervised (Mehari & Strodthoff 2022).

    Args:
        backbone_config (`dict` or config, *optional*): Configuration of the backbone. Default: the published
            xresnet1d50, whose first convolution has a bias and PyTorch's initialization.
        projector_hidden_size (`int`, default 512, published): Hidden width of the projection head.
        projection_size (`int`, default 16, published): Output width of the projection head.
        views (`str` or `list[str]`, default `"rrc_to"`, published): What is done to each view: a name of
            `augmentations.recipes.RECIPES`, or a list of names of `augmentations.recipes.OPERATIONS`.
        positives (`str`, default `"crop"`, published): What the views of a record are made of: the same `"crop"`, other
            times of the `"record"`, or recordings of the same `"patient"`.
        source_window_size (`int`, *optional*): Samples of a record out of which the views are cut, at most those of the
            shortest record. Default: the window.
        official_quirks (`bool` or `list[str]`, default `False`): What the published code computes where it differs from
            the intended mathematics: `True`, or some of Q1 to Q9 (`docs/systems/simclr.md`) and of the quirks of views
            (`augmentations.recipes.view_recipe`). Q2, Q3, Q6 and Q9 are settings of the run; naming them logs which.

    Raises:
        CheckpointError: The backbone is no registered encoder, or a value is out of range.
        SignalError: A view is unknown.
    """

    default_backbone: ClassVar[dict[str, Any]] = {
        "model_type": "xresnet1d",
        "stem_bias": True,
        "stem_initialization": "torch",
    }
    # Numbers of views of a record.
    num_views: ClassVar[int] = 2

    projector_hidden_size: int = 512
    projection_size: int = 16
    views: str | list[str] | tuple[str, ...] = "rrc_to"
    positives: Literal["crop", "record", "patient"] = "crop"
    source_window_size: int | None = None
    official_quirks: bool | list[str] | tuple[str, ...] = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        # As JSON has them.
        self.views = self.views if isinstance(self.views, str) else list(self.views)
        if not isinstance(self.official_quirks, bool):
            self.official_quirks = list(self.official_quirks)
        self._check_quirks()
        self._check_source()
        self.record_views()

    def has_quirk(self, name: str) -> bool:
        """Whether the published form of a quirk is computed.

        Args:
            name: `"Q1"` and so on.
        """
        return self.official_quirks is True or name in (self.official_quirks or ())

    def record_views(self) -> RecordViews:
        """Make the views that the fields describe.

        Raises:
            SignalError: A view is unknown.
        """
        quirks = self.official_quirks
        return RecordViews(
            view_recipe(
                self.views,
                sampling_rate=self.sampling_rate,
                official_quirks=True if quirks is True else [name for name in quirks or () if name in VIEW_QUIRKS],
            ),
            num_views=self.num_views,
            window_size=self.window_size,
            same_crop=self.positives == "crop",
            all_starts=not self.has_quirk("Q17"),
        )

    def _check_quirks(self) -> None:
        if isinstance(self.official_quirks, bool):
            return
        known = (*_QUIRKS, *VIEW_QUIRKS)
        if unknown := [name for name in self.official_quirks if name not in known]:
            raise CheckpointError(
                f"official_quirks names {', '.join(unknown)}; expected true, false or some of {', '.join(known)}."
            )
        for name in self.official_quirks:
            if name in _OF_THE_RUN:
                logger.warning_once(f"official_quirks: {name} is a setting of the run, {_OF_THE_RUN[name]}.")

    def _check_source(self) -> None:
        source, window = self.source_window_size, self.window_size
        if source is not None and source < window:
            raise CheckpointError(
                f"source_window_size is {source}, but a view has {window} samples (window_size). Set it to at least "
                "that."
            )
        if source in (None, window) and (
            self.positives == "record" or (self.views == "times" and self.positives == "crop")
        ):
            raise CheckpointError(
                f"positives is {self.positives!r} and views {self.views!r}, which needs a piece of the record that is "
                f"longer than a view of {window} samples; source_window_size is {source}. Set it, for example, to the "
                "length of the records."
            )


@strict
class SimclrConfig(RecordViewsConfig, SelectionConfig):
    """Configuration of SimCLR on any registered encoder; the default backbone is the published xresnet1d50.

    The fields that it shares with BYOL and SwAV are described in `RecordViewsConfig`, the choice of positives (ours
    here) in `SelectionConfig`.

    Args:
        temperature (`float`, default 0.5, published): Temperature of the contrastive loss.

    Raises:
        CheckpointError: The backbone is no registered encoder, or a value is out of range.
        SignalError: A view is unknown.
    """

    model_type = "simclr"

    temperature: float | int = 0.5

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.temperature <= 0:
            raise CheckpointError(f"temperature is {self.temperature}; expected a positive number.")
        if self.has_quirk("Q1") and (self.same_source != "ignore" or self.sampling != "none"):
            raise CheckpointError(
                f"same_source is {self.same_source!r} and sampling {self.sampling!r}, but the published loss (quirk "
                "Q1) knows neither. Set them to 'ignore' and 'none', or leave Q1 out."
            )
