"""Rows of a batch and keys of a queue that are of the same patient or recording."""

import torch

__all__ = ["UNKNOWN_SOURCE", "same_source", "source_numbers"]

UNKNOWN_SOURCE = -1


def source_numbers(patient_ids: torch.Tensor | None, record_ids: torch.Tensor | None) -> torch.Tensor | None:
    """Source of each row: two rows have the same number if and only if they are of the same patient or record.

    Args:
        patient_ids: int64 `(batch,)`, or None. -1 = unknown; other negative numbers are shared by the parts of one
            recording of an unknown patient.
        record_ids: int64 `(batch,)`, not negative, or None.

    Returns:
        int64 `(batch,)`: the patient where it is known, else `-2 - record_id` (no patient has that number), else
        `UNKNOWN_SOURCE`; None without any ids.
    """
    if record_ids is None:
        return patient_ids
    records = -2 - record_ids
    return records if patient_ids is None else torch.where(patient_ids != UNKNOWN_SOURCE, patient_ids, records)


def same_source(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Pairs of rows from the same known source.

    Args:
        first: int64 `(rows,)`, from `source_numbers`.
        second: int64 `(columns,)`, from `source_numbers`.

    Returns:
        Booleans `(rows, columns)`.
    """
    return (first[:, None] == second[None, :]) & (second != UNKNOWN_SOURCE)[None, :]
