"""The R-peak segmenter of BeatGAN's published preparation, which decides what normal beats that preparation keeps.

A slope detector after Hamilton (Open Source ECG Analysis, Computers in Cardiology 2002) in the form of BioSPPy 0.6.1,
with its quirks: every peak of the 44 records that the publication uses is the same. For recordings in general
`beats.detect_r_peaks` is the better detector.
"""

import numpy as np

__all__ = ["segment_r_peaks"]

# s; the reach of competing candidates and of the search for the extreme, of the slope, of T waves, of the correction,
# of two extremes that count as one, and of a template before and after its peak.
_REACH, _SLOPE_REACH, _T_WAVE, _CORRECTION, _SAME_EXTREME = 0.2, 0.045, 0.36, 0.05, 0.05
_TEMPLATE = (0.2, 0.4)
_SMOOTHING = 0.08
_BUFFER = 8
_THRESHOLD = 0.475
_OVERSHOOT = 3.0


def segment_r_peaks(filtered: np.ndarray, sampling_rate: int) -> np.ndarray:
    """R peaks of a lead, as the published preparation of BeatGAN finds them.

    Args:
        filtered: One lead in mV after the band-pass from 3 to 45 Hz, float64 `(samples,)`.
        sampling_rate: Sampling rate in Hz, whole.

    Returns:
        Samples, ascending, int64 `(peaks,)`; without those whose template (0.2 s before, 0.4 s after) leaves the
        recording.
    """
    slopes = _smoothed_slopes(filtered, sampling_rate)
    beats = _Detector(filtered, slopes, sampling_rate).run()
    extremes = sorted({_extreme(filtered, beat, sampling_rate) for beat in beats} - {-1})
    reach, samples = int(_CORRECTION * sampling_rate), len(filtered)
    inside = [peak for peak in extremes if reach <= peak <= samples - reach]
    moved = sorted({peak - reach + int(filtered[peak - reach : peak + reach].argmax()) for peak in inside})
    before, after = (int(seconds * sampling_rate) for seconds in _TEMPLATE)
    return np.array([peak for peak in moved if before <= peak <= samples - after], dtype=np.int64)


def _maxima(values: np.ndarray) -> np.ndarray:
    """Places of the local maxima; a plateau has one at each end where it rises and falls."""
    return np.flatnonzero(np.diff(np.sign(np.diff(values))) < 0) + 1


def _smoothed_slopes(filtered: np.ndarray, rate: int) -> np.ndarray:
    """Absolute slope between 3 and 25 Hz, smoothed by a Hamming window of 0.08 s; one sample shorter."""
    from scipy.signal import butter, filtfilt

    band = filtered
    for edge, kind in ((25.0, "lowpass"), (3.0, "highpass")):
        band = filtfilt(*butter(4, edge, kind, fs=rate), band)
    slopes = np.abs(np.diff(band)) * rate
    size = int(_SMOOTHING * rate)
    weights = np.hamming(size)
    extended = np.pad(slopes, size, mode="edge")
    return np.convolve(weights / weights.sum(), extended, mode="same")[size:-size]


