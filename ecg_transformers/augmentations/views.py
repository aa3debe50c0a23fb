"""Named recipes of views: what the published systems do to a record before they contrast it."""

from dataclasses import dataclass

import torch

from .functional import drop_samples, erase_lead, partial_noise, resized_crop, time_out

__all__ = ["MaeMocoViews"]

_OPERATIONS = ("resized_crop", "erase_lead", "time_out", "partial_noise", "drop_samples")


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
        noise_amplitude: Deviation of the noise in units of the normalised signal.
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

    def draw(
        self, batch_size: int, num_leads: int, num_samples: int, generator: torch.Generator | None, device=None
    ) -> dict[str, torch.Tensor]:
        """Draw everything random for one view of a batch; every tensor has the batch first.

        Positions and lengths are drawn as numbers in [0, 1), so that a record's padding can be taken into account when
        they are applied.
        """

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(batch_size, *shape, generator=generator, device=device)

        return {
            "chance": uniform(len(_OPERATIONS)),
            "crop": uniform(2),
            "lead": uniform(),
            "time_out": uniform(2),
            "noise_window": uniform(2),
            "noise": torch.randn(batch_size, num_leads, num_samples, generator=generator, device=device),
            "drop_count": uniform(),
            "drop": uniform(num_samples),
        }

    def apply(
        self, signal: torch.Tensor, draws: dict[str, torch.Tensor], attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Make the view that `draws` describe; the signal itself is not changed.

        Args:
            signal: `(batch, leads, samples)`, normalised.
            draws: From `draw`.
            attention_mask: `(batch, samples)`, 1 = signal; padding at the end stays 0.
        """
        samples = signal.shape[-1]
        valid = None if attention_mask is None else attention_mask.sum(dim=1)
        for chosen in self._schedule(draws["chance"]):
            for operation, applies in zip(_OPERATIONS, chosen.unbind(1), strict=True):
                changed = getattr(self, f"_{operation}")(signal, draws, samples, valid)
                signal = torch.where(applies[:, None, None], changed, signal)
        return signal if attention_mask is None else signal * attention_mask[:, None, :].to(signal.dtype)

    def _schedule(self, chance: torch.Tensor) -> list[torch.Tensor]:
        """Rounds of operations: booleans `(batch, operations)`, one per round."""
        if self.policy == "all":
            return [chance < self.probability]
        order = chance.argsort(dim=1)[:, : self.picks]
        return [order[:, i, None] == torch.arange(len(_OPERATIONS), device=chance.device) for i in range(self.picks)]

    @staticmethod
    def _span(draw: torch.Tensor, ratio: tuple[float, float], total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Width `int(r * total)` and a start drawn from `{0 ... total - width}`."""
        low, high = ratio
        width = ((low + (high - low) * draw[:, 0]) * total).long()
        start = (draw[:, 1] * (total - width + 1)).long()
        return width, torch.minimum(start, total - width)

    def _total(self, draws: dict, samples: int, valid: torch.Tensor | None) -> torch.Tensor:
        return torch.full_like(draws["lead"], samples).long() if valid is None else valid.long()

    def _resized_crop(self, signal, draws, samples, valid):
        total = self._total(draws, samples, valid)
        low, high = self.crop_ratio
        length = ((low + (high - low) * draws["crop"][:, 0]) * total).long().clamp_min(2).minimum(total)
        start = (draws["crop"][:, 1] * (total - length + 1)).long().minimum(total - length)
        return resized_crop(signal, length, start, valid)

    def _erase_lead(self, signal, draws, samples, valid):
        return erase_lead(signal, (draws["lead"] * signal.shape[1]).long())

    def _time_out(self, signal, draws, samples, valid):
        return time_out(signal, *self._span(draws["time_out"], self.time_out_ratio, self._total(draws, samples, valid)))

    def _partial_noise(self, signal, draws, samples, valid):
        width, start = self._span(draws["noise_window"], self.noise_ratio, self._total(draws, samples, valid))
        return partial_noise(signal, width, start, draws["noise"], self.noise_amplitude)

    def _drop_samples(self, signal, draws, samples, valid):
        most = int(self.drop_ratio * samples)
        return drop_samples(signal, draws["drop"], (draws["drop_count"] * most).long())
