"""Operations on views: each draws its parameters for a batch and applies them.

After the augmentations of Mehari & Strodthoff 2022 and their public code ecg-selfsupervised, with the default ranges of
its training scripts; the last two after 3KG (Gopal et al. 2021).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch

from ..errors import SignalError
from .amplitude import scale_leads, smooth
from .functional import lead_time_out, time_out
from .noise import PhysiologicalNoise, electromyographic_noise
from .row_generator import RowGenerator
from .vectorcardiogram import turn_vectorcardiogram
from .warps import down_sample, dynamic_time_warp, random_positions, random_time_warp, time_warp

__all__ = [
    "DownSample",
    "DynamicTimeWarp",
    "GaussianBlur",
    "GaussianNoise",
    "LeadTimeOut",
    "Negation",
    "Operation",
    "RandomTimeWarp",
    "RecordingNoise",
    "ScaleLeads",
    "TimeOut",
    "TimeWarp",
    "TurnVectorcardiogram",
    "random_span",
]


class Operation(Protocol):
    """One step of a recipe: draws its parameters for a batch, and applies them."""

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw everything random for the rows of the generator; every tensor has the batch first."""

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Make the view `(batch, leads, samples)` that `draws` describe."""


@dataclass(frozen=True)
class RandomTimeWarp:
    """A crop whose samples are spread over the window at random, sorted places (published: random resized crop).

    Args:
        ratio: Range of the crop's share of the window.
        all_starts: Whether the last possible start is drawn too; the published code never does (quirk Q17).
    """

    ratio: tuple[float, float] = (0.5, 1.0)
    all_starts: bool = True

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw `start (batch,)` of the crop and the places of its samples, `kept (batch, samples)`."""
        uniform = generator.uniform(2 + num_samples)
        length, start = random_span(uniform[:, :2], self.ratio, num_samples, least=2, all_starts=self.all_starts)
        return {"start": start, "kept": random_positions(uniform[:, 2:], length)}

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Warp each record by its draws."""
        return random_time_warp(signal, draws["kept"], draws["start"])


@dataclass(frozen=True)
class TimeOut:
    """A silent window, in all leads.

    Args:
        ratio: Range of its share of the record.
        all_starts: Whether the last possible start is drawn too; the published code never does (quirk Q17).
    """

    ratio: tuple[float, float] = (0.2, 0.4)
    all_starts: bool = True

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw `width` and `start` of the window, `(batch,)` each."""
        width, start = random_span(generator.uniform(2), self.ratio, num_samples, all_starts=self.all_starts)
        return {"width": width, "start": start}

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Silence each record's window."""
        return time_out(signal, draws["width"], draws["start"])


@dataclass(frozen=True)
class GaussianNoise:
    """White noise of the same strength for every record.

    Args:
        scale: Deviation in units of the signal.
    """

    scale: float = 0.005

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw standard normal `noise (batch, leads, samples)`."""
        return {"noise": generator.normal(num_leads, num_samples)}

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Add the noise."""
        strength = torch.full_like(draws["noise"][:, 0, 0], self.scale)
        return electromyographic_noise(signal, strength, draws["noise"])


@dataclass(frozen=True)
class ScaleLeads:
    """Each lead times its own factor (published: channel resize).

    Args:
        factor: Range; the logarithm is drawn evenly.
    """

    factor: tuple[float, float] = (0.5, 2.0)

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw `log_factor (batch, leads)`."""
        low, high = (math.log(factor) for factor in self.factor)
        return {"log_factor": low + (high - low) * generator.uniform(num_leads)}

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Scale the leads."""
        return scale_leads(signal, draws["log_factor"])


@dataclass(frozen=True)
class DynamicTimeWarp:
    """Squeezed centers with stretched flanks, one after the other.

    Args:
        warps: Number of centers.
        radius: Samples on each side of the squeezed part; published: 10 at 100 Hz.
        step: Factor of squeezing and stretching.
    """

    warps: int = 3
    radius: int = 10
    step: int = 2

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw `centers (batch, warps)`."""
        reach = self.radius * (self.step + 1)
        places = num_samples - 2 * reach - self.step
        if places < 1:
            raise SignalError(
                f"A dynamic time warp of radius {self.radius} got {num_samples} samples; it needs at least "
                f"{2 * reach + self.step + 1}."
            )
        return {"centers": reach + (generator.uniform(self.warps) * places).long().clamp_max(places - 1)}

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Warp each record by its draws."""
        return dynamic_time_warp(signal, draws["centers"], radius=self.radius, step=self.step)


