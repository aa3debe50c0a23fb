"""The pipeline `ecg-anomaly-detection`: scores of the beats of recordings of any length."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers.utils import logging

from ..errors import CheckpointError, SignalError
from ..features.contract import POLICIES
from ..features.inputs import as_records
from ..inference.loading import load_anomaly_detector
from ..signals.beats import annotated_peaks, find_peaks, interval_ratio, lead_index
from ..signals.formats.readers import read_record
from .base import WindowPipeline
from .beat_stream import BeatBlock, BeatStream, RecordReference
from .memory import fit_batch
from .recordings import LongRecording, open_recording
from .records import READING, check_array_reading, model_inputs
from .table_files import as_table, write_parquet

__all__ = ["AnomalyLoader", "AnomalySummary", "EcgAnomalyDetectionPipeline", "summarize_beats"]

logger = logging.get_logger(__name__)

# Beats per pass; larger batches are slower per beat on a CPU (cache).
BATCH_SIZE = 64
# s; without a beat for this long a recording has a gap.
GAP_SECONDS = 3.0
_NO_SIGNAL = "no signal in this beat: every lead is constant"
_OPTIONS = ("peaks", "annotations", "detector", "threshold", "calibrate", "batch_size", "max_memory", "block_seconds")
_COLUMNS = ("record", "start", "end", "peak", "score", "anomalous", "threshold", "rr_ratio", "median_distance", "note")


class AnomalyLoader:
    """What stands for an auto class: the `ForAnomalyDetection` of the checkpoint's family."""

    @classmethod
    def from_pretrained(cls, checkpoint: str, **kwargs: Any) -> Any:
        """Load the model.

        Args:
            checkpoint: Folder or Hub name.
            **kwargs: As in Transformers.

        Raises:
            CheckpointError: The family has no anomaly detection.
        """
        return load_anomaly_detector(checkpoint, **kwargs)


