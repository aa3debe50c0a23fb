"""One rule for recordings whose patient is not known: each is a patient of its own, with all its parts.

A patient id is a number from 0, `UNKNOWN_PATIENT` (-1), or `-2 - recording` for a part of a recording whose patient is
not known: all parts of that recording share the number.
"""

import numpy as np

__all__ = ["UNKNOWN_PATIENT", "count_patients", "patient_groups", "patients_of_parts", "source_ids"]

UNKNOWN_PATIENT = -1


def patients_of_parts(patient_ids: np.ndarray, parent_ids: np.ndarray) -> np.ndarray:
    """The patient ids of rows, those of parts of recordings of unknown patients replaced by their recording's number.

    Args:
        patient_ids: int64 `(rows,)`, negative = unknown.
        parent_ids: int64 `(rows,)`, record id of the recording of each part, negative = the row is no part.

    Returns:
        int64 `(rows,)`: `-2 - parent_id` for a part whose patient is not known, else the patient id.
    """
    parents = np.asarray(parent_ids, dtype=np.int64)
    return np.where((patient_ids < 0) & (parents >= 0), -2 - parents, patient_ids)


def source_ids(patient_ids: np.ndarray, record_ids: np.ndarray) -> np.ndarray:
    """One number per row that two rows share exactly if they are of the same known patient, or of one recording.

    Args:
        patient_ids: int64 `(rows,)`, as described above.
        record_ids: int64 `(rows,)`, not negative.

    Returns:
        int64 `(rows,)`: the patient; `-2 - record_id` where none is known, a number that no patient can have.
    """
    patients = np.asarray(patient_ids, dtype=np.int64)
    return np.where(patients == UNKNOWN_PATIENT, -2 - np.asarray(record_ids, dtype=np.int64), patients)


def patient_groups(patient_ids: np.ndarray) -> np.ndarray:
    """Patients numbered from 0 in ascending order of their ids, then every row of an unknown patient by itself.

    Args:
        patient_ids: int64 `(rows,)`, as described above.

    Returns:
        int64 `(rows,)`.
    """
    ids = np.asarray(patient_ids, np.int64)
    unknown = ids == UNKNOWN_PATIENT
    known, numbers = np.unique(ids[~unknown], return_inverse=True)
    groups = np.empty(len(ids), np.int64)
    groups[~unknown] = numbers
    groups[unknown] = len(known) + np.arange(unknown.sum())
    return groups


def count_patients(patient_ids: np.ndarray) -> int:
    """Number of patients; every recording of an unknown one counts as a patient."""
    return int(patient_groups(patient_ids).max(initial=-1)) + 1
