"""The signal contract of the one-dimensional shifted-window transformer (see `docs/systems/swin1d.md`)."""

from collections.abc import Sequence
from typing import Any

from ...features.extractor import EcgFeatureExtractor
from ...signals.leads import STANDARD_LEADS

__all__ = ["Swin1dFeatureExtractor"]


class Swin1dFeatureExtractor(EcgFeatureExtractor):
    """Twelve leads, 10 s at 256 Hz = 2560 samples = 640 patches of 4, each lead of each window z-scored.

    The encoder takes no attention mask: a recording shorter than a window is an error, and the last window is aligned
    to the end of the recording. Rate and length are ours.

    Args:
        lead_names: Lead names in order. Default: the twelve standard leads.
        sampling_rate: Sampling rate in Hz. Default: 256.
        window_size: Window in samples, a multiple of 320 with the default stages. Default: 2560.
        patch_size: Patch in samples. Default: 4 (Swin-T).
        normalization: Scaling of the signal. Default: `"record_lead"`.
        return_attention_mask: Return an attention mask. Default: no.
        **kwargs: Further fields of `EcgFeatureExtractor`.

    Example:
        >>> print(Swin1dFeatureExtractor().describe().splitlines()[2])
        3. resample   to 256 Hz, polyphase with anti-alias filter
    """

    def __init__(
        self,
        lead_names: Sequence[str] = STANDARD_LEADS,
        sampling_rate: float = 256,
        window_size: int = 2560,
        patch_size: int | None = 4,
        normalization: str = "record_lead",
        return_attention_mask: bool = False,
        **kwargs: Any,
    ):
        super().__init__(
            lead_names=lead_names,
            sampling_rate=sampling_rate,
            window_size=window_size,
            patch_size=patch_size,
            normalization=normalization,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