@dataclass(frozen=True)
class TimeWarp:
    """Time that runs at the speed of a random walk (published, but out of reach of its training scripts).

    Args:
        epsilon: The least speed in steps of the walk.
    """

    epsilon: float = 10.0

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw standard normal `steps (batch, samples)`."""
        return {"steps": generator.normal(num_samples)}

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Warp each record by its draws."""
        return time_warp(signal, draws["steps"], epsilon=self.epsilon)


@dataclass(frozen=True)
class DownSample:
    """A random share of the samples, with lines between them.

    Args:
        ratio: Share of the samples that is kept.
        ratio_by_slice: What the published code computes: `removed = inner_samples[: int(1 - ratio * samples)]`, a
            negative slice, which keeps two samples more (quirk Q10).
    """

    ratio: float = 0.2
    ratio_by_slice: bool = False

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw which samples are `kept (batch, samples)`."""
        count = round(self.ratio * num_samples)
        if self.ratio_by_slice:
            count = num_samples - len(range(num_samples - 2)[: int(1 - self.ratio * num_samples)])
        uniform = generator.uniform(num_samples)
        return {"kept": random_positions(uniform, torch.full_like(uniform[:, 0], max(count, 2)))}

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Replace the other samples by lines."""
        return down_sample(signal, draws["kept"])


@dataclass(frozen=True)
class RecordingNoise:
    """Noise that recordings pick up, see `PhysiologicalNoise`.

    Args:
        noise: Its rate and maxima.
    """

    noise: PhysiologicalNoise

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw everything random about the noise."""
        return self.noise.draw(generator.rows, num_leads, num_samples, generator)

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Add the noise."""
        return self.noise.apply(signal, draws)


@dataclass(frozen=True)
class TurnVectorcardiogram:
    """The twelve leads of a rotated and scaled vectorcardiogram, see `turn_vectorcardiogram`.

    Args:
        max_angle: Largest rotation about each axis, to either side, in degrees.
        max_scale: Largest factor of each axis; the least is 1.
    """

    max_angle: float = 45.0
    max_scale: float = 1.5

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw `angles` (radians) and `scales`, `(batch, 3)` each."""
        uniform = generator.uniform(6)
        angles = math.radians(self.max_angle) * (2 * uniform[:, :3] - 1)
        return {"angles": angles, "scales": 1 + (self.max_scale - 1) * uniform[:, 3:]}

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Turn each record by its draws."""
        return turn_vectorcardiogram(signal, draws["angles"], draws["scales"])


@dataclass(frozen=True)
class LeadTimeOut:
    """A silent window in each lead, at a time of its own; what goes beyond the end is at the start.

    Args:
        ratio: Its share of the record.
    """

    ratio: float = 0.5

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw the `start (batch, leads)` of each window."""
        return {"start": (generator.uniform(num_leads) * num_samples).long().clamp_max(num_samples - 1)}

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Silence each lead's window."""
        return lead_time_out(signal, int(self.ratio * signal.shape[-1]), draws["start"])


class _Fixed:
    """An operation without anything random."""

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class GaussianBlur(_Fixed):
    """A short moving sum over time."""

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Smooth the signal."""
        return smooth(signal)


@dataclass(frozen=True)
class Negation(_Fixed):
    """The opposite sign, always."""

    def apply(self, signal: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Negate the signal."""
        return -signal


def random_span(
    uniform: torch.Tensor, ratio: tuple[float, float], samples: int, *, least: int = 0, all_starts: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random stretch of each row.

    Args:
        uniform: Two numbers in [0, 1) per row `(rows, 2)`: for the length and for the start.
        ratio: Range of the length's share of `samples`; the length is rounded down.
        samples: Where the stretch lies.
        least: The shortest length.
        all_starts: Whether the last possible start is drawn too; the published code never does (quirk Q17).

    Returns:
        Length and start, `(rows,)` each.
    """
    low, high = ratio
    length = ((low + (high - low) * uniform[:, 0]) * samples).long().clamp(least, samples)
    room = samples - length
    # The largest number below a bound can round up to it.
    places = room + 1 if all_starts else room
    return length, (uniform[:, 1] * places).long().minimum((places - 1).clamp_min(0))
