"""CPC pretraining: from the states up to a moment, identify the latent some steps ahead among other latents.

Source: van den Oord et al. 2018 (arXiv 1807.03748), on electrocardiograms as in Mehari & Strodthoff 2022 (arXiv
2103.12676) and their public code ecg-selfsupervised. See `docs/systems/cpc.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers.utils import ModelOutput

from ...augmentations.row_generator import RowGenerator
from ...errors import SignalError
from ...objectives.cpc import Cpc, cpc_loss, negative_records, negative_times, num_anchors
from ...objectives.gather import gather_with_gradient, world_size
from .configuration_cpc import CpcConfig
from .modeling_cpc import CpcModel, CpcPreTrainedModel

__all__ = ["CpcForPreTraining", "CpcForPreTrainingOutput"]


@dataclass
class CpcForPreTrainingOutput(ModelOutput):
    """Output of a pretraining step.

    Args:
        loss: Weighted sum of the terms.
        contrastive_loss: Cross-entropy of the latents some steps ahead, mean over the offsets.
        accuracy: Share of the predictions that are nearest to their own latent.
        last_hidden_state: Tokens `(batch, steps, hidden_size)`.
        hidden_states: As in `EcgModelOutput`, if asked for.
        attentions: None: there is no attention.
    """

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    accuracy: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class CpcForPreTraining(CpcPreTrainedModel):
    """Encoder and one projection per offset: InfoNCE of inner products, for all positions at once.

    `loss_weights` starts at 1 and may be set at any time. Predicted latents and negatives have gradients (published).

    Args:
        config: The configuration.

    Raises:
        SignalError: An offset reaches beyond the tokens of a window.
    """

    config: CpcConfig
    logged_values = ("accuracy",)

    def __init__(self, config: CpcConfig):
        super().__init__(config)
        self.cpc = CpcModel(config)
        self.projection = nn.ModuleList(_projection(config) for _ in config.offsets)
        self.loss_weights = {"contrastive_loss": 1.0}
        for offset in config.offsets:
            num_anchors(self.cpc.num_tokens(config.window_size), offset)
        self.post_init()

    @property
    def encoder(self) -> CpcModel:
        """The part that is kept for downstream use."""
        return self.cpc

    def draw(self, generator: RowGenerator) -> dict[str, torch.Tensor]:
        """Draw the negatives of every position and offset.

        Args:
            generator: Source of the numbers, one stream per record.

        Returns:
            Uniform numbers `(batch, offsets, positions, negatives)`, of the smallest offset's positions: `time`, and
            `record` where negatives are from the whole batch.
        """
        config = self.config
        positions = self.cpc.num_tokens(config.window_size) - min(config.offsets)
        shape = (len(config.offsets), positions, config.num_negatives)
        draws = {"time": generator.uniform(*shape)}
        if config.negatives == "batch":
            draws["record"] = generator.uniform(*shape)
        return draws

    def apply_draws(self, inputs: Mapping[str, Any], draws: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Turn draws into the keywords `negative_times` and `negative_records` of `forward`.

        Args:
            inputs: The batch; the number of its rows is used.
            draws: From `draw`.
        """
        tokens = self.cpc.num_tokens(self.config.window_size)
        times = torch.zeros_like(draws["time"], dtype=torch.long)
        for number, offset in enumerate(self.config.offsets):
            used = tokens - offset
            times[:, number, :used] = negative_times(draws["time"][:, number, :used], offset)
        keywords = {"negative_times": times}
        if "record" in draws:
            # The last batch of an evaluation is smaller than what was drawn for.
            rows = len(inputs["input_values"]) * world_size()
            keywords["negative_records"] = negative_records(draws["record"], rows)
        return keywords

    def forward(
        self,
        input_values: torch.Tensor,
        negative_times: torch.Tensor | None = None,
        negative_records: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patient_ids: torch.Tensor | None = None,
        record_ids: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        return_loss: bool = True,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> CpcForPreTrainingOutput | tuple:
        """Compute the loss.

        Args:
            input_values: Windows `(batch, leads, samples)`, prepared by the feature extractor.
            negative_times: Token of each negative, int64 `(batch, offsets, positions, negatives)`; a larger offset uses
                the first positions only. Default: drawn from torch's global generator.
            negative_records: Row of each negative in the combined batch of all processes, of the same shape. Default:
                the own record, or drawn likewise where `config.negatives` is `"batch"`.
            attention_mask: `(batch, samples)`, 1 = signal; one that hides samples is an error.
            lead_mask: `(batch, leads)`, 1 = present.
            patient_ids: Accepted and ignored: records are not distinguished.
            record_ids: Accepted and ignored.
            record_index: Accepted and ignored.
            return_loss: Accepted so that the Trainer evaluates with a loss.
            output_hidden_states: Return the latents and the states of every recurrent layer.
            output_attentions: Accepted and ignored: there is no attention.
            return_dict: Return a tuple if False.

        Raises:
            SignalError: The windows have another length than in the config.
        """
        if input_values.shape[-1] != self.config.window_size:
            raise SignalError(
                f"{type(self).__name__} got windows of {input_values.shape[-1]} samples; expected "
                f"{self.config.window_size} (window_size), for which negatives are drawn."
            )
        if negative_times is None:
            draws = self.draw(RowGenerator(len(input_values), device=input_values.device))
            keywords = self.apply_draws({"input_values": input_values}, draws)
            negative_times = keywords["negative_times"]
            negative_records = keywords.get("negative_records", negative_records)
        encoded = self.cpc(
            input_values,
            attention_mask=attention_mask,
            lead_mask=lead_mask,
            output_hidden_states=True,
            return_dict=True,
        )
        contrast = self._contrast(encoded.hidden_states[0], encoded.last_hidden_state, negative_times, negative_records)
        result = CpcForPreTrainingOutput(
            loss=self.loss_weights["contrastive_loss"] * contrast.loss,
            contrastive_loss=contrast.loss,
            accuracy=contrast.accuracy,
            last_hidden_state=encoded.last_hidden_state,
            hidden_states=encoded.hidden_states,
        )
        return self.finish_output(result, output_hidden_states=output_hidden_states, return_dict=return_dict)

    def _contrast(
        self, latents: torch.Tensor, context: torch.Tensor, times: torch.Tensor, records: torch.Tensor | None
    ) -> Cpc:
        """Mean over the offsets of the loss and the accuracy."""
        columns = None if records is None else gather_with_gradient(latents)
        contrasts = []
        for number, (offset, projection) in enumerate(zip(self.config.offsets, self.projection, strict=True)):
            used = latents.shape[1] - offset
            contrasts.append(
                cpc_loss(
                    projection(context),
                    latents,
                    offset,
                    times[:, number, :used],
                    None if records is None else records[:, number, :used],
                    columns=columns,
                    reduction=self.config.loss_reduction,
                )
            )
        return Cpc(*(cast(torch.Tensor, sum(values)) / len(contrasts) for values in zip(*contrasts, strict=True)))


def _projection(config: CpcConfig) -> nn.Module:
    latent_size = config.encoder_sizes[-1]
    if config.projection == "linear":
        return nn.Linear(config.hidden_size, latent_size, bias=False)
    hidden = nn.Linear(config.hidden_size, config.hidden_size)
    return nn.Sequential(hidden, nn.ReLU(), nn.Linear(config.hidden_size, latent_size))
