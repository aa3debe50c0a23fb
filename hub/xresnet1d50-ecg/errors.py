# ecg_transformers/errors.py, copied beside the checkpoint with its imports made flat.
"""The errors of the package: one small hierarchy; a message says what was found, what is expected and what to set."""

__all__ = ["CheckpointError", "CorpusError", "EcgError", "LeadError", "RecordFileError", "SignalError"]


class EcgError(ValueError):
    """Any mistake in recordings, files, corpora or checkpoints that this package reports."""


class SignalError(EcgError):
    """An array, sampling rate, unit or window that cannot be used as it is."""


class LeadError(EcgError):
    """Lead names that are missing, unknown, doubled or in contradiction to the signal."""


class RecordFileError(EcgError):
    """A recording's file that is missing, damaged, incomplete or of a form that cannot be read."""


class CorpusError(EcgError):
    """A corpus, its table, its labels or its folds that do not fit together."""


class CheckpointError(EcgError):
    """A checkpoint whose parts are missing or contradict one another or the call."""
