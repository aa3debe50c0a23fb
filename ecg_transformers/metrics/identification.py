"""Identification of patients: each probe recording is assigned to the most similar gallery recording.

Oh J, Chung H, Kwon J, Hong D, Choi E. Lead-agnostic Self-supervised Learning for Local and Global Representations of
Electrocardiogram. CHIL 2022 (arXiv:2203.06889), section 4.2: cosine of the embeddings of both recordings. The current
code of fairseq-signals compares cosines to the training classes instead, which are no embeddings.
"""

import numpy as np

from ..errors import EcgError

__all__ = ["identification_accuracy", "identified", "nearest_in_gallery"]


def nearest_in_gallery(gallery: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """The gallery recording whose embedding has the largest cosine with that of each probe.

    Args:
        gallery: Embeddings `(recordings, size)`.
        probes: Embeddings `(probes, size)`.

    Returns:
        Row of the gallery for each probe, int64 `(probes,)`; the first of equal ones.

    Raises:
        EcgError: The embeddings are of other shapes, not finite, or one is zero.

    Example:
        >>> nearest_in_gallery(np.eye(2), np.array([[0.1, 2.0], [3.0, 1.0]])).tolist()
        [1, 0]
    """
    units = []
    for name, values in (("gallery", gallery), ("probes", probes)):
        array = np.asarray(values, np.float64)
        if array.ndim != 2 or not array.size or array.shape[1] != np.shape(gallery)[-1]:
            raise EcgError(
                f"{name} has shape {array.shape}, the gallery {np.shape(gallery)}; expected (recordings, size) for "
                "both, of one size."
            )
        norms = np.linalg.norm(array, axis=1, keepdims=True)
        if not (np.isfinite(norms) & (norms > 0)).all():
            raise EcgError(f"{name} has embeddings that are zero or not finite; expected a direction for each.")
        units.append(array / norms)
    return (units[1] @ units[0].T).argmax(axis=1)


def identified(
    gallery: np.ndarray, probes: np.ndarray, gallery_patients: np.ndarray, probe_patients: np.ndarray
) -> np.ndarray:
    """Whether the patient of each probe is that of the gallery recording it is assigned to.

    The result is what `identification_accuracy`, and with it `bootstrap` and `compare`, take as scores.

    Args:
        gallery: Embeddings `(recordings, size)`.
        probes: Embeddings `(probes, size)`.
        gallery_patients: Patient of each gallery recording.
        probe_patients: Patient of each probe.

    Returns:
        float64 `(probes, 1)`, 1 = identified.

    Raises:
        EcgError: As `nearest_in_gallery`; the numbers of patients and of embeddings differ, or the patient of a probe
            is not in the gallery.
    """
    known, wanted = np.asarray(gallery_patients), np.asarray(probe_patients)
    if known.shape != (len(gallery),) or wanted.shape != (len(probes),):
        raise EcgError(
            f"there are {known.shape} and {wanted.shape} patients for {len(gallery)} and {len(probes)} embeddings; "
            "expected one each."
        )
    if absent := np.setdiff1d(wanted, known).tolist():
        raise EcgError(f"{len(absent)} patients of probes are not in the gallery, first {absent[0]}; expected all.")
    return (known[nearest_in_gallery(gallery, probes)] == wanted)[:, None].astype(np.float64)


def identification_accuracy(labels: np.ndarray, scores: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """The share of probes whose patient was identified.

    A resample draws patients whose probes are counted; the gallery stays as it is, so that a resample does not make the
    task easier by holding fewer or repeated patients.

    Args:
        labels: Ones `(probes, 1)`, the shape that metrics have.
        scores: Result of `identified`.
        weights: `(probes, resamples)`, whole numbers; see `metrics.metrics`.

    Returns:
        `(1,)`, or `(resamples, 1)` with weights.
    """
    hits = np.asarray(scores, np.float64).reshape(len(labels), 1)
    if weights is None:
        return hits.mean(axis=0)
    return (np.asarray(weights, np.float64).T @ hits) / np.asarray(weights).sum(axis=0)[:, None]
