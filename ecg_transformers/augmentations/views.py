"""Named recipes of views: what the published systems do to a record before they contrast it."""

from dataclasses import dataclass

import torch

from .functional import drop_samples, erase_lead, partial_noise, resized_crop, time_out
from .row_generator import RowGenerator

__all__ = ["MaeMocoViews"]

# Resized crop, erase lead, time out, partial noise, drop.
_OPERATIONS = 5


@dataclass(frozen=True)
class MaeMocoViews:
    """The five view augmentations of MAE-MoCo (specification, section 6), each record with its own draw.

    Args:
        probability: Chance of each operation for each record (policy `"all"`).
        policy: `"all"`: resized crop, erase lead, time out, partial noise, drop, in this order, each with
            `probability`. `"pick_k"`: `picks` distinct operations per record, in the order drawn.
        picks: Operations per record under `"pick_k"`.
        crop_ratio: Range of the crop's share of the record.
        time_out_ratio: Range of the silent share.
        noise_ratio: Range of the noisy share.
        noise_amplitude: Deviation of the noise in units of the normalized signal.
        drop_ratio: Upper end of the share of dropped samples.
    """

    probability: float = 0.5
    policy: str = "all"
    picks: int = 2
    crop_ratio: tuple[float, float] = (0.5, 1.0)
    time_out_ratio: tuple[float, float] = (0.0, 0.5)
    noise_ratio: tuple[float, float] = (0.0, 0.3)
    noise_amplitude: float = 0.3
    drop_ratio: float = 0.3

    def draw(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw everything random for one view of a batch; every tensor has the batch first.

        Positions and lengths are drawn as numbers in [0, 1), so that a record's padding can be taken into account when
        they are applied.

        Args:
            generator: Source of the numbers, one stream per record.
            num_leads: Leads of the signal.
            num_samples: Samples of the signal.
        """
        return {
            "chance": generator.uniform(_OPERATIONS),
            "crop": generator.uniform(2),
            "lead": generator.uniform(),
            "time_out": generator.uniform(2),
            "noise_window": generator.uniform(2),
            "noise": generator.normal(num_leads, num_samples),
            "drop_count": generator.uniform(),
            "drop": generator.uniform(num_samples),
        }

    def apply(
        self, signal: torch.Tensor, draws: dict[str, torch.Tensor], attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Make the view that `draws` describe; the signal itself is not changed.

        Args:
            signal: `(batch, leads, samples)`, normalized.
            draws: From `draw`.
            attention_mask: `(batch, samples)`, 1 = signal; padding at the end stays 0.
        """
        if attention_mask is None:
            valid, samples = None, torch.full_like(draws["lead"], signal.shape[-1], dtype=torch.long)
        else:
            valid = samples = attention_mask.sum(dim=1).long()
        for chosen in self._rounds(draws["chance"]):
            crop, erase, silence, noise, drop = chosen.unbind(1)
            # A record that an operation passes over gets the parameter that changes nothing.
            length, start = self._span(draws["crop"], self.crop_ratio, samples, least=2)
            length, start = torch.where(crop, length, samples), torch.where(crop, start, 0)
            signal = resized_crop(signal, length, start, valid)
            lead = (draws["lead"] * signal.shape[1]).long()
            signal = erase_lead(signal, torch.where(erase, lead, -1))
            width, start = self._span(draws["time_out"], self.time_out_ratio, samples)
            signal = time_out(signal, torch.where(silence, width, 0), start)
            width, start = self._span(draws["noise_window"], self.noise_ratio, samples)
            width = torch.where(noise, width, 0)
            signal = partial_noise(signal, width, start, draws["noise"], self.noise_amplitude)
            count = (draws["drop_count"] * int(self.drop_ratio * signal.shape[-1])).long()
            signal = drop_samples(signal, draws["drop"], torch.where(drop, count, 0))
        return signal if attention_mask is None else signal * attention_mask[:, None, :].to(signal.dtype)

    def _rounds(self, chance: torch.Tensor) -> list[torch.Tensor]:
        """Booleans `(batch, operations)` for each round through the operations: which of them a record gets."""
        if self.policy == "all":
            return [chance < self.probability]
        order = chance.argsort(dim=1)[:, : self.picks]
        return [order[:, i, None] == torch.arange(_OPERATIONS, device=chance.device) for i in range(self.picks)]

    @staticmethod
    def _span(
        draw: torch.Tensor, ratio: tuple[float, float], samples: torch.Tensor, least: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Width `int(r * samples)` and a start drawn from `{0 ... samples - width}`, for each record."""
        low, high = ratio
        width = ((low + (high - low) * draw[:, 0]) * samples).long().clamp_min(least).minimum(samples)
        start = (draw[:, 1] * (samples - width + 1)).long()
        return width, start.minimum(samples - width)
