"""One rule for records whose patient is not known: each is a patient of its own."""

import numpy as np

__all__ = ["UNKNOWN_PATIENT", "count_patients", "patient_groups", "source_ids"]

UNKNOWN_PATIENT = -1


def source_ids(patient_ids: np.ndarray, record_ids: np.ndarray) -> np.ndarray:
    """One number for each record that two records share exactly if they are of the same known patient.

    Args:
        patient_ids: int64 `(records,)`, negative = unknown.
        record_ids: int64 `(records,)`, not negative.

    Returns:
        int64 `(records,)`: the patient, or `-2 - record_id` where none is known, which no patient can have.
    """
    patients = np.asarray(patient_ids, dtype=np.int64)
    return np.where(patients >= 0, patients, -2 - np.asarray(record_ids, dtype=np.int64))


def patient_groups(patient_ids: np.ndarray) -> np.ndarray:
    """Patients numbered from 0 in ascending order, then the records of unknown patients, each with its own number.

    Args:
        patient_ids: int64 `(records,)`, negative = unknown.

    Returns:
        int64 `(records,)`.
    """
    ids = np.array(patient_ids, np.int64)
    unknown = ids < 0
    ids[unknown] = ids.max(initial=0) + 1 + np.arange(unknown.sum())
    return np.unique(ids, return_inverse=True)[1]


def count_patients(patient_ids: np.ndarray) -> int:
    """Number of patients, every record of an unknown one counted as a patient."""
    return int(patient_groups(patient_ids).max(initial=-1)) + 1
