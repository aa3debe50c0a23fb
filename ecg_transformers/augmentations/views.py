"""View policies of published systems for contrastive pretraining."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from .functional import drop_samples, erase_lead, partial_noise, resized_crop, time_out
from .row_generator import RowGenerator

__all__ = ["MaeMocoViews"]

# Resized crop, erase lead, time out, partial noise, drop.
_OPERATIONS = 5


@dataclass(frozen=True)
class MaeMocoViews:
    """The five view augmentations of MAE-MoCo, drawn independently for each record (see `docs/systems/mae_moco.md`).

    Args:
        probability: Probability of each operation for policy `"all"`. Default: 0.5.
        policy: `"all"` (default): resized crop, erase lead, time out, partial noise, drop, in this order, each with
            `probability`. `"pick_k"`: `picks` distinct operations per record, in random order.
        picks: Number of operations per record for `"pick_k"`. Default: 2.
        crop_ratio: Range of the length of the crop, as a fraction of the record. Default: (0.5, 1).
        time_out_ratio: Range of the fraction set to zero. Default: (0, 0.5).
        noise_ratio: Range of the fraction with added noise. Default: (0, 0.3).
        noise_amplitude: Standard deviation of the noise in units of the normalized signal. Default: 0.3.
        drop_ratio: Maximum fraction of dropped samples. Default: 0.3.
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
        """Draw all random numbers for one view of a batch.

        Positions and lengths are drawn from [0, 1) and scaled to the unpadded length of a record when applied.

        Args:
            generator: Random generator with one stream per record.
            num_leads: Number of leads.
            num_samples: Samples per lead.

        Returns:
            Draws by name, each with the batch as first dimension.
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
        """Compute the view for given draws, leaving the signal unchanged.

        Args:
            signal: Normalized signal `(batch, leads, samples)`.
            draws: Result of `draw`.
            attention_mask: `(batch, samples)`, 1 = signal; padding stays 0. Default: all signal.
        """
        if attention_mask is None:
            valid, samples = None, torch.full_like(draws["lead"], signal.shape[-1], dtype=torch.long)
        else:
            valid = samples = attention_mask.sum(dim=1).long()
        for chosen in self._rounds(draws["chance"]):
            crop, erase, silence, noise, drop = chosen.unbind(1)
            # Records without an operation get its neutral parameter.
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
            most = int(self.drop_ratio * signal.shape[-1])
            count = (draws["drop_count"] * most).long()
            signal = drop_samples(signal, draws["drop"], torch.where(drop, count, 0), most)
        return signal if attention_mask is None else signal * attention_mask[:, None, :].to(signal.dtype)

    def draw_pair(self, generator: RowGenerator, num_leads: int, num_samples: int) -> dict[str, torch.Tensor]:
        """Draw the parameters of two views of each record; arguments as in `draw`."""
        pair = [self.draw(generator, num_leads, num_samples) for _ in range(2)]
        return {f"view{view}_{name}": value for view, drawn in enumerate(pair) for name, value in drawn.items()}

    def apply_pair(
        self, signal: torch.Tensor, draws: Mapping[str, torch.Tensor], attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute two views `(batch, 2, leads, samples)` for the result of `draw_pair`; arguments as in `apply`."""
        names = [name.removeprefix("view0_") for name in draws if name.startswith("view0_")]
        pair = [{name: draws[f"view{view}_{name}"] for name in names} for view in range(2)]
        return torch.stack([self.apply(signal, drawn, attention_mask) for drawn in pair], dim=1)

    def _rounds(self, chance: torch.Tensor) -> list[torch.Tensor]:
        """Selected operations of each record, bool `(batch, operations)`, for each pass over the operations."""
        if self.policy == "all":
            return [chance < self.probability]
        order = chance.argsort(dim=1)[:, : self.picks]
        return [order[:, i, None] == torch.arange(_OPERATIONS, device=chance.device) for i in range(self.picks)]

    @staticmethod
    def _span(
        draw: torch.Tensor, ratio: tuple[float, float], samples: torch.Tensor, least: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Width `int(r * samples)` and start in `{0 ... samples - width}` of each record."""
        low, high = ratio
        width = ((low + (high - low) * draw[:, 0]) * samples).long().clamp_min(least).minimum(samples)
        start = (draw[:, 1] * (samples - width + 1)).long()
        return width, start.minimum(samples - width)
