"""Occlusion: which leads and which times a score depends on.

A part of the prepared windows is set to zero (the mean of a normalized lead, and what an absent lead is), and the loss
of score is its effect: Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2, with leads and time in place of an image.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import SignalError
from ..inference.aggregation import Aggregate, aggregate_windows
from ..inference.outputs import probabilities
from .records import PreparedWindows, model_inputs, prepare_windows

if TYPE_CHECKING:
    from .labels import LabelPipeline

__all__ = ["Occlusion", "occlude"]


@dataclass(frozen=True)
class Occlusion:
    """Effects of hiding parts of a recording: score minus the score without the part, positive = it supports the label.

    Args:
        scores: Scores of the whole recording `(labels,)`.
        parts: Effect of one lead in one segment `(labels, leads, segments)`.
        segments: Effect of all leads in one segment `(labels, segments)`.
        leads: Effect of one lead over the whole recording `(labels, leads)`.
        edges: Limits of the segments in seconds of the recording `(segments + 1,)`.
        lead_names: Names of the leads.
        codes: Codes of the labels.
    """

    scores: np.ndarray
    parts: np.ndarray
    segments: np.ndarray
    leads: np.ndarray
    edges: np.ndarray
    lead_names: tuple[str, ...]
    codes: tuple[str, ...]


@torch.inference_mode()
def occlude(
    classify: "LabelPipeline",
    record: Any,
    *,
    seconds: float = 0.5,
    aggregate: Aggregate = "mean",
    batch_size: int = 128,
    **reading: Any,
) -> Occlusion:
    """Hide each lead, each segment of time, and each lead in each segment, and compute the scores of all labels.

    The preprocessing is not repeated: what is hidden does not change the normalization of the rest. The number of
    passes is about windows x (segments in a window + 1) x (leads + 1); crop a long recording first.

    Args:
        classify: The classification pipeline.
        record: One recording, as for the pipeline.
        seconds: Length of a segment; the recording is cut into equal segments of about this length. Default: 0.5.
        aggregate: Aggregation over the windows of the recording, as in the pipeline. Default: mean.
        batch_size: Windows per pass; it does not change the result. Default: 128.
        **reading: As in a call of the pipeline.

    Raises:
        SignalError: The length is not positive, the windows are drawn at random, or none has a signal.
    """
    if not seconds > 0:
        raise SignalError(f"seconds is {seconds}; expected the length of a segment, such as 0.5.")
    extractor, config = classify.feature_extractor, classify.model.config
    prepared = prepare_windows(record, extractor, read=type(classify).read, **reading)
    if np.isnan(prepared.starts).any():
        raise SignalError("the windows are drawn at random; expected windows with known times, as window='slide'.")
    signal = prepared.has_signal
    features = {name: values[signal] for name, values in prepared.features.items()}
    if not len(features["input_values"]):
        raise SignalError(f"{prepared.name or 'the recording'} has no window with a signal; nothing can be hidden.")
    segment_of, edges = _segments(prepared, seconds, extractor.sampling_rate)
    whole = torch.cat([_scores(classify, features, rows) for rows in torch.arange(len(segment_of)).split(batch_size)])
    num_leads, num_segments = features["input_values"].shape[1], len(edges) - 1
    # The last lead stands for all leads, the last segment for all times.
    shape = (len(whole), num_leads + 1, num_segments + 1)
    scores = whole[:, :, None, None].repeat(1, 1, *shape[1:])
    for window, lead, segment in _hidden(segment_of, shape, batch_size):
        times = (segment_of[window] == segment[:, None]) | (segment == num_segments)[:, None]
        leads = (torch.arange(num_leads) == lead[:, None]) | (lead == num_leads)[:, None]
        scores[window, :, lead, segment] = _scores(classify, features, window, leads[:, :, None] & times[:, None, :])
    joined = partial(aggregate_windows, record_index=np.zeros(len(whole), np.int64), aggregate=aggregate)
    total = joined(whole.numpy(), max_columns=config.max_columns)[0]
    effects = total[:, None, None] - joined(scores.numpy(), max_columns=config.max_columns)[0]
    return Occlusion(
        scores=total,
        parts=effects[:, :-1, :-1],
        segments=effects[:, -1, :-1],
        leads=effects[:, :-1, -1],
        edges=edges,
        lead_names=tuple(extractor.lead_names),
        codes=tuple(classify.codes),
    )


def _scores(
    classify: "LabelPipeline",
    features: dict[str, torch.Tensor],
    windows: torch.Tensor,
    hidden: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scores `(batch, labels)` of some windows, with what is hidden `(batch, leads, samples)` set to zero."""
    batch = {name: values[windows] for name, values in features.items()}
    if hidden is not None:
        batch["input_values"] = batch["input_values"].masked_fill(hidden, 0.0)
    inputs = {name: values.to(classify.model.device) for name, values in model_inputs(batch, classify.model).items()}
    return probabilities(classify.model(**inputs).logits.float(), classify.model.config.problem_type).cpu()


def _segments(prepared: PreparedWindows, seconds: float, rate: float) -> tuple[torch.Tensor, np.ndarray]:
    """The segment of each sample of the windows with signal `(windows, samples)`, -1 in padding, and the limits."""
    signal = prepared.has_signal
    values = prepared.features["input_values"]
    valid = prepared.features.get("attention_mask", torch.ones_like(values[:, 0]))[signal].bool()
    samples = torch.arange(values.shape[2], dtype=torch.float64)
    times = torch.from_numpy(prepared.starts)[signal][:, None] + samples / rate
    first = float(times.min())
    # A sample lasts until the next one.
    length = float(times[valid].max()) + 1 / rate - first
    number = max(1, round(length / seconds))
    segment = ((times - first) * (number / length) + 1e-6).long().clamp(max=number - 1)
    return segment.masked_fill(~valid, -1), first + np.arange(number + 1) * (length / number)


def _hidden(
    segment_of: torch.Tensor, shape: tuple[int, int, int], batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Window, lead and segment of all that is hidden, in batches; a segment only in the windows that it lies in."""
    touched = torch.zeros(shape[0], shape[2], dtype=torch.bool)
    inside = segment_of.clamp(min=0)
    touched.scatter_(1, inside, torch.ones_like(inside, dtype=torch.bool))
    touched[:, -1] = True
    window, segment = touched.nonzero(as_tuple=True)
    lead = torch.arange(shape[1]).repeat(len(window))
    window, segment = window.repeat_interleave(shape[1]), segment.repeat_interleave(shape[1])
    yield from zip(window.split(batch_size), lead.split(batch_size), segment.split(batch_size), strict=True)
