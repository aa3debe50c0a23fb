"""Recipes of views for contrastive systems: operations in a fixed order, and several views of each record.

Every operation of a recipe is applied to every view, in the listed order, as in the public code ecg-selfsupervised
(Mehari & Strodthoff 2022).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import torch

from ..errors import SignalError
from .noise import PhysiologicalNoise
from .operations import (
    DownSample,
    DynamicTimeWarp,
    GaussianBlur,
    GaussianNoise,
    LeadTimeOut,
    Negation,
    Operation,
    RandomTimeWarp,
    RecordingNoise,
    ScaleLeads,
    TimeOut,
    TimeWarp,
    TurnVectorcardiogram,
    random_span,
)
from .row_generator import RowGenerator
from .warps import cut_windows

__all__ = ["OPERATIONS", "RECIPES", "VIEW_QUIRKS", "RecordViews", "ViewRecipe", "view_recipe"]

VIEW_QUIRKS = ("Q10", "Q12", "Q13", "Q17")


@dataclass(frozen=True)
class ViewRecipe:
    """Operations one after the other.

    Args:
        operations: What is done to each view, in this order; nothing: the view is the window.
    """

    operations: tuple[Operation, ...] = ()

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw everything random for the rows of the generator; names begin with the number of the operation.

        Args:
            generator: Source of the numbers, one stream per record.
            num_leads: Leads of the signal.
            num_samples: Samples of the signal.
        """
        return {
            f"{number}_{name}": value
            for number, operation in enumerate(self.operations)
            for name, value in operation.draw(generator, num_leads, num_samples).items()
        }

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Make the views `(batch, leads, samples)` that `draws` describe; the signal itself is not changed."""
        for number, operation in enumerate(self.operations):
            prefix = f"{number}_"
            own = {name.removeprefix(prefix): value for name, value in draws.items() if name.startswith(prefix)}
            signal = operation.apply(signal, own)
        return signal


# Name of each noise to its maximum among the fields of `PhysiologicalNoise`.
_NOISES = {
    "baseline_wander": "max_baseline_wander",
    "powerline_noise": "max_powerline",
    "electromyographic_noise": "max_electromyographic",
    "baseline_shift": "max_baseline_shift",
}
_PLAIN: dict[str, Operation] = {
    "random_time_warp": RandomTimeWarp(),
    "time_out": TimeOut(),
    "gaussian_noise": GaussianNoise(),
    "gaussian_blur": GaussianBlur(),
    "scale_leads": ScaleLeads(),
    "negation": Negation(),
    "dynamic_time_warp": DynamicTimeWarp(),
    "time_warp": TimeWarp(),
    "down_sample": DownSample(),
    "turn_vectorcardiogram": TurnVectorcardiogram(),
    "lead_time_out": LeadTimeOut(),
}

OPERATIONS = (*_PLAIN, *_NOISES)

RECIPES: dict[str, tuple[str, ...]] = {
    # Nothing but other times of the record (needs a source longer than the window).
    "times": (),
    # The published SimCLR, BYOL and SwAV runs.
    "rrc_to": ("random_time_warp", "time_out"),
    # Noise of recordings.
    "physio": tuple(_NOISES),
    # Default of the published training scripts.
    "default": ("gaussian_noise", "scale_leads", "random_time_warp"),
    # Gopal et al. 2021, 12 leads.
    "3kg": ("turn_vectorcardiogram", "lead_time_out"),
}


def view_recipe(
    names: str | Sequence[str], *, sampling_rate: float, official_quirks: bool | Sequence[str] = False
) -> ViewRecipe:
    """The recipe of a name of `RECIPES`, or of a list of names of `OPERATIONS`.

    Neighboring noises of a list are one `PhysiologicalNoise` (they are sums, so their order does not matter).

    Args:
        names: For example `"rrc_to"`, or `["random_time_warp", "baseline_wander"]`.
        sampling_rate: Hz of the signal.
        official_quirks: True, or some of `"Q10"` (down-sampling), `"Q12"`, `"Q13"` (see `PhysiologicalNoise`) and
            `"Q17"` (the last start is never drawn), for what the published code computes.

    Raises:
        SignalError: A name or a quirk is unknown.
    """
    quirks = set(VIEW_QUIRKS) if official_quirks is True else set(official_quirks or ())
    if unknown := quirks - set(VIEW_QUIRKS):
        raise SignalError(
            f"official_quirks names {', '.join(sorted(unknown))}; expected True, False or some of {VIEW_QUIRKS}."
        )
    if isinstance(names, str):
        names = RECIPES[_known(names, tuple(RECIPES), "recipe of views")]
    names = [_known(name, OPERATIONS, "operation on views") for name in names]
    operations: list[Operation] = []
    for is_noise, group in groupby(names, key=_NOISES.__contains__):
        if is_noise:
            operations.append(_noise(set(group), sampling_rate, tuple(sorted(quirks & {"Q12", "Q13"}))))
        else:
            operations += [_plain(name, sampling_rate, quirks) for name in group]
    return ViewRecipe(tuple(operations))


def _noise(names: set[str], sampling_rate: float, quirks: tuple[str, ...]) -> RecordingNoise:
    silent = {maximum: 0.0 for name, maximum in _NOISES.items() if name not in names}
    return RecordingNoise(PhysiologicalNoise(sampling_rate, official_quirks=quirks, **silent))


def _plain(name: str, sampling_rate: float, quirks: set[str]) -> Operation:
    operation = _PLAIN[name]
    if isinstance(operation, RandomTimeWarp | TimeOut):
        return replace(operation, all_starts="Q17" not in quirks)
    if isinstance(operation, DownSample):
        return replace(operation, ratio_by_slice="Q10" in quirks)
    if isinstance(operation, DynamicTimeWarp):
        # A tenth of a second.
        return replace(operation, radius=max(round(sampling_rate / 10), 1))
    return operation


def _known(name: str, names: tuple[str, ...], kind: str) -> str:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise SignalError(
            f"There is no {kind} called {name!r}; "
            + (f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}.")
        )
    return name


@dataclass(frozen=True)
class RecordViews:
    """Several views of each record: windows, each at its own time, and a recipe on each.

    Args:
        recipe: What is done to each window.
        num_views: Views of a record.
        window_size: Samples of a view.
        same_crop: Whether all views of a record are made of the same window, as published.
        all_starts: Whether the last possible start is drawn too; the published code never does (quirk Q17).
    """

    recipe: ViewRecipe = field(default_factory=ViewRecipe)
    num_views: int = 2
    window_size: int = 250
    same_crop: bool = False
    all_starts: bool = True

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw everything random for the rows of the generator; every tensor has the batch first and the views second.

        Args:
            generator: Source of the numbers, one stream per record.
            num_leads: Leads of the signal.
            num_samples: Samples of the signal, at least `window_size`.

        Raises:
            SignalError: The records are shorter than a window.
        """
        if num_samples < self.window_size:
            raise SignalError(
                f"Views are cut from {num_samples} samples; a view has {self.window_size}. Set source_window_size "
                "to at least window_size."
            )
        share = self.window_size / num_samples
        starts, drawn = [], []
        for _ in range(self.num_views):
            _, start = random_span(
                generator.uniform(2), (share, share), num_samples, least=self.window_size, all_starts=self.all_starts
            )
            starts.append(start)
            drawn.append(self.recipe.draw(generator, num_leads, self.window_size))
        if self.same_crop:
            starts = starts[:1] * self.num_views
        draws = {name: torch.stack([view[name] for view in drawn], dim=1) for name in drawn[0]}
        return {"window_start": torch.stack(starts, dim=1)} | draws

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Make the views that `draws` describe; the signal itself is not changed.

        Args:
            signal: `(batch, leads, samples)`; or `(batch, pieces, leads, samples)`, recordings of the same patient, of
                which the views are cut in turn.
            draws: From `draw`.

        Returns:
            `(batch, views, leads, window_size)`.
        """
        draws = dict(draws)
        start = draws.pop("window_start")
        pieces = signal[:, None] if signal.dim() == 3 else signal
        count = pieces.shape[1]
        views = torch.empty(
            *start.shape, *pieces.shape[2:-1], self.window_size, dtype=signal.dtype, device=signal.device
        )
        for piece in range(count):
            views[:, piece::count] = cut_windows(pieces[:, piece], start[:, piece::count], self.window_size)
        made = self.recipe.apply(views.flatten(0, 1), {name: value.flatten(0, 1) for name, value in draws.items()})
        return made.unflatten(0, start.shape)
