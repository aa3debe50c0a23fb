"""Running means of the loss terms between two log entries."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["LossLog"]


class LossLog:
    """Sums up loss terms on the device; nothing is synchronized until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._rows: dict[str, int] = {}

    def add(self, terms: dict[str, torch.Tensor], rows: int) -> None:
        """Add the terms of one micro-batch.

        Args:
            terms: Scalars by name, each a mean over the micro-batch.
            rows: Records of the micro-batch, the weight of its means.
        """
        for name, term in terms.items():
            weighted = term.detach().float() * rows
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
            self._rows[name] = self._rows.get(name, 0) + rows

    def drain(self, accelerator: "Accelerator") -> dict[str, float]:
        """Return the means over all records of all processes since the last call, and reset them.

        Every process has to call it at the same point (it gathers).
        """
        if not self._sums:
            return {}
        names = sorted(self._sums)
        rows = torch.tensor([self._rows[name] for name in names], dtype=torch.float32)
        sums = torch.stack([self._sums[name] for name in names])
        table = torch.stack([sums, rows.to(sums.device)])[None]
        totals = accelerator.gather(table).sum(dim=0)
        self._sums, self._rows = {}, {}
        return dict(zip(names, (totals[0] / totals[1]).tolist(), strict=True))
