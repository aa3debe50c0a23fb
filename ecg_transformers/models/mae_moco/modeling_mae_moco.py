"""MAE-MoCo: the one-dimensional vision transformer that is kept after pretraining, and its classifier.

Source: "MAE-MoCo / MAE-NextClip" (OpenReview iTjqAWYw2K), hyper-parameter table; block, initialization, masking as in
masked autoencoders (He et al. 2021), in one dimension.
"""

import math

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import logging

from ...errors import SignalError
from ...features.steps import patchify
from ...layers.patches import ConvolutionPatchEmbedding, LinearPatchEmbedding
from ...layers.positions import interpolate_positions, sincos_positions
from ...layers.transformer import TransformerStack
from ...modeling import EcgForSequenceClassification, EcgModelOutput, EcgPreTrainedModel
from .configuration_mae_moco import MaeMocoConfig

__all__ = ["MaeMocoForSequenceClassification", "MaeMocoModel", "MaeMocoPreTrainedModel"]


logger = logging.get_logger(__name__)


class MaeMocoEmbeddings(nn.Module):
    """Patches to tokens: patch embedding, learnable positions, [CLS]."""

    def __init__(self, config: MaeMocoConfig):
        super().__init__()
        self.config = config
        embedding = LinearPatchEmbedding if config.patch_embedding == "linear" else ConvolutionPatchEmbedding
        self.patch_embeddings = embedding(config.num_leads, config.patch_size, config.hidden_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + config.num_patches, config.hidden_size))

    def forward(self, patches: torch.Tensor, ids: torch.Tensor | None = None) -> torch.Tensor:
        """Embed patches at their places.

        Args:
            patches: `(batch, patches, patch_size * leads)`.
            ids: Place of each patch in the record `(batch, patches)`; all places in order if not given.
        """
        positions = self.position_embeddings[:, 1:]
        if ids is not None:
            positions = positions[0][ids]
        tokens = self.patch_embeddings(patches)
        return tokens + positions.to(tokens.dtype)

    def prepend_cls(self, tokens: torch.Tensor) -> torch.Tensor:
        """Put [CLS], with its position, before `(batch, patches, hidden)`."""
        cls = (self.cls_token + self.position_embeddings[:, :1]).to(tokens.dtype)
        return torch.cat([cls.expand(tokens.shape[0], -1, -1), tokens], dim=1)


class MaeMocoPreTrainedModel(EcgPreTrainedModel):
    """Base of the MAE-MoCo family: initialization and loading with another window."""

    config_class = MaeMocoConfig
    base_model_prefix = "mae_moco"
    has_cls_token = True
    _supports_sdpa = True
    _no_split_modules = ["TransformerLayer"]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, interpolate_positions: bool = False, **kwargs):
        """Load a checkpoint; optionally for windows of another length.

        Args:
            pretrained_model_name_or_path: Folder or Hub name.
            *args: As in Transformers.
            interpolate_positions: With `window_size=...`: stretch the position tables to the new number of patches.
                Without it, another window is an error, since positions would be meaningless.
            **kwargs: As in Transformers; fields of the config can be overridden.
        """
        if not interpolate_positions:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        window_size = kwargs.pop("window_size", None)
        config = kwargs.pop("config", None)
        if window_size is None:
            window_size = getattr(config, "window_size", None)
        if window_size is None:
            raise SignalError("interpolate_positions=True needs the new length: pass window_size=... in samples.")
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).resize_window(window_size)
        return loaded

    @torch.no_grad()
    def resize_window(self, window_size: int) -> None:
        """Make the model take windows of `window_size` samples by stretching its position tables in time."""
        # Validates that the new window is a whole number of patches before anything is touched.
        config = type(self.config)(**{**self.config.to_dict(), "window_size": window_size})
        for module in self.modules():
            table = getattr(module, "position_embeddings", None)
            if isinstance(table, nn.Parameter):
                has_cls = table.shape[1] == self.config.num_patches + 1
                resized = interpolate_positions(table, config.num_patches, cls_token=has_cls)
                module.position_embeddings = nn.Parameter(resized, requires_grad=table.requires_grad)
        self.config.window_size = window_size

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, nn.Conv1d):
            # Xavier on the (outputs, leads * patch_size) view, as the public MAE code has it.
            bound = math.sqrt(6 / (module.weight[0].numel() + module.out_channels))
            init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, MaeMocoEmbeddings):
            init.normal_(module.cls_token, std=std)
            self._init_positions(module.position_embeddings, cls_token=True)

    def _init_positions(self, table: nn.Parameter, cls_token: bool) -> None:
        if self.config.position_initialization == "normal":
            init.normal_(table, std=self.config.initializer_range)
        else:
            rows = table.shape[1] - int(cls_token)
            init.copy_(table, sincos_positions(rows, table.shape[2], cls_token=cls_token)[None])


