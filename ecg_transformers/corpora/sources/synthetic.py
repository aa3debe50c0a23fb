"""A synthetic corpus: twelve leads, several rhythms with known labels and R peaks, patients with one to three records.

For demonstrations and tests: it needs no download. Models trained on it are not valid for patients.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ...errors import CorpusError
from ...signals.leads import STANDARD_LEADS
from ...signals.synthesis import RHYTHMS, synthesize_record
from ..definition import CorpusDefinition, LabelSet, RecordSource
from ..labels import scp_label_sets
from ..layout import CorpusRecord

__all__ = ["synthetic_definition"]

# Units per mV, as PTB-XL stores its records.
_GAIN = 1000.0
_FOLDS = 10
# Patients are numbered from the seed times this, so that two seeds share none.
_PATIENTS = 1_000_000
# Shares of patients with one, two and three records.
_RECORDS_PER_PATIENT = (0.8, 0.15, 0.05)


def synthetic_definition(
    records: int, *, seed: int = 0, sampling_rate: float = 100, duration: float = 10.0
) -> CorpusDefinition:
    """A synthetic corpus.

    Args:
        records: number of records, at least 10.
        seed: seed of patients and recordings.
        sampling_rate: rate in Hz.
        duration: length of each record in seconds.

    Raises:
        CorpusError: the number of records is too small.
    """
    if records < _FOLDS:
        raise CorpusError(f"records is {records}; expected at least {_FOLDS}, one per fold. Set --records.")
    return CorpusDefinition(
        name="synthetic",
        title="synthetic twelve-lead recordings of several rhythms",
        version="1",
        license="none needed: no patient's recording",
        homepage="",
        citation="",
        label_system="scp",
        find=partial(_find, records=records, seed=seed, rate=sampling_rate, duration=duration),
        read=_read,
        label_sets=_label_sets,
        native_rates=(sampling_rate,),
    )


def _find(
    source: Path, sampling_rate: float | None, *, records: int, seed: int, rate: float, duration: float
) -> tuple[Path, Sequence[RecordSource]]:
    """The plan of the corpus. A patient keeps anatomy and rhythm; all records of a patient are in one fold."""
    generator = np.random.default_rng([seed, 0])
    found: list[RecordSource] = []
    patient = 0
    while len(found) < records:
        rhythm = RHYTHMS[patient % len(RHYTHMS)]
        fold = 1 + (patient // len(RHYTHMS)) % _FOLDS
        for _ in range(1 + int(generator.choice(len(_RECORDS_PER_PATIENT), p=_RECORDS_PER_PATIENT))):
            if len(found) == records:
                break
            number = len(found)
            found.append(
                RecordSource(
                    f"synthetic/{number:06d}",
                    f"{number:06d}",
                    number,
                    seed * _PATIENTS + patient,
                    fold=fold,
                    labels=(rhythm,),
                    size=int(24 * rate * duration),
                    extra=(("seed", int(generator.integers(2**31))), ("rate", rate), ("duration", duration)),
                )
            )
        patient += 1
    return source, found


def _read(root: Path, record: RecordSource) -> CorpusRecord:
    """Synthesizes one record, stored as by a recorder: 16 bits, 1 uV per unit."""
    facts = dict(record.extra)
    made = synthesize_record(
        record.labels[0],
        duration=facts["duration"],
        sampling_rate=facts["rate"],
        seed=facts["seed"],
        patient=record.patient_id,
    )
    signal = np.clip(np.rint(made.signal * _GAIN), -32767, 32767).astype(np.int16)
    leads = len(STANDARD_LEADS)
    return CorpusRecord(
        signal,
        made.sampling_rate,
        STANDARD_LEADS,
        np.full(leads, _GAIN),
        np.zeros(leads),
        record.record_id,
        record.name,
        record.patient_id,
        made.age,
        made.sex,
        record.fold,
        tuple(made.labels),
        None,
        list(made.notes),
        made.annotations,
        record.path,
    )


def _label_sets(codes: Iterable[str]) -> dict[str, LabelSet]:
    """The codes that occur, in sorted order, with their names in PTB-XL."""
    names = dict(zip(scp_label_sets()["all"].codes, scp_label_sets()["all"].names, strict=True))
    codes = tuple(sorted(codes))
    return {"all": LabelSet(codes, tuple(names.get(code, code) for code in codes), "scp")}
