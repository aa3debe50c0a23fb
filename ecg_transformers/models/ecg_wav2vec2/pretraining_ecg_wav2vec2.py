"""Pretraining: masked frames identified (wav2vec 2.0), adjacent windows contrasted (CMSC), random leads masked.

Source: Oh et al. 2022 (arXiv 2203.06889) and its public code fairseq-signals. See `docs/systems/ecg_wav2vec2.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput, logging

from ...augmentations.row_generator import RowGenerator
from ...errors import SignalError
from ...features.steps import keep_leads
from ...objectives.frame_contrast import frame_contrast, negative_frames
from ...objectives.gather import all_gather, gather_with_gradient
from ...objectives.gradient_scale import scale_gradient
from ...objectives.infonce import matrix_info_nce, unit_of_constant_norm
from ...objectives.precision import at_least_float32, similarities
from ...objectives.quantizer import GumbelQuantizer, perplexity
from ...objectives.sources import same_source, source_numbers
from ...objectives.span_masking import equal_counts, longest_mask, masked_frames, span_counts, span_mask
from .configuration_ecg_wav2vec2 import EcgWav2vec2Config
from .modeling_ecg_wav2vec2 import EcgWav2vec2Model, EcgWav2vec2PreTrainedModel

__all__ = ["EcgWav2vec2ForPreTraining", "EcgWav2vec2ForPreTrainingOutput"]

logger = logging.get_logger(__name__)


@dataclass
class EcgWav2vec2ForPreTrainingOutput(ModelOutput):
    """Output of a pretraining step; windows are the rows, those of a recording side by side.

    Terms and values of a part that the configuration switches off are None.

    Args:
        loss: Weighted sum of the terms.
        contrastive_loss: Cross-entropy of the target of a masked frame among its negatives, mean over the frames.
        diversity_loss: `(codes - prob_perplexity) / codes`.
        feature_penalty_loss: Mean square of the features of the convolutions.
        cmsc_loss: Contrast of the two windows of a recording with those of others.
        prob_perplexity: Perplexity of the mean probabilities of the codes, sum over the groups.
        code_perplexity: The same of the most probable codes.
        contrastive_accuracy: Share of the masked frames that are nearest to their own target.
        cmsc_accuracy: Share of the windows whose nearest window of the other role is a positive.
        projected_states: Contexts of the masked frames `(windows, masked, projection_size)`.
        projected_quantized_states: Their targets, of the same shape.
        codes: Codes of the targets, int64 `(windows, masked, groups)`.
        pooler_output: Mean of the frames of each window `(windows, hidden_size)`, masked frames included.
        last_hidden_state: Frames `(windows, frames, hidden_size)`.
        hidden_states: As in `EcgModelOutput`, if requested.
        attentions: As in `EcgModelOutput`, if requested.
    """

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    diversity_loss: torch.Tensor | None = None
    feature_penalty_loss: torch.Tensor | None = None
    cmsc_loss: torch.Tensor | None = None
    prob_perplexity: torch.Tensor | None = None
    code_perplexity: torch.Tensor | None = None
    contrastive_accuracy: torch.Tensor | None = None
    cmsc_accuracy: torch.Tensor | None = None
    projected_states: torch.Tensor | None = None
    projected_quantized_states: torch.Tensor | None = None
    codes: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class _Masked(NamedTuple):
    """What the local contrast needs of the masked frames.

    Args:
        features: Normalized features before the mask `(windows, masked, channels)`.
        mask: Bool `(windows, frames)`.
        noise: Gumbel noise `(windows, masked, groups, codes)`, or None.
        negatives: int64 `(windows, masked, negatives)`.
    """

    features: torch.Tensor
    mask: torch.Tensor
    noise: torch.Tensor | None
    negatives: torch.Tensor


class EcgWav2vec2ForPreTraining(EcgWav2vec2PreTrainedModel):
    """Encoder, quantizer and projections; W2V, CMSC or both, with or without random lead masking.

    `L = contrastive + .1 diversity + 10 feature penalty + CMSC`. `loss_weights` starts at the weights of the config and
    `gumbel_temperature` at `gumbel_temperature_start`; both may be set at any time. `PretrainingTrainer` lowers the
    temperature by `default_schedules`.

    Args:
        config: The configuration.
    """

    config: EcgWav2vec2Config
    logged_values = ("prob_perplexity", "code_perplexity", "contrastive_accuracy", "cmsc_accuracy")

    def __init__(self, config: EcgWav2vec2Config):
        super().__init__(config)
        self.ecg_wav2vec2 = EcgWav2vec2Model(config)
        terms = ("contrastive", "diversity", "feature_penalty", "cmsc")
        weights = {f"{term}_loss": float(getattr(config, f"{term}_weight")) for term in terms}
        self.loss_weights = {name: weight for name, weight in weights.items() if weight}
        self.gumbel_temperature = float(config.gumbel_temperature_start)
        self.default_schedules: dict[str, dict[str, Any]] = {}
        if config.contrastive_weight:
            self.mask_embedding = nn.Parameter(torch.zeros(config.hidden_size))
            self.quantizer = GumbelQuantizer(
                config.conv_dim[-1],
                num_groups=config.num_codevector_groups,
                num_codes=config.num_codevectors_per_group,
                output_size=config.codevector_size,
            )
            self.project_q = nn.Linear(config.codevector_size, config.projection_size)
            self.project_hid = nn.Linear(config.hidden_size, config.projection_size)
            self.quantizer_dropout = nn.Dropout(config.feat_quantizer_dropout)
            self.default_schedules["gumbel_temperature"] = {
                "kind": "exponential",
                "start": config.gumbel_temperature_start,
                "end": config.gumbel_temperature_end,
                "decay": config.gumbel_temperature_decay,
            }
        self.post_init()

    @property
    def encoder(self) -> EcgWav2vec2Model:
        """The part that is kept for downstream use."""
        return self.ecg_wav2vec2

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # The projections start as in torch.
        if isinstance(module, GumbelQuantizer):
            init.uniform_(module.codevectors)
        elif isinstance(module, nn.Linear) and module is self.quantizer.weight_proj:
            init.normal_(module.weight)
            init.zeros_(module.bias)
        elif module is self and self.config.contrastive_weight:
            init.uniform_(self.mask_embedding)

    # ---- hooks of the Trainer --------------------------------------------------------------------------------------

    def draw(self, generator: RowGenerator) -> dict[str, torch.Tensor]:
        """Draw lead masks, time masks, negatives and, in training, the noise of the quantizer.

        Args:
            generator: Source of the numbers, one stream per recording.

        Returns:
            Uniform and Gumbel numbers `(batch, segments, ...)`, for as many masked frames as a window may have, and
            one uniform number that all recordings share (`span_rounding`).
        """
        config, segments = self.config, self.config.num_segments
        draws = {}
        if config.lead_mask_prob:
            draws["lead"] = generator.uniform(segments, config.num_leads)
            draws["lead_apply"] = generator.uniform(segments)
        if not config.contrastive_weight:
            return draws
        frames = self.encoder.num_tokens(config.window_size)
        masked = longest_mask(frames, **self._spans)
        shared = torch.rand((), generator=generator.shared, device=generator.device)
        draws |= {
            "span_rounding": shared,
            "row_rounding": generator.uniform(segments),
            "start": generator.uniform(segments, frames),
            "keep": generator.uniform(segments, frames),
            "negative": generator.uniform(segments, masked, config.num_negatives),
        }
        if self.training:
            groups = (config.num_codevector_groups, config.num_codevectors_per_group)
            draws["gumbel"] = generator.gumbel(segments, masked, *groups)
        return draws

    @property
    def _spans(self) -> dict[str, Any]:
        config = self.config
        return {
            "probability": config.mask_time_prob,
            "length": config.mask_time_length,
            "least": config.mask_time_min_masks,
        }

    def apply_draws(self, inputs: Mapping[str, Any], draws: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn draws into the keywords `lead_mask`, `time_mask`, `gumbel_noise` and `negative_indices` of `forward`.

        Leads are masked in training only, on top of those that are absent.

        Args:
            inputs: The batch; `input_values`, `attention_mask` and `lead_mask` are used.
            draws: From `draw`.

        Raises:
            SignalError: The windows have another length than in the config.
        """
        values, keywords = inputs["input_values"], {}
        segments = 1 if values.ndim == 3 else values.shape[1]
        if "lead" in draws and self.training:
            keywords["lead_mask"] = self._random_leads(inputs.get("lead_mask"), draws, segments)
        if "start" not in draws:
            return keywords
        if values.shape[-1] != self.config.window_size:
            raise SignalError(
                f"{type(self).__name__} got windows of {values.shape[-1]} samples; expected {self.config.window_size} "
                "(window_size), for which masks are drawn."
            )
        keywords["time_mask"] = self._time_mask(inputs.get("attention_mask"), draws, segments)
        masked = int(keywords["time_mask"][0, 0].sum())
        keywords["negative_indices"] = negative_frames(draws["negative"][:, :segments, :masked])
        if "gumbel" in draws:
            keywords["gumbel_noise"] = draws["gumbel"][:, :segments, :masked]
        return keywords

    def _random_leads(
        self, lead_mask: torch.Tensor | None, draws: Mapping[str, torch.Tensor], segments: int
    ) -> torch.Tensor:
        """Lead mask of every window, bool `(batch, segments, leads)`."""
        config, lead = self.config, draws["lead"][:, :segments]
        present = torch.ones_like(lead, dtype=torch.bool)
        if lead_mask is not None:
            present &= (lead_mask if lead_mask.ndim == 3 else lead_mask[:, None]).bool()
        kept = keep_leads(present, lead, config.lead_mask_prob, min_kept=config.min_leads_kept)
        applied = draws["lead_apply"][:, :segments, None] < config.lead_mask_apply_prob
        return torch.where(applied, kept, present)

    def _time_mask(
        self, attention_mask: torch.Tensor | None, draws: Mapping[str, torch.Tensor], segments: int
    ) -> torch.Tensor:
        """Masked frames, bool `(batch, segments, frames)`, equally many in every window of the batch."""
        start, keep = (draws[name][:, :segments].flatten(0, 1) for name in ("start", "keep"))
        frames = torch.full((len(start),), start.shape[1], device=start.device)
        rounding = draws["span_rounding"]
        if attention_mask is not None:
            valid = self.encoder.token_mask(attention_mask.reshape(len(start), *attention_mask.shape[-1:]))
            frames, rounding = cast(torch.Tensor, valid).sum(dim=1), draws["row_rounding"][:, :segments].flatten()
        spans = span_counts(frames, rounding, **self._spans)
        mask = span_mask(start, frames, spans, length=self.config.mask_time_length)
        fewest = mask.sum(dim=1).amin()[None]
        if self.config.gather_batch:
            fewest = all_gather(fewest).amin()[None]
        return equal_counts(mask, keep, fewest).unflatten(0, (-1, segments))

    # ---- the objective ---------------------------------------------------------------------------------------------

    def forward(
        self,
        input_values: torch.Tensor,
        time_mask: torch.Tensor | None = None,
        gumbel_noise: torch.Tensor | None = None,
        negative_indices: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patient_ids: torch.Tensor | None = None,
        record_ids: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        return_loss: bool = True,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> EcgWav2vec2ForPreTrainingOutput | tuple:
        """Compute the terms of the loss.

        Without `time_mask` (for CMSC alone: without `lead_mask`), everything random is drawn from torch's global
        generator.

        Args:
            input_values: Adjacent windows of each recording `(batch, segments, leads, samples)`, prepared by the
                feature extractor; also single windows `(batch, leads, samples)`, for which there is no CMSC.
            time_mask: Bool `(batch, segments, frames)`, true = masked, equally many in every window.
            gumbel_noise: Noise of the quantizer in training `(batch, segments, masked, groups, codes)`.
            negative_indices: Places of the negatives among the masked frames of the window, int64 `(batch, segments,
                masked, negatives)`.
            attention_mask: `(batch, segments, samples)`, or without segments, 1 = signal.
            lead_mask: `(batch, leads)` or, after random masking, `(batch, segments, leads)`, 1 = present.
            patient_ids: int64 `(batch,)`, -1 = unknown; used where `cmsc_positives` is `"patient"`.
            record_ids: int64 `(batch,)`; windows of the same record are positives.
            record_index: Accepted and ignored.
            return_loss: Accepted so that the Trainer evaluates with a loss.
            output_hidden_states: Return the hidden states of every layer.
            output_attentions: Return the attention weights (eager attention).
            return_dict: Return a tuple if False.

        Raises:
            SignalError: Windows without partner in training with CMSC, masks of unequal size or of fewer than two
                frames, or input that the encoder refuses.
        """
        segments = self._check_segments(input_values)
        given = {"time_mask": time_mask, "gumbel_noise": gumbel_noise, "negative_indices": negative_indices}
        given = self._with_draws({**given, "lead_mask": lead_mask}, input_values, attention_mask)
        windows = input_values.reshape(-1, *input_values.shape[-2:])
        rows = {name: _of_windows(value, segments) for name, value in given.items()}
        mask = None if attention_mask is None else attention_mask.reshape(len(windows), *attention_mask.shape[-1:])

        encoder = self.ecg_wav2vec2
        features = encoder.features(windows, mask, rows["lead_mask"])
        features = scale_gradient(features, self.config.feature_grad_mult)
        tokens, normalized = encoder.feature_projection(features.transpose(1, 2))
        masked = self._masked(normalized, rows)
        if masked is not None:
            tokens = torch.where(masked.mask[:, :, None], self.mask_embedding.to(tokens.dtype), tokens)
        token_mask = encoder.token_mask(mask)
        last, states, attentions = encoder.transform(tokens, token_mask)
        pooled = encoder.pool(at_least_float32(last)[0], token_mask)
        values = {} if masked is None else self._local(masked, last)
        if "feature_penalty_loss" in self.loss_weights:
            values["feature_penalty_loss"] = at_least_float32(features)[0].square().mean()
        if "cmsc_loss" in self.loss_weights:
            sources = source_numbers(patient_ids if self.config.cmsc_positives == "patient" else None, record_ids)
            values |= self._cmsc(pooled.unflatten(0, (-1, segments)), sources)
        weights = tuple(layer for layer in attentions if layer is not None)
        result = EcgWav2vec2ForPreTrainingOutput(
            loss=self._total(values),
            **values,
            pooler_output=pooled,
            last_hidden_state=last,
            hidden_states=states,
            attentions=weights,
        )
        return self.finish_output(
            result,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=return_dict,
        )

    def _check_segments(self, input_values: torch.Tensor) -> int:
        """Number of windows of a recording; with CMSC two, or one where nothing is learned."""
        segments = 1 if input_values.ndim == 3 else input_values.shape[1]
        if self.config.cmsc_weight and (segments > 2 or (segments == 1 and self.training)):
            raise SignalError(
                f"{type(self).__name__} got input_values of shape {tuple(input_values.shape)}; CMSC compares two "
                "adjacent windows of each recording: pass (batch, 2, leads, samples), or set cmsc_weight to 0."
            )
        return segments

    def _with_draws(
        self, given: dict[str, Any], input_values: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> dict[str, Any]:
        """The keywords that are drawn; all of them from torch's global generator where the first is not given."""
        if given["time_mask" if self.config.contrastive_weight else "lead_mask"] is not None:
            return given
        draws = self.draw(RowGenerator(len(input_values), device=input_values.device))
        inputs = {"input_values": input_values, "attention_mask": attention_mask, "lead_mask": given["lead_mask"]}
        return given | self.apply_draws(inputs, draws)

    def _masked(self, normalized: torch.Tensor, rows: Mapping[str, Any]) -> _Masked | None:
        """Select the masked frames and check their number; None for CMSC alone."""
        mask = rows["time_mask"]
        if mask is None:
            return None
        mask = mask.bool()
        counts = mask.sum(dim=1).tolist()
        if mask.shape != normalized.shape[:2] or len(set(counts)) > 1 or counts[0] < 2:
            raise SignalError(
                f"time_mask has shape {tuple(mask.shape)} and from {min(counts)} to {max(counts)} masked frames per "
                f"window; expected {tuple(normalized.shape[:2])} and equally many, at least 2, in each: the others of "
                "a window are its negatives. Pass longer windows."
            )
        noise = rows["gumbel_noise"] if self.training else None
        if rows["negative_indices"] is None or (self.training and noise is None):
            raise SignalError(
                "time_mask came without negative_indices or, in training, without gumbel_noise. Pass all of them, or "
                "none to have them drawn."
            )
        features = self.quantizer_dropout(masked_frames(normalized, mask))
        return _Masked(features, mask, noise, rows["negative_indices"])

    def _local(self, masked: _Masked, last: torch.Tensor) -> dict[str, torch.Tensor]:
        """Terms and values of the local contrast."""
        quantized = self.quantizer(masked.features, self.gumbel_temperature, masked.noise)
        targets = self.project_q(quantized.vectors)
        contexts = self.project_hid(masked_frames(last, masked.mask))
        contrast = frame_contrast(contexts, targets, masked.negatives, quantized.codes, self.config.temperature)
        probabilities, usage = quantized.probabilities, quantized.usage
        if self.config.gather_batch:
            probabilities = gather_with_gradient(probabilities[None]).mean(dim=0)
            usage = all_gather(usage[None]).mean(dim=0)
        prob_perplexity = perplexity(probabilities)
        values = {
            "contrastive_loss": contrast.loss,
            "prob_perplexity": prob_perplexity.detach(),
            "code_perplexity": perplexity(usage),
            "contrastive_accuracy": contrast.accuracy,
            "projected_states": contexts,
            "projected_quantized_states": targets,
            "codes": quantized.codes,
        }
        if "diversity_loss" in self.loss_weights:
            values["diversity_loss"] = (probabilities.numel() - prob_perplexity) / probabilities.numel()
        return values

    def _total(self, values: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted sum of the terms; a callback may have given weights to terms of its own."""
        terms = [weight * values[name] for name, weight in self.loss_weights.items() if name in values]
        return torch.stack(terms).sum()

    def _cmsc(self, pooled: torch.Tensor, sources: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """Contrast of first with second windows `(batch, segments, hidden)`, over the batch of all processes."""
        if pooled.shape[1] == 1:
            logger.warning_once("single windows have no partner: cmsc_loss is 0. Pass (batch, 2, leads, samples).")
            return {"cmsc_loss": pooled.new_zeros(()), "cmsc_accuracy": pooled.new_zeros(())}
        pairs = unit_of_constant_norm(pooled)
        if self.config.gather_batch:
            pairs = gather_with_gradient(pairs)
            sources = None if sources is None else all_gather(sources)
        if len(pairs) == 1:
            logger.warning_once("there is one recording in the batch and nothing to contrast it with: cmsc_loss is 0.")
        logits = similarities(pairs[:, 0], pairs[:, 1].T) / self.config.cmsc_temperature
        positives = torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)
        if sources is not None:
            positives = positives | same_source(sources, sources)
        contrast = matrix_info_nce(logits, positives)
        return {"cmsc_loss": contrast.loss, "cmsc_accuracy": contrast.accuracy}


def _of_windows(value: torch.Tensor | None, segments: int) -> torch.Tensor | None:
    """Rows of recordings as rows of windows; what the windows of a recording share is repeated."""
    if value is None:
        return None
    return value.repeat_interleave(segments, dim=0) if value.ndim == 2 else value.flatten(0, 1)