class MaeMocoModel(MaeMocoPreTrainedModel):
    """The encoder of MAE-MoCo: patch tokens and [CLS] through pre-norm transformer blocks.

    `pooler_output` is [CLS] after the final norm, the record embedding that the contrastive loss trains.
    """

    def __init__(self, config: MaeMocoConfig):
        super().__init__(config)
        self.embeddings = MaeMocoEmbeddings(config)
        self.encoder = TransformerStack(
            config,
            num_layers=config.num_hidden_layers,
            hidden_size=config.hidden_size,
            num_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
        )
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the patch embedding."""
        return self.embeddings.patch_embeddings

    def patch_weight(self, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Turn `(batch, samples)` into booleans `(batch, patches)`: does a patch hold a valid sample."""
        if attention_mask is None:
            return None
        return attention_mask.unflatten(1, (-1, self.config.patch_size)).amax(dim=2).bool()

    def token_mask(self, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Booleans `(batch, 1 + patches)`: which tokens may be attended to; [CLS] always."""
        patches = self.patch_weight(attention_mask)
        return None if patches is None else nn.functional.pad(patches, (1, 0), value=True)

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """[CLS]: `(batch, 1 + patches, hidden)` to `(batch, hidden)`."""
        return tokens[:, 0]

    def layer_groups(self) -> list[tuple[str, ...]]:
        """Names of the parts that share a learning rate, from the input on: the embedding, then block after block."""
        return [("embeddings",), *((f"encoder.layer.{number}",) for number in range(self.config.num_hidden_layers))]

    def to_patches(self, input_values: torch.Tensor, lead_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Check and cut `(batch, leads, samples)` into `(batch, patches, patch_size * leads)`; absent leads are 0."""
        self.check_input(input_values)
        if lead_mask is not None:
            input_values = input_values * lead_mask[:, :, None].to(input_values.dtype)
        return patchify(input_values.to(self.layernorm.weight.dtype), self.config.patch_size)

    def forward(
        self,
        input_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patches: torch.Tensor | None = None,
        record_index: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> EcgModelOutput | tuple:
        """Encode records: the full, unmasked pass.

        Args:
            input_values: `(batch, leads, samples)`, prepared by the feature extractor.
            attention_mask: `(batch, samples)`, 1 = signal; patches without a valid sample are no attention keys.
            lead_mask: `(batch, leads)`, 1 = present; an absent lead is set to 0.
            patches: `(batch, patches, patch_size * leads)` instead of `input_values`; gives the same result.
            record_index: Accepted and ignored, so that an extractor's whole output can be passed.
            output_hidden_states: Return the hidden states of every layer.
            output_attentions: Return attention weights of every layer; needs `attn_implementation="eager"`.
            return_dict: Return a tuple if False.
        """
        if (input_values is None) == (patches is None):
            raise SignalError("Pass exactly one of input_values and patches.")
        if input_values is not None:
            patches = self.to_patches(input_values, lead_mask)
        tokens = self.embeddings.prepend_cls(self.embeddings(patches))
        last, states, attentions = self.encoder(tokens, self.token_mask(attention_mask))
        last = self.layernorm(last)
        want_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        want_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        if want_attentions and None in attentions:
            logger.warning_once(
                f"attn_implementation={self.config._attn_implementation!r} gives no attention weights: attentions is "
                "empty. Call model.set_attn_implementation('eager') first."
            )
        result = EcgModelOutput(
            last_hidden_state=last,
            pooler_output=self.pool(last),
            hidden_states=states if want_states else None,
            attentions=tuple(a for a in attentions if a is not None) if want_attentions else None,
        )
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return result if use_dict else result.to_tuple()

    def encode_visible(
        self, patches: torch.Tensor, ids_keep: torch.Tensor, patch_weight: torch.Tensor | None, use_cls_token: bool
    ) -> torch.Tensor:
        """The masked pass: only visible patches are embedded and attended to.

        Args:
            patches: Visible patches `(batch, kept, patch_size * leads)`.
            ids_keep: Their places in the record `(batch, kept)`.
            patch_weight: Booleans `(batch, kept)`, False = padding; None = all valid.
            use_cls_token: Whether [CLS] attends too; it is removed from the result.

        Returns:
            Their vectors after the final norm `(batch, kept, hidden)`, in the order given.
        """
        tokens = self.embeddings(patches, ids_keep)
        mask = patch_weight
        if use_cls_token:
            tokens = self.embeddings.prepend_cls(tokens)
            mask = None if mask is None else nn.functional.pad(mask, (1, 0), value=True)
        last, _, _ = self.encoder(tokens, mask)
        return self.layernorm(last)[:, int(use_cls_token) :]


class MaeMocoForSequenceClassification(EcgForSequenceClassification, MaeMocoPreTrainedModel):
    """MAE-MoCo with one linear layer on [CLS] (or another pooling of its tokens)."""

    encoder_class = MaeMocoModel
