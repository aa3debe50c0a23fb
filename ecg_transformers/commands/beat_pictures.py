"""Pictures of scored beats: a rhythm strip, its most abnormal beat, and the false alarm with the highest score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..files import replace_file
from ..signals.record import EcgRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BeatPictures", "ScoredRecording"]

# The recording of the strip (s), with ventricular beats from its first second on.
STRIP_RECORD, STRIP_SECONDS = "200", 10.0
# The threshold of the strip: a quantile of the patient's own normal beats at the start of the recording.
QUANTILE, CALIBRATION_SECONDS = 0.99, 300.0
DOTS_PER_INCH = 90


@dataclass(frozen=True, eq=False)
class ScoredRecording:
    """A recording as the pipeline scored it.

    Args:
        record: The recording.
        rows: Rows of the pipeline, one per scored beat.
        classes: Annotated class of each row as a number, 0 = normal, -1 = no annotation `(beats,)`.
    """

    record: EcgRecord
    rows: Sequence[Mapping[str, Any]]
    classes: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """Scores `(beats,)`."""
        return np.array([row["score"] for row in self.rows])


class BeatPictures:
    """Keeps what is drawn while recordings are scored one after the other.

    Args:
        folder: Folder of the pictures.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._strip: ScoredRecording | None = None
        self._false_alarm: tuple[ScoredRecording, int] | None = None

    def add(self, found: ScoredRecording) -> None:
        """Keep the recording if it is that of the strip or has the highest score of a normal beat so far."""
        if found.record.name == STRIP_RECORD:
            self._strip = found
        scores = np.where(found.classes == 0, found.scores, -np.inf)
        if len(scores):
            number = int(scores.argmax())
            known = -np.inf if self._false_alarm is None else self._false_alarm[0].scores[self._false_alarm[1]]
            if scores[number] > known:
                self._false_alarm = found, number

    def draw(self, find: Any) -> list[Path]:
        """Draw `record_200.png`, `abnormal_beat.png` and `false_alarm.png`, as far as there is something to show.

        Args:
            find: The pipeline `ecg-anomaly-detection` that scored the recordings.

        Returns:
            The files that were written.
        """
        figures: dict[str, Figure] = {}
        if self._strip is not None:
            figures |= self._draw_strip(self._strip, find)
        if self._false_alarm is not None:
            found, number = self._false_alarm
            figures["false_alarm"] = _draw_heat(found, number, find, "annotated as normal")
        return [self._save(name, figure) for name, figure in figures.items()]

    def _draw_strip(self, found: ScoredRecording, find: Any) -> dict[str, "Figure"]:
        from ..viz import plot_beats

        peaks = np.array([row["peak"] for row in found.rows])
        normal = found.scores[(peaks < CALIBRATION_SECONDS) & (found.classes == 0)]
        shown = np.flatnonzero(peaks < STRIP_SECONDS)
        if not len(normal) or not len(shown):
            return {}
        threshold = float(np.quantile(normal, QUANTILE))
        rows = [{**row, "threshold": threshold, "anomalous": row["score"] >= threshold} for row in found.rows]
        lead = find.feature_extractor.lead_names[0]
        title = f"{found.record.name}, threshold {threshold:.2g}"
        strip = plot_beats(found.record, rows, seconds=STRIP_SECONDS, leads=[lead], title=title)
        worst = int(shown[found.scores[shown].argmax()])
        return {"record_200": strip, "abnormal_beat": _draw_heat(found, worst, find)}

    def _save(self, name: str, figure: "Figure") -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.png"
        with replace_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        return path


def _draw_heat(found: ScoredRecording, number: int, find: Any, remark: str = "") -> "Figure":
    """One beat as the network takes it, its reconstruction and error."""
    from ..viz import plot_heat

    extractor, record, row = find.feature_extractor, found.record, found.rows[number]
    peaks = np.array([round(one["peak"] * record.sampling_rate) for one in found.rows])
    beats = extractor(record, peaks=peaks, return_tensors="pt")["input_values"]
    # Rows are of beats that are completely inside the recording, as are those of the extractor.
    beat = beats[number : number + 1]
    with torch.inference_mode():
        output = find.model(input_values=beat.to(find.model.device))
    time = f"{int(row['peak'] // 60)}:{row['peak'] % 60:04.1f}"
    title = ", ".join(filter(None, (f"record {record.name}, {time}", f"score {output.score.item():.3g}", remark)))
    values = (beat[0, 0], output.reconstruction[0, 0], output.error[0, 0])
    return plot_heat(
        *(value.float().cpu().numpy() for value in values),
        sampling_rate=extractor.sampling_rate,
        samples_before=extractor.samples_before or 0,
        lead_name=extractor.lead_names[0] + (" minus median beat" if extractor.reference != "none" else ""),
        title=title,
    )
