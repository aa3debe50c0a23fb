"""Configuration of MAE-NextClip."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from ...errors import CheckpointError
from ..mae_moco.configuration_mae_moco import MaskedAutoencoderConfig

__all__ = ["MaeNextclipConfig"]

# Half a cardiac cycle at 40 beats per minute, in seconds: the longest clip of `nextclip_mode="rr"`.
_LONGEST_HALF_CYCLE = 0.75


@strict
class MaeNextclipConfig(MaskedAutoencoderConfig):
    """Configuration of MAE-NextClip. Defaults: the published model ("paper"), or our choice where the paper has none.

    The fields of the encoder and of its masked reconstruction are described in `EcgVitConfig` and
    `MaskedAutoencoderConfig`. Width, blocks and heads of the NextClip decoder are those of the MAE decoder (ours; the
    paper reports no results with it).

    Args:
        nextclip_mode (`str`, default `"fixed"`, ours): Length of the predicted clip: `"fixed"`, `nextclip_size` for
            every record, or `"rr"`, half of the record's median RR interval, from 0.15 to 0.75 s.
        nextclip_size (`int`, default 150, ours): Samples that the decoder predicts: 0.417 s at 360 Hz, half a cycle at
            72 beats per minute. `"rr"` needs 0.75 s (270 at 360 Hz).
        nextclip_context_size (`int`, default 360, ours): Samples that are always seen before the clip.
        nextclip_weight (`float`, default 1, paper): Weight of the NextClip loss. With 0 no NextClip decoder is built.
        reconstruction_weight (`float`, default 2, alpha of the paper, tried 2, 1, 0.5): Weight of the reconstruction
            loss. With 0 no MAE decoder is built.

    Raises:
        CheckpointError: The fields contradict each other.
    """

    model_type = "mae_nextclip"

    nextclip_mode: Literal["fixed", "rr"] = "fixed"
    nextclip_size: int = 150
    nextclip_context_size: int = 360
    nextclip_weight: float | int = 1.0
    reconstruction_weight: float | int = 2.0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        longest = round(_LONGEST_HALF_CYCLE * self.sampling_rate)
        if self.nextclip_mode == "rr" and self.nextclip_size < longest:
            raise CheckpointError(
                f"nextclip_size is {self.nextclip_size}, but half a cycle of nextclip_mode 'rr' has up to {longest} "
                f"samples ({_LONGEST_HALF_CYCLE} s at {self.sampling_rate} Hz). Set nextclip_size to {longest}."
            )

    def check_clip(self) -> None:
        """Refuse a clip that does not fit; only pretraining cuts clips, so only its class calls this.

        Raises:
            CheckpointError: Context and clip are longer than the window.
        """
        needed = self.nextclip_context_size + self.nextclip_size
        if needed > self.window_size:
            raise CheckpointError(
                f"nextclip_context_size {self.nextclip_context_size} and nextclip_size {self.nextclip_size} need a "
                f"window of {needed} samples, but window_size is {self.window_size}. Set smaller ones: 1 s and 0.42 s "
                f"are {round(self.sampling_rate)} and {round(self.sampling_rate * 150 / 360)} samples at "
                f"{self.sampling_rate} Hz."
            )
