"""SI-BeatGAN pretraining: BeatGAN with a finished BeatGAN as teacher; V2 also contrasts two warps of each beat.

All of it is ours, on ideas of two student projects ("Self-Improving BeatGAN via Knowledge Distillation", 2021, and
"... and SimCLR", Hwang & Park 2022), whose code trains a plain BeatGAN. See `docs/systems/si_beatgan.md`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ...augmentations.row_generator import RowGenerator
from ...augmentations.time_warp import draw_beat_warp
from ...errors import CheckpointError
from ...objectives.adversarial import mean_squared_error
from ...objectives.distillation import (
    attention_distillation,
    published_distillation,
    relative_error,
    score_distillation,
)
from ...objectives.negatives import excluded_negatives
from ...objectives.ntxent import nt_xent
from ..beatgan.modeling_beatgan import Generated
from ..beatgan.pretraining_beatgan import (
    DISCRIMINATOR,
    GENERATOR,
    BeatganForPreTraining,
    BeatganForPreTrainingOutput,
)
from .configuration_si_beatgan import SiBeatganConfig
from .modeling_si_beatgan import SiBeatganModel

__all__ = ["SiBeatganForPreTraining", "SiBeatganForPreTrainingOutput"]


@dataclass
class SiBeatganForPreTrainingOutput(BeatganForPreTrainingOutput):
    """Output of a phase of a pretraining step, or of all phases together.

    Args:
        output_distillation_loss: Mean squared difference of the reconstructions of student and teacher.
        latent_distillation_loss: That of the latent vectors.
        feature_distillation_loss: That of the features of the teacher's discriminator for both reconstructions.
        attention_distillation_loss: Attention transfer between the encoders.
        score_distillation_loss: Divergence of the distributions of scores.
        published_distillation_loss: The published term, without gradient.
        contrastive_loss: NT-Xent between the warps of the beats.
        contrastive_accuracy: Share of the beats whose warps are nearer to each other than to any negative.
    """

    output_distillation_loss: torch.Tensor | None = None
    latent_distillation_loss: torch.Tensor | None = None
    feature_distillation_loss: torch.Tensor | None = None
    attention_distillation_loss: torch.Tensor | None = None
    score_distillation_loss: torch.Tensor | None = None
    published_distillation_loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    contrastive_accuracy: torch.Tensor | None = None


class SiBeatganForPreTraining(BeatganForPreTraining):
    """Student, its discriminator, and the heads that distillation and contrast need.

    The teacher is opened from `config.teacher` when it is first needed, or given by `set_teacher`. It is frozen, always
    in evaluation mode, and no part of the module: it is never saved, and `train()` does not reach it.

    Args:
        config: The configuration.
    """

    config: SiBeatganConfig  # type: ignore[assignment]
    config_class = SiBeatganConfig
    encoder_class = SiBeatganModel
    output_class = SiBeatganForPreTrainingOutput

    def _build(self) -> None:
        config = self.config
        # In a list, so that it is no submodule.
        self._teacher: list[BeatganForPreTraining] = []
        learning: dict[str, list[str]] = {DISCRIMINATOR: [], GENERATOR: []}
        self.loss_weights |= config.distillation_weights
        if config.latent_distillation_weight and config.teacher_latent_size not in (None, config.latent_size):
            self.latent_adapter = nn.Linear(config.latent_size, config.teacher_latent_size, bias=False)
            learning[GENERATOR].append("latent_adapter")
        if config.contrastive_weight:
            config.check_warp()
            on_latent = config.contrast_on == "latent"
            size = config.latent_size if on_latent else self.discriminator.feature_size
            self.projector = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, config.projection_size))
            learning[GENERATOR if on_latent else DISCRIMINATOR].append("projector")
            self.loss_weights["contrastive_loss"] = float(config.contrastive_weight)
            self.logged_values = (*self.logged_values, "contrastive_accuracy")
        self.phases = {phase: (*parts, *learning[phase]) for phase, parts in self.phases.items()}

    # ---- teacher ---------------------------------------------------------------------------------------------------

    def set_teacher(self, teacher: BeatganForPreTraining, name: str | None = None) -> None:
        """Take a finished BeatGAN as teacher: freeze it, and note its name and hash in the config.

        Args:
            teacher: The teacher; its discriminator is needed for `feature_distillation_weight` only.
            name: Folder or Hub name. Default: where it was loaded from.

        Raises:
            CheckpointError: It takes other beats, has another latent size, or is not the one of the config.
        """
        config, other = self.config, teacher.config
        for field in ("num_leads", "window_size", "samples_before", "reference"):
            if getattr(config, field) != getattr(other, field):
                raise CheckpointError(
                    f"The teacher has {field} {getattr(other, field)}, the student {getattr(config, field)}; both must "
                    f"take the same beats. Set {field}, or choose another teacher."
                )
        wanted = config.teacher_latent_size or config.latent_size
        if "latent_distillation_loss" in self.loss_weights and other.latent_size != wanted:
            raise CheckpointError(
                f"The teacher's latent_size is {other.latent_size}, but {wanted} was expected. Set "
                f"teacher_latent_size to {other.latent_size}."
            )
        if "feature_distillation_loss" in self.loss_weights and not teacher.phases:
            raise CheckpointError(
                "feature_distillation_weight needs a teacher with a discriminator; this one is an autoencoder. Set it "
                "to 0, or choose another teacher."
            )
        if "attention_distillation_loss" in self.loss_weights and other.num_hidden_layers != config.num_hidden_layers:
            raise CheckpointError(
                f"The teacher has {other.num_hidden_layers} stages, the student {config.num_hidden_layers}; attention "
                "transfer compares stage by stage. Set attention_distillation_weight to 0."
            )
        found = _hash(teacher, self._needed_parts)
        if config.teacher_hash not in (None, found):
            raise CheckpointError(
                f"The teacher {name or config.teacher} has the hash {found}, but the student learned from "
                f"{config.teacher_hash}. Use that teacher, or set teacher_hash to None for a new run."
            )
        config.teacher_hash = found
        config.teacher = name or config.teacher or other.name_or_path or None
        self._teacher = [teacher.eval().requires_grad_(False)]

    @property
    def teacher(self) -> BeatganForPreTraining:
        """The frozen teacher, where this model is; it is opened from `config.teacher` at first use.

        Raises:
            CheckpointError: There is none, or it lacks tensors that the losses need.
        """
        if not self._teacher:
            self.set_teacher(self._open_teacher(), self.config.teacher)
        [teacher] = self._teacher
        if (teacher.device, teacher.dtype) != (self.device, self.dtype):
            nn.Module.to(teacher, self.device, self.dtype)
        return teacher

    def _open_teacher(self) -> BeatganForPreTraining:
        name = self.config.teacher
        if name is None:
            raise CheckpointError(
                f"{', '.join(self.config.distillation_weights)} need a teacher. Set teacher to a finished BeatGAN "
                "(model.set_teacher(...) in Python), or the weights of these terms to 0."
            )
        # Without need no discriminator is built, which a published teacher does not have.
        changes: dict[str, Any] = {}
        if "discriminator." not in self._needed_parts:
            changes["feature_matching_weight"] = 0.0
        loaded: Any = BeatganForPreTraining.from_pretrained(
            name, use_safetensors=True, output_loading_info=True, **changes
        )
        teacher, info = loaded
        if absent := sorted(info["missing_keys"]):
            raise CheckpointError(
                f"The teacher {name} lacks {len(absent)} tensors, first {absent[0]}. Name the folder of a pretraining "
                "run, which holds the discriminator too, or set feature_distillation_weight to 0."
            )
        return teacher

    @property
    def _needed_parts(self) -> tuple[str, ...]:
        """Beginnings of the names of the teacher's tensors that the losses depend on."""
        parts = ("beatgan.", "decoder.")
        return (*parts, "discriminator.") if "feature_distillation_loss" in self.loss_weights else parts

    # ---- draws -----------------------------------------------------------------------------------------------------

    def draw(self, generator: RowGenerator) -> dict[str, torch.Tensor]:
        """Draw what BeatGAN draws, and for the contrast two warps of each beat.

        Args:
            generator: Source of the numbers, one stream per row.

        Returns:
            As in `BeatganForPreTraining`; `view_left`, `view_right` as `draw_beat_warp` gives them.
        """
        draws = super().draw(generator)
        if "contrastive_loss" in self.loss_weights:
            warps = draw_beat_warp(generator, self.config.window_size, self.config.samples_before, views=2)
            draws |= {f"view_{name}": order for name, order in warps.items()}
        return draws

    def apply_draws(self, inputs: Mapping[str, Any], draws: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Make the two views of each beat, of the beats as they are.

        Args:
            inputs: The batch.
            draws: From `draw`.
        """
        keywords = super().apply_draws(inputs, draws)
        if "view_left" in draws:
            left, right = draws["view_left"], draws["view_right"]
            beats = inputs["input_values"].repeat_interleave(left.shape[1], dim=0)
            keywords["views"] = self.warp(beats, left.flatten(0, 1), right.flatten(0, 1)).unflatten(0, left.shape[:2])
        return keywords

    # ---- losses ----------------------------------------------------------------------------------------------------

    def _judge(
        self, generated: Generated, seed: torch.Tensor | None, others: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        terms = super()._judge(generated, seed, others)
        if self.config.contrast_on == "discriminator":
            terms |= self._contrast(generated, **others)
        return terms

    def _generator_terms(
        self, generated: Generated, others: Mapping[str, Any], phase: str | None
    ) -> dict[str, torch.Tensor]:
        terms = super()._generator_terms(generated, others, phase)
        if self.config.distillation_weights:
            terms |= self._distill(generated)
        if self.config.contrast_on == "latent":
            terms |= self._contrast(generated, **others)
        return terms

    def _distill(self, generated: Generated) -> dict[str, torch.Tensor]:
        """Terms with the teacher, on this batch and with the student as it is."""
        config, teacher, weights = self.config, self.teacher, self.config.distillation_weights
        with torch.no_grad():
            target = teacher.generate_beats(generated.signal)
        distance = relative_error if config.relative_distillation else mean_squared_error
        terms: dict[str, torch.Tensor] = {}
        if "output_distillation_loss" in weights:
            terms["output_distillation_loss"] = mean_squared_error(generated.reconstruction, target.reconstruction)
        if "latent_distillation_loss" in weights:
            latent = self.latent_adapter(generated.latent) if hasattr(self, "latent_adapter") else generated.latent
            terms["latent_distillation_loss"] = distance(latent, target.latent)
        if "feature_distillation_loss" in weights:
            # The teacher's discriminator is frozen, but the gradient passes through it to the student's reconstruction.
            _, ours = teacher.discriminator(generated.reconstruction)
            with torch.no_grad():
                _, theirs = teacher.discriminator(target.reconstruction)
            terms["feature_distillation_loss"] = distance(ours, theirs)
        if "attention_distillation_loss" in weights:
            pair = (generated.hidden_states, target.hidden_states)
            terms["attention_distillation_loss"] = attention_distillation(*pair)
        temperature = config.distillation_temperature
        if "score_distillation_loss" in weights:
            terms["score_distillation_loss"] = score_distillation(
                generated.error, target.error, temperature, config.score_distillation_over
            )
        if "published_distillation_loss" in weights:
            terms["published_distillation_loss"] = published_distillation(
                generated.error.mean(dim=(1, 2)), target.error.mean(dim=(1, 2)), temperature
            )
        return terms

    def _contrast(
        self,
        generated: Generated,
        views: torch.Tensor | None,
        parent_ids: torch.Tensor | None,
        starts: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        """NT-Xent between the views of the beats, in one pass that leaves the running statistics alone."""
        config, beats = self.config, generated.signal
        if "contrastive_loss" not in self.loss_weights:
            return {}
        if views is None:
            draws = self.draw(RowGenerator(len(beats), device=beats.device))
            views = self.apply_draws({"input_values": beats}, draws)["views"]
        rows = views.flatten(0, 1).to(beats.dtype)
        if config.contrast_on == "latent":
            with _statistics_kept(self.beatgan):
                vectors = self.beatgan(rows, return_dict=True).pooler_output
        else:
            with _statistics_kept(self.discriminator):
                vectors = self.discriminator(rows)[1].mean(dim=1)
        projections = functional.normalize(self.projector(vectors), dim=1).unflatten(0, views.shape[:2])
        excluded = excluded_negatives(
            config.negatives,
            beats,
            parent_ids=parent_ids,
            starts=starts,
            neighbor_samples=round(config.neighbor_seconds * config.sampling_rate),
            num_nearest=config.num_nearest,
        )
        contrast = nt_xent(projections, config.temperature, excluded=excluded)
        return {"contrastive_loss": contrast.loss, "contrastive_accuracy": contrast.accuracy}


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Use the statistics of the batch in training mode without adding them to the running ones."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm1d) and norm.training]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _hash(model: nn.Module, parts: tuple[str, ...]) -> str:
    """32 hexadecimal digits that depend on the names and values of all tensors of these parts."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name.startswith(parts):
            digest.update(name.encode())
            digest.update(value.cpu().double().numpy().tobytes())
    return digest.hexdigest()[:32]
