"""The beats of the MIT-BIH Arrhythmia Database, one row each, as BeatGAN takes them: MLII, 3-45 Hz, 320 samples.

Two preparations. `"published"` repeats that of BeatGAN (Zhou et al., IJCAI 2019) sample for sample, 97,568 beats, with
its flaws: windows one sample late, escape beats among the abnormal ones, and normal beats only where the publication's
own detector agrees with the annotation. `"corrected"` takes every annotated beat at its annotation, with the classes of
ANSI/AAMI EC57. Both leave out the four records with paced beats, as the publication and EC57 do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...errors import CorpusError
from ...signals.beats import nearest_places
from ...signals.filters import fir_bandpass
from ...signals.published_segmenter import segment_r_peaks
from ...signals.windows import beat_starts
from ..conversion import STORED_STEPS
from ..definition import CorpusDefinition, LabelSet, RecordSource
from ..labels import label_set, read_table
from ..layout import CorpusRecord
from .mitdb import MITDB, PACED
from .wfdb_rows import wfdb_row

if TYPE_CHECKING:
    from ...features.contract import SignalContract

__all__ = ["MITDB_BEATS", "Preparation", "beat_contract", "beats_definition", "cut_recording"]

Preparation = Literal["corrected", "published"]

# Samples of a beat before its R peak and from it on, at 360 Hz; edges (Hz) and taps of the band-pass.
BEFORE, AFTER = 140, 180
BAND, TAPS = (3.0, 45.0), 109
# The steps that a stored beat has behind it.
BEAT_STEPS = (*STORED_STEPS, "window")
# The published arrays count samples from one and are read as if from zero.
_PUBLISHED_SHIFT = 1
# A normal beat of the published preparation has a detected R peak closer than this (samples).
_PUBLISHED_TOLERANCE = 10
# Published by its authors; counted by us.
_NUM_BEATS = {"published": 97568, "corrected": 100687}


@cache
def beat_contract() -> "SignalContract":
    """The preprocessing of the stored beats, with the scaling of BeatGAN, which is left to the feature extractor."""
    # Imported on use: the help of a command needs the names of the corpora, but neither torch nor SciPy.
    from ...features.contract import SignalContract

    return SignalContract(
        lead_names=("MLII",),
        sampling_rate=360,
        window_size=BEFORE + AFTER,
        window_mode="beats",
        samples_before=BEFORE,
        samples_after=AFTER,
        bandpass=BAND,
        fir_taps=TAPS,
        normalization="minmax_lead",
        return_attention_mask=False,
    )


def _stored_after() -> dict[str, object]:
    return {"steps": list(BEAT_STEPS), "hash": beat_contract().hash(BEAT_STEPS)}


def beats_definition(preparation: Preparation = "corrected") -> CorpusDefinition:
    """The corpus of beats.

    Args:
        preparation: `"corrected"` (default) or `"published"`.

    Raises:
        CorpusError: The preparation is unknown.
    """
    if preparation not in _NUM_BEATS:
        raise CorpusError(f"preparation is {preparation!r}; expected 'corrected' or 'published'.")
    return replace(
        MITDB,
        name="mitdb_beats",
        title=f"MIT-BIH Arrhythmia Database, beats ({preparation} preparation)",
        version=f"{MITDB.version}, {preparation}",
        find=_find,
        read=partial(_read, preparation=preparation),
        label_sets=partial(_label_sets, preparation=preparation),
        expected={"records": _NUM_BEATS[preparation], "patients": 43},
        storage="float32",
        stored_after=_stored_after,
    )


def _find(source: Path, sampling_rate: float | None) -> tuple[Path, Sequence[RecordSource]]:
    root, records = MITDB.find(source, sampling_rate)
    return root, [record for record in records if record.record_id not in PACED]


def _read(root: Path, record: RecordSource, *, preparation: Preparation) -> list[CorpusRecord]:
    """The beats of a record of the database."""
    return cut_recording(wfdb_row(root, record), preparation)


def cut_recording(row: CorpusRecord, preparation: Preparation = "corrected") -> list[CorpusRecord]:
    """The beats of a recording, in time order, filtered and in millivolts.

    Args:
        row: The recording, with lead MLII at 360 Hz and its annotations.
        preparation: `"corrected"` (default) or `"published"`.

    Raises:
        CorpusError: There are no annotations, or there is no lead MLII.
    """
    if row.annotations is None:
        raise CorpusError(f"record {row.name} has no annotations ({row.name}.atr); expected those of its beats.")
    if "MLII" not in row.leads:
        raise CorpusError(f"it has the leads {', '.join(row.leads)}; expected MLII.")
    lead = row.leads.index("MLII")
    # Float64: the detector of the published preparation compares neighboring samples.
    millivolts = (row.signal[lead].astype(np.float64) - row.baseline[lead]) / row.gain[lead]
    filtered = fir_bandpass(millivolts, row.sampling_rate, *BAND, taps=TAPS)
    symbols = np.array(row.annotations.symbols)
    chosen = np.isin(symbols, [row["code"] for row in read_table("mitbih_beats") if row["aami"]])
    places, symbols = row.annotations.samples[chosen], symbols[chosen]
    if preparation == "published":
        places = places + _PUBLISHED_SHIFT
        kept = _near_detected(places, segment_r_peaks(filtered, int(row.sampling_rate))) | ~np.isin(
            symbols, list("NLR")
        )
        # The published code asks for one more sample after the beat than it takes.
        kept &= places + AFTER < len(filtered)
        places, symbols = places[kept], symbols[kept]
    starts, inside = beat_starts(places, len(filtered), before=BEFORE, after=AFTER)
    whole = replace(
        row,
        signal=filtered.astype(np.float32)[np.newaxis],
        leads=("MLII",),
        gain=np.ones(1),
        baseline=np.zeros(1),
        annotations=None,
    )
    return [
        whole.part(start, start + BEFORE + AFTER, labels=(symbol,))
        for start, symbol in zip(starts.tolist(), symbols[inside].tolist(), strict=True)
    ]


def _near_detected(places: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Which annotations have a detected peak near them, bool `(places,)`."""
    if not len(peaks):
        return np.zeros(len(places), dtype=bool)
    return np.abs(peaks[nearest_places(peaks, places)] - places) < _PUBLISHED_TOLERANCE


def _label_sets(codes: Iterable[str], *, preparation: Preparation) -> dict[str, LabelSet]:
    """`"symbol"`: the annotation symbols; `"aami"`: the five beat classes, as the preparation has them."""
    rows = [row for row in read_table("mitbih_beats") if row["aami"]]
    found = set(codes)
    shown = [row for row in rows if row["code"] in found]
    published = {"e": "S", "j": "S"} if preparation == "published" else {}
    classes = {row["code"]: published.get(row["code"], row["aami"]) for row in rows}
    aami = label_set("aami")
    kind = "single_label_classification"
    return {
        "symbol": LabelSet(
            tuple(row["code"] for row in shown), tuple(row["name"] for row in shown), "mitbih", problem_type=kind
        ),
        "aami": LabelSet(
            aami.codes,
            aami.names,
            "aami",
            tuple(tuple(symbol for symbol, code in classes.items() if code == name) for name in aami.codes),
            kind,
        ),
    }


MITDB_BEATS = beats_definition()