class EcgAnomalyDetectionPipeline(WindowPipeline):
    """Scores of the beats of a recording: how unlike the normal beats of the training each one is.

    Call arguments, which the constructor takes too:
        peaks: R peaks as samples of the recording, instead of a detector.
        annotations: `True` takes the beats of the recording's annotations.
        detector: `"gqrs"` (default), `"sleepecg"` (fast; extra `[beats]`), or None.
        threshold: Score from which a beat is anomalous. Default: the checkpoint's.
        calibrate: `"record"` scales the threshold by the median score of the recording over that of the normal beats
            of the checkpoint: most beats of a recording are taken to be normal for its patient.
        batch_size: Beats per pass. Default: 64.
        max_memory: Bound for the memory of the process, such as `"2GB"`: `batch_size` is reduced until a pass fits.
        sampling_rate, units, leads: Of arrays, and of files without them; rules for unusual recordings as in
            `EcgFeatureExtractor.with_policies`.

    The result of a recording is a list with one row per beat: `record`, `start`, `end` and `peak` (seconds), `time`
    (datetime of the start, if the header has a date), `score` (larger = more abnormal), `anomalous`, `threshold`,
    `heat` (squared error of each sample `(samples,)`, or `(leads, samples)` for several leads), `rr_ratio` (RR interval
    before the beat over the median of its neighbors'), `median_distance` (squared distance in mV from the median beat
    of the recording over the power of that beat), `note` (why a beat could not be scored). `stream` yields the same
    rows in bounded memory, `to_table` writes them without `heat`, `summarize_beats` condenses them.

    Example:
        >>> find = pipeline("ecg-anomaly-detection", model="hub/beatgan-mitdb")  # doctest: +SKIP
        >>> find("mitdb/200")[0]  # doctest: +SKIP
        {'record': '200', 'start': 0.02, 'end': 0.91, 'peak': 0.41, 'score': 0.083, 'anomalous': True, ...}
    """

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Score the beats of one recording or several.

        Args:
            inputs: Path, EcgRecord, array `(leads, samples)` or mapping; or a list, generator or corpus of these.
            **kwargs: Call arguments, see the class.
        """
        # Transformers would take `batch_size` for the passes of its own loader.
        if "batch_size" in kwargs:
            kwargs["beats_per_pass"] = kwargs.pop("batch_size")
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if "beats_per_pass" in kwargs:
            kwargs["batch_size"] = kwargs.pop("beats_per_pass")
        known = (*_OPTIONS, *READING, *POLICIES, "preprocessed_by")
        if unknown := [name for name in kwargs if name not in known]:
            raise SignalError(f"the pipeline has no argument {', '.join(unknown)}; expected {', '.join(known)}.")
        return kwargs, {}, {}

    def preprocess(self, input_: Any, **options: Any) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Prepare the beats of a recording, a pass at a time.

        Args:
            input_: The recording.
            **options: Call arguments.
        """
        last: dict[str, Any] | None = None
        for chunk in self._passes(input_, **options):
            if last is not None:
                yield {"is_last": False, **last}
            last = chunk
        yield {"is_last": True, **(last or {"rows": [], "tensors": None})}

    def _forward(self, input_tensors: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        rows, tensors = input_tensors["rows"], input_tensors["tensors"]
        if tensors is not None:
            output = self.model(**model_inputs(tensors, self.model), return_dict=True)
            # No signal, no statement.
            signal = tensors["lead_mask"].bool().any(dim=1)
            scores = output.score.float().masked_fill(~signal.to(output.score.device), torch.nan).cpu().tolist()
            heats = output.error.float().cpu().numpy()
            for row, score, heat in zip(rows, scores, heats, strict=True):
                anomalous = None if np.isnan(score) else bool(score >= row["threshold"])
                row |= {"score": score, "anomalous": anomalous, "heat": heat[0] if len(heat) == 1 else heat}
                row |= {"note": _NO_SIGNAL} if anomalous is None else {}
        return {"is_last": input_tensors["is_last"], "rows": rows}

    def postprocess(self, model_outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:  # type: ignore[override]
        """Return the rows of all beats of a recording.

        Args:
            model_outputs: Rows of each pass, in order.
        """
        return [row for output in model_outputs for row in output["rows"]]

    def stream(self, source: Any, *, progress: bool = True, **options: Any) -> Iterator[dict[str, Any]]:
        """Score the beats of a long recording in bounded memory.

        A day of three leads at 250 Hz takes less than 1 GB, most of it the libraries.

        Args:
            source: Path or EcgRecord.
            progress: Show a progress bar. Default: yes.
            **options: Call arguments.

        Yields:
            One row per beat, as for a call.
        """
        options = {**self._preprocess_params, **self._sanitize_parameters(**options)[0]}
        with logging.tqdm(unit="beat", disable=not progress) as bar:
            for chunk in self._passes(source, **options):
                rows = self.forward({"is_last": False, **chunk})["rows"]
                bar.update(len(rows))
                yield from rows

    def to_table(
        self, source: Any, output: str | Path = "beats.parquet", *, progress: bool = True, **options: Any
    ) -> Path:
        """Write the beats of one recording or several as a Parquet table, atomically, without `heat`.

        Args:
            source: Path or EcgRecord, or a list of them.
            output: Path of the table. Default: beats.parquet.
            progress: Show a progress bar. Default: yes.
            **options: Call arguments.

        Raises:
            SignalError: There is no beat in any of the recordings.
        """
        columns: dict[str, list[Any]] = {name: [] for name in (*_COLUMNS, "time")}
        for one in source if isinstance(source, list | tuple) else [source]:
            for row in self.stream(one, progress=progress, **options):
                for name, values in columns.items():
                    values.append(row[name])
        if not columns["record"]:
            raise SignalError(
                "there is no beat in any of the recordings; a table needs one. See detector= and treat_as=."
            )
        if not any(columns["time"]):
            del columns["time"]
        write_parquet(Path(output), [as_table([columns])], {})
        return Path(output)

    def _passes(
        self,
        source: Any,
        *,
        peaks: np.ndarray | None = None,
        annotations: bool = False,
        detector: Literal["gqrs", "sleepecg"] | None = "gqrs",
        threshold: float | None = None,
        calibrate: Literal["record"] | None = None,
        batch_size: int = BATCH_SIZE,
        max_memory: str | int | None = None,
        block_seconds: float = 300.0,
        preprocessed_by: dict[str, Any] | None = None,
        **reading: Any,
    ) -> Iterator[dict[str, Any]]:
        """Beats of a recording in passes through the model: rows without their scores, and tensors."""
        extractor = self.feature_extractor.with_policies(
            **{name: reading[name] for name in POLICIES if name in reading}
        )
        batch_size = fit_batch(self, extractor, self._pass, max_memory, at_most=batch_size)
        recording, marks = _open(source, reading, annotations=annotations, num_leads=extractor.num_leads)
        if peaks is not None:
            marks = peaks
        elif marks is None:
            marks = _detect(recording, extractor, detector)
        beats = BeatStream(recording, extractor, marks, block_seconds=block_seconds, preprocessed_by=preprocessed_by)
        if not len(beats):
            seconds = recording.num_samples / recording.sampling_rate
            beat = extractor.window_size / extractor.sampling_rate
            short = f"{seconds:.2f} s are shorter than a beat of {beat:.2f} s"
            why = short if seconds < beat else "a flat lead has none"
            logger.warning(f"{recording.name or 'the recording'}: no beats were found ({why}).")
            return
        reference = beats.reference()
        cut = self._threshold(threshold)
        if calibrate is not None:
            cut *= self._level(beats, reference, calibrate)
        ratios = interval_ratio(beats.peaks)
        for block in beats.blocks(reference):
            rows = _rows(beats, block, reference, ratios, cut)
            if block.features is None:
                yield {"rows": rows, "tensors": None}
                continue
            for first in range(0, len(rows), batch_size):
                part = slice(first, first + batch_size)
                tensors = {name: values[part] for name, values in block.features.items()}
                yield {"rows": rows[part], "tensors": tensors}

    def _pass(self, tensors: dict[str, torch.Tensor]) -> None:
        with torch.inference_mode():
            self.model(**model_inputs({name: value.to(self.device) for name, value in tensors.items()}, self.model))

    def _threshold(self, threshold: float | None) -> float:
        found = self.model.config.anomaly_threshold if threshold is None else threshold
        if found is None:
            raise CheckpointError(
                "the checkpoint has no threshold (config.anomaly_threshold); expected one from which a beat is "
                "anomalous. Pass threshold=, or set it with model.calibrate(normal beats) and save the checkpoint."
            )
        return float(found)

    def _level(self, beats: BeatStream, reference: RecordReference | None, calibrate: str) -> float:
        """Median score of the recording over that of the normal beats of the checkpoint."""
        if calibrate != "record":
            raise CheckpointError(f"calibrate is {calibrate!r}; expected 'record', or nothing.")
        scores: list[float] = []
        model: Any = self.model
        for block in beats.blocks(reference, every=beats.step):
            if block.features is not None:
                rows: list[dict[str, Any]] = [{"threshold": np.inf} for _ in block.numbers]
                found = self.forward({"is_last": False, "rows": rows, "tensors": block.features})
                scores += [row["score"] for row in found["rows"]]
        return model.record_level(torch.tensor(scores, dtype=torch.float64)) if scores else 1.0


def _open(
    source: Any, reading: Mapping[str, Any], *, annotations: bool, num_leads: int
) -> tuple[LongRecording, np.ndarray | None]:
    """A recording, and the R peaks of its annotations if they are asked for."""
    # What is also a rule of the extractor is left to it: a recording that is read piece by piece takes none.
    given = {name: value for name, value in reading.items() if name not in POLICIES and value is not None}
    if isinstance(source, str | Path):
        marks = annotated_peaks(read_record(source, **given))[0] if annotations else None
        return open_recording(source, **given), marks
    check_array_reading(source, given)
    defaults = {"sampling_rate": None, "leads": None, "units": "mV"}
    [record] = as_records(source, **defaults | given, num_leads=num_leads)
    return open_recording(record), annotated_peaks(record)[0] if annotations else None


def _detect(recording: LongRecording, extractor: Any, detector: Any) -> np.ndarray:
    """R peaks in the first lead of the checkpoint."""
    if detector is None:
        raise SignalError(
            f"{recording.name or 'the recording'} has no R peaks: none were passed, and detector is None. Pass peaks=, "
            "annotations=True for those of its annotations, or detector='gqrs'."
        )
    leads, wanted = recording.piece(0, min(64, recording.num_samples)).leads, extractor.lead_names[0]
    stand_ins = [old for old, new in (extractor.treat_as or {}).items() if new == wanted]
    name = next((lead for lead in (wanted, *stand_ins) if leads and lead in leads), wanted)
    cure = f"Set treat_as={{{(leads or ('',))[0]!r}: {wanted!r}}} to take one for it."
    index = 0 if leads is None else lead_index(leads, name, recording.name, cure=cure)
    return find_peaks(
        lambda start, stop: recording.piece(start, stop).signal[index],
        recording.num_samples,
        recording.sampling_rate,
        method=detector,
    )


def _rows(
    beats: BeatStream, block: BeatBlock, reference: RecordReference | None, ratios: np.ndarray, threshold: float
) -> list[dict[str, Any]]:
    """The rows of a block, without the scores."""
    extractor, recording = beats.extractor, beats.recording
    before, after = (extractor.samples_before or 0), (extractor.samples_after or 0)
    distances = np.full(len(block.numbers), np.nan)
    if reference is not None and block.millivolts is not None:
        distances = reference.distance(block.millivolts)
    rows = []
    for number, distance in zip(block.numbers.tolist(), distances.tolist(), strict=True):
        peak = float(beats.peaks[number]) / recording.sampling_rate
        place = recording.place(peak - before / extractor.sampling_rate, peak + after / extractor.sampling_rate)
        facts = {"peak": peak, "score": float("nan"), "anomalous": None, "threshold": threshold, "heat": None}
        rows.append(
            {**place, **facts, "rr_ratio": float(ratios[number]), "median_distance": distance, "note": block.note}
        )
    return rows


@dataclass(frozen=True)
class AnomalySummary:
    """Summary of the beats of a recording; `str()` formats it.

    Args:
        record: Name of the recording.
        beats: Number of scored beats.
        unscored: Number of the others.
        anomalous_percent: Percentage of the scored beats that are anomalous.
        longest_run: Largest number of anomalous beats in a row.
        longest_run_start: Start of that run (s).
        longest_run_time: Date and time of it, if the rows have it.
        gaps: Start and end (s) of each time of more than 3 s between two scored beats.
    """

    record: str
    beats: int
    unscored: int
    anomalous_percent: float
    longest_run: int
    longest_run_start: float
    longest_run_time: datetime | None
    gaps: tuple[tuple[float, float], ...]

    def __str__(self) -> str:
        gaps = sum(end - start for start, end in self.gaps)
        moment = self.longest_run_time or f"{self.longest_run_start:.1f} s"
        return (
            f"{self.record}: {self.beats:,} beats, {self.anomalous_percent:.1f} % anomalous, at most "
            f"{self.longest_run} in a row (from {moment}); {self.unscored} beats not scored, {len(self.gaps)} gaps of "
            f"{gaps:.0f} s"
        )


def summarize_beats(rows: Iterable[Mapping[str, Any]]) -> AnomalySummary:
    """Summarize the beats of a recording.

    Args:
        rows: Rows of the pipeline, in order; they are not kept in memory.

    Raises:
        SignalError: There is no row.

    Example:
        >>> flags = [False, True, True, False, False]
        >>> day = {"record": "r", "start": 0.0}
        >>> rows = [day | {"peak": float(i), "anomalous": flag} for i, flag in enumerate(flags)]
        >>> summary = summarize_beats(rows)
        >>> summary.anomalous_percent, summary.longest_run, summary.gaps
        (40.0, 2, ())
    """
    name, beats, unscored, anomalous, run = "", 0, 0, 0, 0
    longest: tuple[int, float, datetime | None] = (0, 0.0, None)
    begun: tuple[float, datetime | None] = (0.0, None)
    gaps: list[tuple[float, float]] = []
    last: float | None = None
    for row in rows:
        name = name or str(row["record"])
        if row["anomalous"] is None:
            unscored, run = unscored + 1, 0
            continue
        if last is not None and row["peak"] - last > GAP_SECONDS:
            gaps.append((last, row["peak"]))
            run = 0
        last, beats = row["peak"], beats + 1
        if not row["anomalous"]:
            run = 0
            continue
        begun = begun if run else (row["start"], row.get("time"))
        anomalous, run = anomalous + 1, run + 1
        longest = max(longest, (run, *begun), key=lambda one: one[0])
    if not beats and not unscored:
        raise SignalError("there are no beats to summarize; expected the rows of the pipeline.")
    share = 100 * anomalous / beats if beats else float("nan")
    return AnomalySummary(name, beats, unscored, share, *longest, tuple(gaps))
