"""BeatGAN pretraining: an autoencoder of normal beats, and a discriminator whose features its reconstructions match.

Source: Zhou et al. 2019 and the public code hi-bingo/BeatGAN. In each step first the discriminator learns to tell beats
from reconstructions, then the generator learns with the updated discriminator; one optimizer steps both in turn. See
`docs/systems/beatgan.md`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers.utils import ModelOutput

from ...augmentations.row_generator import RowGenerator
from ...augmentations.time_warp import draw_beat_warp, warp_beats, warp_places
from ...objectives.adversarial import discriminator_loss, mean_squared_error
from ...objectives.progress import Progress
from .configuration_beatgan import BeatganConfig
from .modeling_beatgan import BeatganFeatures, BeatganGenerator, BeatganModel, Generated

__all__ = ["BeatganDiscriminator", "BeatganForPreTraining", "BeatganForPreTrainingOutput"]

DISCRIMINATOR, GENERATOR = "discriminator", "generator"

_LARGEST_SEED = 2**63 - 1


@dataclass
class BeatganForPreTrainingOutput(ModelOutput):
    """Output of a phase of a pretraining step, or of all phases together.

    Args:
        loss: Weighted sum of the terms that were computed.
        discriminator_loss: Cross-entropy of beats with 1 and of reconstructions with 0, added up.
        reconstruction_loss: Mean squared difference of beats and reconstructions.
        feature_matching_loss: That of the discriminator's features for them.
        reinitialized: 1 if the discriminator will be reinitialized after this step, else 0.
        reconstruction: `(batch, leads, samples)`.
        hidden_states: Of the encoder, as in `EcgModelOutput`, if asked for.
        attentions: None: there is no attention.
        handed: Forward pass of the generator, for the next phase of the step.
    """

    loss: torch.Tensor | None = None
    discriminator_loss: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    feature_matching_loss: torch.Tensor | None = None
    reinitialized: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    handed: dict[str, Generated] | None = None


class BeatganDiscriminator(nn.Module):
    """Convolutions as in the encoder, and one over all that is left, to one logit.

    Args:
        config: The configuration.
    """

    def __init__(self, config: BeatganConfig):
        super().__init__()
        channels = config.discriminator_base_channels or config.base_channels
        sizes = [channels * size // config.base_channels for size in config.stage_sizes]
        self.features = BeatganFeatures(config.num_leads, sizes)
        self.classifier = nn.Conv1d(sizes[-1], 1, config.num_tokens, bias=False)

    @property
    def feature_size(self) -> int:
        """Channels of the features."""
        return self.classifier.in_channels

    def forward(self, signal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Judge beats.

        Args:
            signal: `(batch, leads, samples)`.

        Returns:
            Logits `(batch,)`, positive = taken for real; features of the last stage `(batch, steps, channels)`.
        """
        features = self.features(signal)[-1]
        return self.classifier(features.transpose(1, 2)).flatten(), features


