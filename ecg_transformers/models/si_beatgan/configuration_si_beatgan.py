"""Configuration of SI-BeatGAN and SI-BeatGAN V2."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from ...errors import CheckpointError
from ..beatgan.configuration_beatgan import BeatganConfig

__all__ = ["SiBeatganConfig"]


@strict
class SiBeatganConfig(BeatganConfig):
    """Configuration of SI-BeatGAN; the fields of the networks are described in `BeatganConfig`.

    All of it is ours. SI-BeatGAN's public code adds a constant to the loss, which trains nothing, and V2 was announced
    but never run. V2 is `contrastive_weight` 0.1.

    Args:
        teacher (`str`, *optional*): Folder or Hub name of the finished BeatGAN that the student learns from. Needed by
            the distillation terms; not part of the checkpoint.
        teacher_hash (`str`, *optional*): Hash of the teacher's tensors that are used, set at first use; another
            teacher is refused.
        teacher_latent_size (`int`, *optional*): The teacher's `latent_size`, where it is not the student's: a linear
            map between both is then learned. Default: the same.
        output_distillation_weight (`float`, default 1): Weight of the distance of the reconstructions.
        latent_distillation_weight (`float`, default 0.1): Weight of the distance of the latent vectors.
        feature_distillation_weight (`float`, default 0): Weight of the distance of the features that the teacher's
            discriminator has for both reconstructions.
        attention_distillation_weight (`float`, default 0): Weight of the attention transfer between the encoders.
        score_distillation_weight (`float`, default 0): Weight of the divergence of the distributions of scores.
        relative_distillation (`bool`, default `True`): Divide the distances of latent vectors and features by the
            teacher's variance on the batch. Undivided they are 10 and 170 at the start, with a reconstruction error
            of 0.3, and with a weight of 1 nothing else is learned.
        score_distillation_over (`str`, default `"beats"`): Distribution of the scores over the `"beats"` of the batch,
            or of the errors over the `"samples"` of each beat.
        distillation_temperature (`float`, default 4): Temperature of these distributions.
        published_distillation_weight (`float`, default 0): Weight of the published term, which changes no gradient.
        contrastive_weight (`float`, default 0, 0.1 in V2): Weight of NT-Xent between two warps of each beat.
        contrast_on (`str`, default `"latent"`): What is contrasted: the `"latent"` vectors, in the loss of the
            generator, or the `"discriminator"`'s features averaged over time, in its own loss.
        temperature (`float`, default 0.5): Temperature of NT-Xent.
        projection_size (`int`, default 32): Output width of the projection head of the contrast.
        negatives (`str`, default `"exclude_same_record"`): Beats that are negatives of a beat: `"all"` others,
            those of other recordings, all but `"exclude_neighbors"` in time, or all but its `"exclude_nearest"`.
        neighbor_seconds (`float`, default 10): Largest distance of neighbors of a recording in seconds.
        num_nearest (`int`, default 2): Number of the nearest beats that are left out.

    Raises:
        CheckpointError: The fields contradict each other.
    """

    model_type = "si_beatgan"

    teacher: str | None = None
    teacher_hash: str | None = None
    teacher_latent_size: int | None = None
    output_distillation_weight: float | int = 1.0
    latent_distillation_weight: float | int = 0.1
    feature_distillation_weight: float | int = 0.0
    attention_distillation_weight: float | int = 0.0
    score_distillation_weight: float | int = 0.0
    relative_distillation: bool = True
    score_distillation_over: Literal["beats", "samples"] = "beats"
    distillation_temperature: float | int = 4.0
    published_distillation_weight: float | int = 0.0
    contrastive_weight: float | int = 0.0
    contrast_on: Literal["latent", "discriminator"] = "latent"
    temperature: float | int = 0.5
    projection_size: int = 32
    negatives: Literal["all", "exclude_same_record", "exclude_neighbors", "exclude_nearest"] = "exclude_same_record"
    neighbor_seconds: float | int = 10.0
    num_nearest: int = 2

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in ("temperature", "distillation_temperature"):
            if not getattr(self, name) > 0:
                raise CheckpointError(f"{name} is {getattr(self, name)}; it must be positive.")
        if self.contrast_on == "discriminator" and self.contrastive_weight and not self.feature_matching_weight:
            raise CheckpointError(
                "contrast_on is 'discriminator', but with feature_matching_weight 0 there is none. Set it above 0, or "
                "contrast_on='latent'."
            )

    @property
    def needs_places(self) -> bool:
        """Whether a step needs to know of which recording a beat is, and where."""
        return bool(self.contrastive_weight) and self.negatives in ("exclude_same_record", "exclude_neighbors")

    @property
    def distillation_weights(self) -> dict[str, float]:
        """Weights above 0 of the terms that need a teacher, by the name of their loss."""
        kinds = ("output", "latent", "feature", "attention", "score", "published")
        weights = {f"{kind}_distillation_loss": float(getattr(self, f"{kind}_distillation_weight")) for kind in kinds}
        return {name: weight for name, weight in weights.items() if weight}
