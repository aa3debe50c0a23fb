"""The signal contract of BeatGAN (see `docs/systems/beatgan.md`)."""

from collections.abc import Sequence
from typing import Any

from ...features.extractor import EcgFeatureExtractor

__all__ = ["BeatganFeatureExtractor"]


class BeatganFeatureExtractor(EcgFeatureExtractor):
    """Beats of lead MLII at 360 Hz, 320 samples each, scaled to -1 ... 1."""

    def __init__(
        self,
        lead_names: Sequence[str] = ("MLII",),
        sampling_rate: float = 360,
        window_size: int = 320,
        normalization: str = "minmax_lead",
        return_attention_mask: bool = False,
        **kwargs: Any,
    ):
        super().__init__(
            lead_names=lead_names,
            sampling_rate=sampling_rate,
            window_size=window_size,
            normalization=normalization,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
