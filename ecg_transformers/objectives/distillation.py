"""Distillation of an autoencoder from a finished one: what the student may be asked to have in common with the teacher.

Attention transfer: Zagoruyko & Komodakis 2017 (equation 2), as in FRSKD (Ji et al. 2021). Soft targets: Hinton et al.
2015. Their use on scores of beats is ours; SI-BeatGAN's public code has a constant in its place, see
`published_distillation`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn import functional

from .adversarial import mean_squared_error
from .precision import at_least_float32

__all__ = ["attention_distillation", "published_distillation", "relative_error", "score_distillation"]


def relative_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference divided by the teacher's variance over the batch: 1 for a student that gives its mean.

    Args:
        student: `(batch, ...)`.
        teacher: Of the same shape, without gradient; at least two rows that differ.
    """
    (reference,) = at_least_float32(teacher)
    return mean_squared_error(student, teacher) / reference.var(dim=0, correction=0).mean()


def attention_distillation(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
    """Attention transfer: distance of the energies over time of corresponding layers, summed over the layers.

    The energy of a time step is the mean square over its channels; that of a layer is scaled to unit length over time.

    Args:
        student: Hidden states `(batch, steps, channels)`, one per layer.
        teacher: The same, of any number of channels.
    """
    pairs = zip(student, teacher, strict=True)
    return torch.stack([mean_squared_error(_attention(ours), _attention(theirs)) for ours, theirs in pairs]).sum()


def _attention(states: torch.Tensor) -> torch.Tensor:
    (states,) = at_least_float32(states)
    return functional.normalize(states.square().mean(dim=2), dim=1)


def score_distillation(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float, over: Literal["beats", "samples"] = "beats"
) -> torch.Tensor:
    """Kullback-Leibler divergence of the student's distribution of errors from the teacher's.

    Errors are standardized by the teacher's mean and population deviation, divided by the temperature T, and turned
    into probabilities; the divergence is multiplied by T squared.

    Args:
        student: Squared errors `(batch, leads, samples)`.
        teacher: Of the same shape, without gradient.
        temperature: T.
        over: `"beats"`: the distribution of the scores over the beats of the batch. `"samples"`: that of the errors
            over the samples of a beat, mean over the beats.
    """
    ours, theirs = (errors.flatten(1) for errors in at_least_float32(student, teacher))
    if over == "beats":
        ours, theirs = (errors.mean(dim=1)[None] for errors in (ours, theirs))
    center, spread = theirs.mean(dim=1, keepdim=True), theirs.std(dim=1, correction=0, keepdim=True)
    log_ours, log_theirs = (
        functional.log_softmax((errors - center) / spread / temperature, dim=1) for errors in (ours, theirs)
    )
    divergence = functional.kl_div(log_ours, log_theirs, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def published_distillation(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Compute what the public code of SI-BeatGAN adds to the loss: a constant, which trains nothing.

    It scales both vectors of scores to [0, 1] and takes the divergence of their distributions outside of autograd.

    Args:
        student: Scores `(beats,)`.
        teacher: Scores `(beats,)`.
        temperature: T, published: 4.
    """
    scores = at_least_float32(student.detach(), teacher.detach())
    ours, theirs = ((score - score.min()) / (score.max() - score.min()) / temperature for score in scores)
    target = functional.softmax(theirs, dim=0)
    return functional.kl_div(functional.log_softmax(ours, dim=0), target, reduction="sum") * temperature**2