class _Detector:
    """Adaptive threshold over the maxima of the slope, from left to right.

    Args:
        filtered: The lead.
        slopes: Its smoothed slopes.
        rate: Sampling rate in Hz.
    """

    def __init__(self, filtered: np.ndarray, slopes: np.ndarray, rate: int) -> None:
        self.filtered, self.slopes, self.rate = filtered, slopes, rate
        self.slope_reach, self.t_wave = int(np.ceil(_SLOPE_REACH * rate)), int(np.ceil(_T_WAVE * rate))
        self.beats: list[int] = []
        self.heights, self.noise = _Ring(np.zeros(_BUFFER)), _Ring(np.zeros(_BUFFER))
        self.intervals = _Ring(np.full(_BUFFER, float(rate)))
        for second in range(_BUFFER):
            piece = slopes[second * rate : (second + 1) * rate]
            if (peaks := _maxima(piece)).size:
                self.heights.values[second] = piece[peaks].max()

    def run(self) -> list[int]:
        """The slope maxima that are QRS complexes."""
        self._set_threshold()
        for candidate in self._candidates().tolist():
            height = self.slopes[candidate]
            if height > self.threshold:
                if self._is_qrs(candidate):
                    self._accept(candidate)
                continue
            since = candidate - self.beats[-1] if len(self.beats) > 1 else 0
            if since >= 1.5 * np.median(self.intervals.values) and since > self.t_wave:
                if height > 0.5 * self.threshold:
                    self._accept(candidate)
            else:
                self.noise.write(height)
            self._set_threshold()
        return self.beats

    def _candidates(self) -> np.ndarray:
        """Slope maxima without a higher one closer than the reach of a QRS complex."""
        from scipy.ndimage import maximum_filter1d

        peaks = _maxima(self.slopes)
        heights = np.full(len(self.slopes), -np.inf)
        heights[peaks] = self.slopes[peaks]
        reach = int(np.ceil(_REACH * self.rate)) - 1
        return peaks[maximum_filter1d(heights, 2 * reach + 1)[peaks] <= self.slopes[peaks]]

    def _is_qrs(self, candidate: int) -> bool:
        """Neither a monotonous slope, nor a T wave, nor an artifact far above the recent complexes."""
        steps = self._steps(candidate)
        rising = int((steps > 0).sum())
        if rising in (0, len(steps)):
            return False
        if self.beats and candidate - self.beats[-1] < self.t_wave:
            if steps.max() < 0.5 * self._steps(self.beats[-1]).max():
                return False
        return bool(self.slopes[candidate] < _OVERSHOOT * np.median(self.heights.values))

    def _steps(self, place: int) -> np.ndarray:
        """Differences of the lead around a candidate."""
        stop, samples = place + self.slope_reach, len(self.filtered)
        # The published code ends the window one sample early where the recording ends.
        stop = samples - 1 if stop >= samples else stop
        return np.diff(self.filtered[max(place - self.slope_reach, 0) : stop])

    def _accept(self, candidate: int) -> None:
        if self.beats:
            self.intervals.write(candidate - self.beats[-1])
        self.beats.append(candidate)
        self.heights.write(self.slopes[candidate])
        self._set_threshold()

    def _set_threshold(self) -> None:
        noise, height = np.median(self.noise.values), np.median(self.heights.values)
        self.threshold = noise + _THRESHOLD * (height - noise)


class _Ring:
    """The last values of a sequence.

    Args:
        values: The first ones, which are replaced in order.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.place = values, 0

    def write(self, value: float) -> None:
        """Replace the oldest value."""
        self.values[self.place] = value
        self.place = (self.place + 1) % len(self.values)


def _extreme(filtered: np.ndarray, beat: int, rate: int) -> int:
    """The positive or negative extreme around a slope maximum, whichever is more alone; -1 if there is none."""
    reach = int(np.ceil(_REACH * rate))
    start = max(beat - reach, 0)
    piece = filtered[start : beat + reach]
    flat = np.flatnonzero(np.diff(piece) == 0)
    up = _leading(piece, np.concatenate([_maxima(piece), flat]), rate)
    down = _leading(-piece, np.concatenate([_maxima(-piece), flat]), rate, latest=False)
    if not up or not down:
        return start + (up or down)[0] if up or down else -1
    if len(up) == len(down) == 2:
        lonely = abs(piece[up[0]] - piece[up[1]]) > 0.85 * abs(piece[down[0]] - piece[down[1]])
    elif len(up) == len(down):
        lonely = up[0] > down[0]  # the published code compares places instead of heights
    else:
        lonely = len(up) == 1
    return start + (up[0] if lonely else down[0])


def _leading(piece: np.ndarray, places: np.ndarray, rate: int, *, latest: bool = True) -> list[int]:
    """The highest of some places, and the next one that is not the same extreme; of equal ones the latest, or first."""
    order = sorted(places.tolist(), key=lambda place: (-piece[place], -place if latest else place))
    others = [place for place in order[1:] if abs(place - order[0]) > _SAME_EXTREME * rate]
    return order[:1] + others[:1]