class BeatganForPreTraining(BeatganGenerator):
    """Generator and discriminator, trained in two phases of a step.

    `loss_weights` may be set at any time. With `feature_matching_weight` 0 there is no discriminator, and no phases.

    The forward pass of the generator serves both phases. The public code repeats it with the same weights, so that the
    running statistics of its BatchNorm move twice by the same batch: here once, with the momentum of both moves.

    Args:
        config: The configuration.
    """

    output_class: type[BeatganForPreTrainingOutput] = BeatganForPreTrainingOutput
    logged_values: tuple[str, ...] = ("reinitialized",)

    def __init__(self, config: BeatganConfig):
        super().__init__(config)
        self.loss_weights = {"reconstruction_loss": 1.0}
        self.phases: dict[str, tuple[str, ...]] = {}
        # Loss and seed of the step in progress.
        self._judged: tuple[torch.Tensor, torch.Tensor] | None = None
        if config.warp_probability:
            config.check_warp()
        if config.feature_matching_weight:
            self.discriminator = BeatganDiscriminator(config)
            self.phases = {DISCRIMINATOR: ("discriminator",), GENERATOR: ("beatgan", "decoder")}
            self.loss_weights = {
                "discriminator_loss": 1.0,
                **self.loss_weights,
                "feature_matching_loss": float(config.feature_matching_weight),
            }
            if not config.official_order:
                for norm in self._generator_norms():
                    norm.momentum = 1 - (1 - cast(float, norm.momentum)) ** 2
        self._build()
        self.post_init()

    def _build(self) -> None:
        """Add what a family that builds on this one has in addition."""

    @property
    def encoder(self) -> BeatganModel:
        """The part that is kept for downstream use."""
        return self.beatgan

    # ---- draws -----------------------------------------------------------------------------------------------------

    def draw(self, generator: RowGenerator) -> dict[str, torch.Tensor]:
        """Draw the warps of the beats, and the seed of new weights for the discriminator.

        Args:
            generator: Source of the numbers, one stream per row.

        Returns:
            `reinitialization_seed (1,)`, shared by the rows; with `warp_probability` `warp_chance (rows,)`, and what
            `draw_beat_warp` gives as `warp_left` and `warp_right`.
        """
        config, draws = self.config, dict[str, torch.Tensor]()
        if config.warp_probability:
            warp = draw_beat_warp(generator, config.window_size, config.samples_before)
            draws |= {"warp_chance": generator.uniform()} | {f"warp_{name}": order for name, order in warp.items()}
        if self.phases:
            draws["reinitialization_seed"] = torch.randint(
                _LARGEST_SEED, (1,), generator=generator.shared, device=generator.device
            )
        return draws

    def apply_draws(self, inputs: Mapping[str, Any], draws: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Warp some of the beats, in training only, and pass the seed on.

        Args:
            inputs: The batch.
            draws: From `draw`.
        """
        keywords = {name: draws[name] for name in ("reinitialization_seed",) if name in draws}
        if "warp_chance" in draws and self.training:
            beats = inputs["input_values"]
            warped = self.warp(beats, draws["warp_left"][:, 0], draws["warp_right"][:, 0])
            chosen = draws["warp_chance"][:, None, None] < self.config.warp_probability
            keywords["input_values"] = torch.where(chosen, warped, beats)
        return keywords

    def warp(self, beats: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Warp beats in time.

        Args:
            beats: `(batch, leads, samples)`.
            left: Drawn order of the samples before the R peak, `(batch, ...)`.
            right: Of those behind it.
        """
        return warp_beats(beats, warp_places(left, right, self.config.warp_samples, beats.shape[-1]))

    # ---- losses ----------------------------------------------------------------------------------------------------

    def forward(
        self,
        input_values: torch.Tensor,
        phase: str | None = None,
        generated: Generated | None = None,
        reinitialization_seed: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patient_ids: torch.Tensor | None = None,
        record_ids: torch.Tensor | None = None,
        parent_ids: torch.Tensor | None = None,
        starts: torch.Tensor | None = None,
        views: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        return_loss: bool = True,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BeatganForPreTrainingOutput | tuple:
        """Compute the loss of a phase, or of all.

        Args:
            input_values: Beats `(batch, leads, samples)`, prepared by the feature extractor.
            phase: `"discriminator"` or `"generator"`. Default: all terms at once, as in evaluation.
            generated: Forward pass that the discriminator's phase passed on. Default: computed here.
            reinitialization_seed: Seed of new weights for the discriminator. Default: drawn from torch's global
                generator.
            attention_mask: `(batch, samples)`, 1 = signal; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present.
            patient_ids: Accepted and ignored: beats are not distinguished.
            record_ids: Accepted and ignored.
            parent_ids: Recording of each beat, int64 `(batch,)`; for a contrast of beats (SI-BeatGAN V2).
            starts: First sample of each beat in its recording, int64 `(batch,)`; likewise.
            views: Two warps of each beat `(batch, 2, leads, samples)`; likewise. Default: drawn from torch's global
                generator.
            record_index: Accepted and ignored.
            return_loss: Accepted so that the Trainer evaluates with a loss.
            output_hidden_states: Return the output of the encoder's first convolution and of its stages.
            output_attentions: Accepted and ignored: there is no attention.
            return_dict: Return a tuple if False.
        """
        others = {"parent_ids": parent_ids, "starts": starts, "views": views}
        shared = bool(self.phases) and not self.config.official_order
        if generated is None:
            generated = self.generate_beats(input_values, attention_mask, lead_mask)
            if shared and phase and self.training:
                for norm in self._generator_norms():
                    cast(torch.Tensor, norm.num_batches_tracked).add_(1)
        terms: dict[str, Any] = {}
        if self.phases and phase != GENERATOR:
            terms |= self._judge(generated, reinitialization_seed, others)
        if phase != DISCRIMINATOR:
            terms |= self._generator_terms(generated, others, phase)
        result = self.output_class(
            loss=sum(weight * terms[name] for name, weight in self.loss_weights.items() if name in terms),  # type: ignore[arg-type]
            **terms,
            reconstruction=generated.reconstruction,
            hidden_states=generated.hidden_states,
            handed={"generated": generated} if shared and phase == DISCRIMINATOR else None,
        )
        return self.finish_output(result, output_hidden_states=output_hidden_states, return_dict=return_dict)

    def _judge(
        self, generated: Generated, seed: torch.Tensor | None, others: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        """Loss of the discriminator; noted for `after_step` where it is trained."""
        real, _ = self.discriminator(generated.signal)
        fake, _ = self.discriminator(generated.reconstruction.detach())
        loss = discriminator_loss(real, fake)
        if self.training:
            seed = torch.randint(_LARGEST_SEED, (1,)) if seed is None else seed
            self._judged = (loss.detach(), seed)
        return {"discriminator_loss": loss, "reinitialized": (loss.detach() < self.config.reinitialize_below).float()}

    def _generator_terms(
        self, generated: Generated, others: Mapping[str, Any], phase: str | None
    ) -> dict[str, torch.Tensor]:
        """Terms of the generator; in its phase without gradients for the discriminator."""
        terms = {"reconstruction_loss": mean_squared_error(generated.reconstruction, generated.signal)}
        if "feature_matching_loss" in self.loss_weights:
            with _frozen(self.discriminator, phase == GENERATOR):
                _, fake = self.discriminator(generated.reconstruction)
                _, real = self.discriminator(generated.signal)
            terms["feature_matching_loss"] = mean_squared_error(fake, real)
        return terms

    def _generator_norms(self) -> Iterator[nn.BatchNorm1d]:
        for part in (self.beatgan, self.decoder):
            yield from (module for module in part.modules() if isinstance(module, nn.BatchNorm1d))

    # ---- re-initialization of the discriminator ---------------------------------------------------------------------

    def after_step(self, progress: Progress) -> None:
        """Reinitialize the discriminator if it won: its loss in this step was below `reinitialize_below`.

        As published, its running statistics and the moments of the optimizer stay.

        Args:
            progress: Position in the run; not used.
        """
        if self._judged is None:
            return
        loss, seed = self._judged
        self._judged = None
        if loss.item() < self.config.reinitialize_below:
            self.reinitialize_discriminator(torch.Generator().manual_seed(int(seed)))

    @torch.no_grad()
    def reinitialize_discriminator(self, generator: torch.Generator) -> None:
        """Draw new weights for the discriminator.

        Args:
            generator: Of the CPU, so that every device gets the same weights.
        """
        for module in self.discriminator.modules():
            if isinstance(module, nn.Conv1d):
                new = torch.empty_like(module.weight, device="cpu")
                module.weight.copy_(nn.init.xavier_normal_(new, generator=generator))
            elif isinstance(module, nn.BatchNorm1d):
                new = torch.empty_like(module.weight, device="cpu")
                module.weight.copy_(nn.init.normal_(new, 1.0, 0.02, generator=generator))
                nn.init.zeros_(module.bias)


@contextmanager
def _frozen(module: nn.Module, frozen: bool) -> Iterator[None]:
    """Leave the parameters of a module out of the graph that is built meanwhile: their gradients would be discarded."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad and frozen]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
