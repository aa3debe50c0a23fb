"""What the app computes: a checkpoint with its pipelines, and its results for a recording."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForPreTraining, pipeline

from ..augmentations.row_generator import RowGenerator
from ..errors import CheckpointError
from ..features.extractor import EcgFeatureExtractor
from ..features.preparation import present_leads
from ..inference.loading import checkpoint_errors, quiet_loading
from ..inference.outputs import embed_windows
from ..pipelines.classification import EcgClassificationPipeline
from ..pipelines.feature_extraction import EcgFeatureExtractionPipeline
from ..pipelines.occlusion import Occlusion, occlude
from ..pipelines.records import model_inputs, prepare_windows
from ..pipelines.tables import checkpoint_hash
from ..signals.record import EcgRecord
from ..trainer.protocol import Example
from .index import EmbeddingIndex

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Analysis", "Checkpoint"]

_SHOWN_SECONDS = 10.0
# Windows per pass; it does not change the result.
_BATCH_SIZE = 64


@dataclass(frozen=True)
class Analysis:
    """Results for a recording.

    Args:
        findings: Labels as the classification pipeline has them, the most probable first, each with its `threshold`;
            empty for an encoder.
        embedding: float32 `(pooled,)`.
        explanation: What the preprocessing did.
        warnings: Why scores and embedding do not hold, one sentence each; empty for a recording as the checkpoint
            expects it.
    """

    findings: list[dict[str, Any]]
    embedding: np.ndarray
    explanation: str
    warnings: tuple[str, ...] = ()


class Checkpoint:
    """A classifier, an encoder or a pretraining model, with what can be shown of it.

    Args:
        name: Folder, or name on the Hub.
        indexes: Indexes of recordings; the first one of this checkpoint in its present state is used.

    Raises:
        CheckpointError: It cannot be opened, or takes single beats.
    """

    def __init__(self, name: str, indexes: Sequence[EmbeddingIndex] = ()) -> None:
        self.name = name
        with checkpoint_errors(name), quiet_loading():
            heads = AutoConfig.from_pretrained(name).architectures or [""]
            self.extractor: EcgFeatureExtractor = AutoFeatureExtractor.from_pretrained(name)
            if self.extractor.contract.window_mode == "beats":
                raise CheckpointError(f"{name} takes single beats; expected a checkpoint for recordings.")
            self.classify: EcgClassificationPipeline | None = None
            self.pretraining: Any = None
            encoder: Any
            if heads[0].endswith("Classification"):
                make: Any = pipeline
                self.classify = make("ecg-classification", model=name)
                encoder = self.classify.model.base_model  # type: ignore[union-attr]
            elif heads[0].endswith("ForPreTraining"):
                self.pretraining = AutoModelForPreTraining.from_pretrained(name).eval()
                encoder = self.pretraining.encoder
            else:
                encoder = AutoModel.from_pretrained(name)
        self._patch_size = getattr(encoder.config, "patch_size", None)
        if self._patch_size is not None:
            # The only one that gives attention weights.
            encoder.set_attn_implementation("eager")
        self.embed = EcgFeatureExtractionPipeline(encoder, feature_extractor=self.extractor)
        self.identity = checkpoint_hash(self.embed.model, self.extractor)
        self.index = next((index for index in indexes if index.checkpoint == self.identity), None)
        self.has_outdated_index = self.index is None and any(index.model == self.title for index in indexes)

    @property
    def title(self) -> str:
        """Last part of the name."""
        return Path(self.name).name

    @cached_property
    def thresholds(self) -> dict[str, float | None]:
        """Threshold of each label: that of the config, 0.5 for a multi-label checkpoint without any."""
        if self.classify is None or self.classify.model.config.problem_type != "multi_label_classification":
            return {}
        codes, stored = self.classify.codes, self.classify.model.config.thresholds
        return dict(zip(codes, [0.5] * len(codes) if stored is None else stored, strict=True))

    @torch.inference_mode()
    def analyze(self, record: EcgRecord, **policies: Any) -> Analysis:
        """Compute the labels and the embedding of a recording.

        Args:
            record: The recording.
            **policies: Rules for unusual recordings.

        Raises:
            EcgError: The checkpoint does not take this recording.
        """
        prepared = prepare_windows(record, self.extractor, **policies)
        signal = prepared.has_signal
        features = {name: values[signal] for name, values in prepared.features.items()}
        # The encoder, which takes nearly all of the time, runs once for labels and embedding.
        passes = [
            self._run({name: values[rows] for name, values in features.items()})
            for rows in torch.arange(int(signal.sum())).split(_BATCH_SIZE)
        ]
        vectors, logits = (torch.cat(values) for values in zip(*passes, strict=True))
        found = [] if self.classify is None else self.classify.postprocess([{"logits": logits}])
        return Analysis(
            findings=[{**one, "threshold": self.thresholds.get(one["label"])} for one in found],
            embedding=self.embed.postprocess([{"embedding": vectors}]),
            explanation=self.extractor.explain(record, **policies),
            warnings=tuple(self._warnings(record, policies)),
        )

    def _warnings(self, record: EcgRecord, policies: dict[str, Any]) -> Iterator[str]:
        """What the visitor's rules let through and the checkpoint was not made for."""
        made, taken = self.extractor.contract, self.extractor.with_policies(**policies).contract
        present = dict(zip(taken.lead_names, present_leads(record, taken), strict=True))
        needed = taken.used_leads or taken.lead_names
        absent = [name for name in needed if not present[name]]
        if absent and made.missing_leads != "mask":
            yield (
                f"{len(absent)} of {len(needed)} leads are absent ({', '.join(absent)}) and were replaced by zeros: "
                "the checkpoint was not made for this; scores, thresholds and similar recordings do not hold."
            )
        if taken.implausible_amplitude == "accept" != made.implausible_amplitude:
            yield (
                "The amplitudes were taken as they are, without a check: if their unit or gain is wrong, scores, "
                "thresholds and similar recordings do not hold."
            )

    def _run(self, features: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings and logits of some windows; of an encoder no logits."""
        encoder: Any = self.embed.model
        inputs = model_inputs(features, encoder)
        if self.classify is None:
            vectors = embed_windows(encoder, inputs)
            return vectors, vectors[:, :0]
        model: Any = self.classify.model
        layers = encoder.encode(layer=model.config.layer, **inputs).layers
        vectors = layers[0].pooled if model.config.layer == -1 else embed_windows(encoder, inputs)
        return vectors, model.classify(layers)

    def part(self, record: EcgRecord, start: float) -> tuple[EcgRecord, float]:
        """The 10 s from `start` on that are explained, or as many as a window needs, and their first second.

        Args:
            record: The recording.
            start: Second.
        """
        seconds = max(_SHOWN_SECONDS, self.extractor.window_seconds)
        start = max(0.0, min(start, record.duration - seconds))
        return record.crop(start, min(record.duration, start + seconds)), start

    def occlude(self, part: EcgRecord, **policies: Any) -> Occlusion | None:
        """Effects of each lead and time of a part on the labels; None for an encoder.

        Args:
            part: A part of a recording.
            **policies: Rules for unusual recordings.
        """
        return None if self.classify is None else occlude(self.classify, part, **policies)

    @torch.inference_mode()
    def attention(self, part: EcgRecord, **policies: Any) -> "Figure | None":
        """Plot of the attention of the last layer in the first window of a part; None if the encoder has none.

        Args:
            part: A part of a recording.
            **policies: Rules for unusual recordings.
        """
        from ..viz.attention import plot_attention

        encoder: Any = self.embed.model
        patch = self._patch_size
        if patch is None:
            return None
        inputs = self._first_window(self.extractor, part, policies)
        weights = encoder(**inputs, output_attentions=True).attentions
        tokens = self.extractor.window_size // patch + int(encoder.has_cls_token)
        if not weights or weights[-1].shape[-1] != tokens:
            return None
        return plot_attention(
            part,
            weights[-1][0],
            patch_size=patch,
            sampling_rate=self.extractor.sampling_rate,
            cls_token=encoder.has_cls_token,
        )

    @torch.inference_mode()
    def reconstruction(self, part: EcgRecord, **policies: Any) -> "Figure | None":
        """Plot of hidden patches of a part, as the decoder fills them in; None without a decoder.

        Args:
            part: A part of a recording.
            **policies: Rules for unusual recordings.
        """
        from .. import viz

        model = self.pretraining
        if not hasattr(model, "figures"):
            return None
        inputs = self._first_window(self.extractor, part, policies)
        outputs = model(**{**inputs, **model.apply_draws(inputs, model.draw(RowGenerator(1, seed=0)))})
        plain = copy(self.extractor)
        plain.normalization = "none"
        signal = self._first_window(plain, part, policies)["input_values"][0]
        return model.figures(outputs, Example(part, inputs, signal, self.extractor), viz).get("reconstruction")

    @staticmethod
    def _first_window(extractor: EcgFeatureExtractor, part: EcgRecord, policies: dict[str, Any]) -> dict[str, Any]:
        inputs = extractor(part, return_tensors="pt", return_patches=False, **policies)
        return {name: values[:1] for name, values in inputs.items() if name != "record_index"}
