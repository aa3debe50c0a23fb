"""Synthetic 12-lead recordings with known rhythm and R peaks, for tests and demonstrations.

The heart is a dipole: every wave of a beat is a Gaussian in time along one direction in space (after McSharry et al.
2003, doi:10.1109/TBME.2003.808805, without their differential equation). The leads are projections of the dipole by
Dower's matrix (Dower, Machado, Osborne, Clinical Cardiology 3:87, 1980), which varies between patients; III, aVR, aVL
and aVF follow exactly from I and II, including noise. Amplitudes and intervals are textbook values, not fitted to
patients: results on these recordings do not transfer to real ones.
"""

from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from ..errors import SignalError
from .leads import STANDARD_LEADS
from .record import Annotations, EcgRecord, check_sampling_rate

__all__ = ["RHYTHMS", "synthesize_record"]

# SCP codes as in PTB-XL: sinus rhythm, bradycardia, tachycardia; atrial fibrillation, flutter; ventricular
# extrasystoles, bigeminy; left and right bundle branch block; first-degree AV block; ST elevation; left ventricular
# hypertrophy; low voltage.
RHYTHMS = ("SR", "SBRAD", "STACH", "AFIB", "AFLT", "PVC", "BIGU", "CLBBB", "CRBBB", "1AVB", "STE_", "LVH", "LVOLT")

ALIASES = {"LBBB": "CLBBB", "RBBB": "CRBBB", "STE": "STE_", "NORM": "SR"}

# Range of the mean heart rate in beats per minute.
RATES = {"SBRAD": (38, 55), "STACH": (105, 145), "AFIB": (65, 135), "AFLT": (75, 150)}
USUAL_RATES = (58, 95)

# X points to the left, Y to the feet, Z to the back. Rows: I, II, V1 ... V6.
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)

# One wave per row: center in s after the R peak (P: relative to its own position; T: at an RR interval of 1 s), width
# (standard deviation) in s, and amplitude in mV along X, Y, Z.
P_WAVE = np.array([[-0.014, 0.018, 0.04, 0.07, -0.05], [0.014, 0.020, 0.06, 0.05, 0.04]])
QRS = np.array(
    [[-0.024, 0.0075, -0.12, -0.05, -0.24], [0.0, 0.0115, 0.95, 0.80, 0.22], [0.025, 0.0105, -0.16, -0.16, 0.52]]
)
T_WAVE = np.array([[0.250, 0.050, 0.16, 0.13, -0.10], [0.292, 0.030, 0.14, 0.11, -0.09]])
LEFT_BLOCK_QRS = np.array(
    [[0.0, 0.017, 0.65, 0.30, 0.30], [0.042, 0.022, 0.55, 0.20, 0.75], [0.075, 0.016, 0.50, 0.15, 0.35]]
)
LEFT_BLOCK_T = np.array([[0.290, 0.052, -0.22, -0.08, -0.32], [0.335, 0.034, -0.16, -0.06, -0.20]])
RIGHT_BLOCK_LATE = np.array([[0.062, 0.019, -0.52, -0.06, -0.62]])
ECTOPIC_QRS = np.array(
    [[-0.028, 0.022, 0.45, 0.45, -0.30], [0.018, 0.030, 0.95, 0.85, -0.75], [0.075, 0.022, -0.30, -0.20, 0.30]]
)
ECTOPIC_T = np.array([[0.300, 0.058, -0.34, -0.30, 0.28], [0.350, 0.036, -0.24, -0.22, 0.18]])

NO_WAVE = np.empty((0, 5))


@dataclass(frozen=True)
class Beat:
    """Waves of one type of beat, `(waves, 5)` each as above, and its annotation symbol.

    Args:
        qrs: QRS complex and other waves at a fixed interval from the R peak.
        t: T wave, which comes earlier at fast rates.
        p: P wave, relative to its own position.
        symbol: MIT-BIH annotation code.
    """

    qrs: np.ndarray
    t: np.ndarray
    p: np.ndarray = field(default_factory=lambda: NO_WAVE)
    symbol: str = "N"


def synthesize_record(
    rhythm: str = "SR",
    duration: float = 10.0,
    sampling_rate: float = 500,
    heart_rate: float | None = None,
    seed: int = 0,
    noise: float = 0.02,
    patient: int | None = None,
) -> EcgRecord:
    """Create a synthetic 12-lead recording.

    Args:
        rhythm: One of `RHYTHMS` (SCP codes). Default: sinus rhythm.
        duration: Duration in seconds. Default: 10.
        sampling_rate: Sampling rate in Hz. Default: 500.
        heart_rate: Mean heart rate in beats per minute. Default: drawn from the usual range of the rhythm.
        seed: Random seed of the recording.
        noise: Standard deviation of the muscle noise in mV; baseline wander and power-line interference scale with it.
            0: no noise. Default: 0.02.
        patient: Number of the patient, with the same anatomy, age and sex in every recording. Default: a new patient
            for every seed.

    Returns:
        A record with `labels=(rhythm,)`, the R peaks as annotations, `patient_id`, `age` and `sex`.

    Raises:
        SignalError: If rhythm, duration, sampling rate, heart rate or noise is invalid.

    Example:
        >>> record = synthesize_record("AFIB", duration=10, sampling_rate=100, seed=3)
        >>> record.signal.shape, record.labels
        ((12, 1000), ('AFIB',))
    """
    code = ALIASES.get(rhythm, rhythm)
    if code not in RHYTHMS:
        near = get_close_matches(str(rhythm), RHYTHMS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SignalError(f"the rhythm is {rhythm!r}; expected one of {', '.join(RHYTHMS)}.{hint}")
    sampling_rate = check_sampling_rate(sampling_rate)
    num_samples = round(duration * sampling_rate)
    if num_samples < 1 or not 0 <= noise < np.inf or not (heart_rate is None or 15 <= heart_rate <= 300):
        raise SignalError(
            f"duration is {duration!r} s, noise {noise!r} mV, heart_rate {heart_rate!r}; expected at least one sample, "
            "noise of at least 0 and 15 to 300 beats per minute."
        )
    anatomy = np.random.default_rng([0 if patient is None else 1, seed if patient is None else patient])
    generator = np.random.default_rng([2, seed])
    age, sex = int(anatomy.integers(20, 91)), ("female", "male")[int(anatomy.integers(2))]
    beats = _beats(code, anatomy)
    projection = _projection(anatomy)

    intervals, ectopic, atrial_rate = _intervals(code, duration, heart_rate, generator)
    # The first beats precede time 0, so that the recording starts within the rhythm.
    peaks = np.cumsum(intervals) - generator.uniform(1.0, 2.0)
    dipole = _render(_waves(beats, peaks, intervals, ectopic, code, generator), sampling_rate, num_samples)
    time = np.arange(num_samples) / sampling_rate
    if atrial_rate is not None:
        dipole += _atrial_waves(code, atrial_rate, time, generator)
    eight = projection @ dipole + _disturbances(noise, time, sampling_rate, generator)

    places = np.rint(peaks * sampling_rate).astype(np.int64)
    inside = (places >= 0) & (places < num_samples)
    symbols = np.where(ectopic, beats[1].symbol, beats[0].symbol)[inside].tolist()
    return EcgRecord(
        _twelve_leads(eight),
        sampling_rate,
        STANDARD_LEADS,
        name=f"synthetic-{code.strip('_')}-{seed}",
        patient_id=seed if patient is None else patient,
        age=age,
        sex=sex,
        labels=(code,),
        annotations=Annotations(places[inside], symbols),
        notes=["synthetic"],
    )


def _beats(code: str, anatomy: np.random.Generator) -> tuple[Beat, Beat]:
    """The normal and the ectopic beat of one patient."""
    qrs, t, symbol = QRS, T_WAVE, "N"
    if code == "CLBBB":
        qrs, t, symbol = LEFT_BLOCK_QRS, LEFT_BLOCK_T, "L"
    elif code == "CRBBB":
        # Late forces to the right, discordant T wave.
        qrs, symbol = np.concatenate([QRS, RIGHT_BLOCK_LATE]), "R"
        t = T_WAVE * [1, 1, 1, 1, -0.8]
    elif code == "LVH":
        # Larger forces to the left and back, T wave inverted in the left chest leads ("strain").
        qrs, t = QRS * [1, 1.1, 1.7, 1.1, 2.0], T_WAVE * [1, 1, -0.7, 0.5, -0.9]
    elif code == "STE_":
        # Injury current to the front or the feet, from the end of the QRS complex into the T wave.
        injury = np.array([[0.0, 0.05, -0.28], [-0.04, 0.26, -0.02]][int(anatomy.integers(2))])
        plateau = np.array([[0.075, 0.030], [0.125, 0.040], [0.185, 0.045]])
        qrs = np.concatenate([QRS, np.column_stack([plateau, np.tile(injury, (3, 1))])])
        t = T_WAVE + np.concatenate([np.zeros(2), 0.9 * injury])
    p = NO_WAVE if code in ("AFIB", "AFLT") else P_WAVE
    usual = Beat(_varied(qrs, anatomy), _varied(t, anatomy), _varied(p, anatomy), symbol)
    # Ectopic beats originate anywhere in the ventricles: random rotation, discordant T wave.
    turn = _rotation(anatomy.uniform(-1.2, 1.2, size=3))
    ectopic_qrs, ectopic_t = (np.column_stack([wave[:, :2], wave[:, 2:] @ turn.T]) for wave in (ECTOPIC_QRS, ECTOPIC_T))
    ectopic = Beat(_varied(ectopic_qrs, anatomy), _varied(ectopic_t, anatomy), symbol="V")
    if code == "LVOLT":
        small = np.array([1, 1, 0.3, 0.3, 0.3])
        usual = Beat(usual.qrs * small, usual.t * small, usual.p * small)
    return usual, ectopic


def _varied(waves: np.ndarray, anatomy: np.random.Generator) -> np.ndarray:
    """Waves with the amplitudes (± 18 %), widths (± 6 %) and directions of one patient."""
    size = np.exp(anatomy.normal(0.0, 0.18, size=(len(waves), 1)))
    width = np.exp(anatomy.normal(0.0, 0.06, size=len(waves)))
    direction = np.exp(anatomy.normal(0.0, 0.12, size=(len(waves), 3)))
    return np.column_stack([waves[:, 0] * np.sqrt(width), waves[:, 1] * width, waves[:, 2:] * size * direction])


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation by these angles about X, Y and Z."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = [index for index in range(3) if index != axis]
        step = np.eye(3)
        step[first, first] = step[second, second] = np.cos(angle)
        step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    return turn


def _projection(anatomy: np.random.Generator) -> np.ndarray:
    """Dower's matrix for one patient: rotated heart, displaced electrodes, scaled body."""
    turned = DOWER @ _rotation(anatomy.normal(0.0, [0.10, 0.15, 0.22]))
    return turned * np.exp(anatomy.normal(0.0, 0.10, size=(8, 1))) * np.exp(anatomy.normal(0.0, 0.18))


def _intervals(
    code: str, duration: float, heart_rate: float | None, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """RR intervals in seconds, which beats are ectopic, and the rate of atrial waves in Hz, or None."""
    low, high = RATES.get(code, USUAL_RATES)
    mean = 60.0 / (generator.uniform(low, high) if heart_rate is None else heart_rate)
    count = int(np.ceil((duration + 4.0) / (0.4 * mean))) + 4
    ectopic = np.zeros(count, dtype=bool)
    if code == "AFIB":
        # Irregularly irregular: independent intervals, limited by the refractory period of the AV node.
        intervals = np.maximum(mean * np.exp(generator.normal(-0.03, 0.24, size=count)), min(0.30, mean))
        return intervals, ectopic, generator.uniform(5.5, 8.0)
    if code == "AFLT":
        # Every second to fifth wave is conducted, with one preferred ratio per recording.
        atrial_rate = generator.uniform(4.4, 5.4)
        usual = np.clip(round(mean * atrial_rate), 2, 5)
        ratio = np.where(
            generator.random(count) < 0.8, usual, np.clip(usual + generator.choice([-1, 1], size=count), 2, 5)
        )
        return ratio / atrial_rate, ectopic, atrial_rate
    breathing = generator.uniform(0.015, 0.05) * np.sin(
        2 * np.pi * generator.uniform(0.18, 0.30) * mean * np.arange(count) + generator.uniform(0, 2 * np.pi)
    )
    intervals = mean * (1 + breathing + generator.normal(0.0, 0.012, size=count))
    if code == "BIGU":
        ectopic[int(generator.integers(2)) :: 2] = True
    elif code == "PVC":
        ectopic = generator.random(count) < generator.uniform(0.12, 0.3)
        ectopic[1:] &= ~ectopic[:-1]
        ectopic[4 + int(generator.integers(4))] = True
        ectopic[1:] &= ~ectopic[:-1]
    # An ectopic beat comes early and is followed by a compensatory pause.
    early = generator.uniform(0.55, 0.70)
    intervals[1:][ectopic[:-1]] *= 2 - early
    intervals[ectopic] *= early
    return intervals, ectopic, None


def _waves(
    beats: tuple[Beat, Beat],
    peaks: np.ndarray,
    intervals: np.ndarray,
    ectopic: np.ndarray,
    code: str,
    generator: np.random.Generator,
) -> np.ndarray:
    """All waves of a recording `(waves, 5)`: center, width, X, Y, Z."""
    # PR interval in s; the P wave peaks about as long before the R peak.
    conduction = generator.uniform(0.23, 0.32) if code == "1AVB" else generator.uniform(0.125, 0.185)
    # QT scales with the square root of the preceding RR interval (Bazett).
    stretch = np.sqrt(np.clip(intervals, 0.35, 1.4))
    size = 1 + generator.normal(0.0, 0.03, size=len(peaks))
    parts = []
    for beat, mine in zip(beats, (~ectopic, ectopic), strict=True):
        at, early, large = peaks[mine], stretch[mine], size[mine]
        # At fast rates the P wave is also closer to the R peak.
        atrial = at - conduction * np.minimum(1.0, 0.55 + 0.45 * early)
        for waves, place, scale in ((beat.qrs, at, None), (beat.t, at, early), (beat.p, atrial, None)):
            factor = np.ones_like(at) if scale is None else scale
            rows = np.empty((len(at), len(waves), 5))
            rows[..., 0] = place[:, np.newaxis] + factor[:, np.newaxis] * waves[:, 0]
            rows[..., 1] = factor[:, np.newaxis] * waves[:, 1]
            rows[..., 2:] = large[:, np.newaxis, np.newaxis] * waves[:, 2:]
            parts.append(rows.reshape(-1, 5))
    return np.concatenate(parts)


def _render(waves: np.ndarray, sampling_rate: float, num_samples: int) -> np.ndarray:
    """The dipole `(3, samples)` in mV: the sum of all waves, each truncated at four standard deviations."""
    centers, widths = waves[:, 0] * sampling_rate, waves[:, 1] * sampling_rate
    half = int(np.ceil(4 * widths.max())) + 1
    near = (centers > -half) & (centers < num_samples + half)
    waves, centers, widths = waves[near], centers[near], widths[near]
    first = np.rint(centers).astype(np.int64) - half
    places = first[:, np.newaxis] + np.arange(2 * half + 1)
    shape = np.exp(-0.5 * np.square((places - centers[:, np.newaxis]) / widths[:, np.newaxis]))
    shape[(places < 0) | (places >= num_samples)] = 0.0
    places = np.clip(places, 0, num_samples - 1).ravel()
    return np.stack(
        [np.bincount(places, (shape * waves[:, axis, np.newaxis]).ravel(), num_samples) for axis in (2, 3, 4)]
    )


def _atrial_waves(code: str, rate: float, time: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Atrial fibrillation or flutter waves `(3, samples)`."""
    if code == "AFLT":
        # A sawtooth, negative in the inferior leads.
        phase = (rate * time + generator.random()) % 1.0
        return np.outer([0.02, -0.22, -0.05], np.where(phase < 0.7, phase / 0.7, (1 - phase) / 0.3) - 0.5)
    drift = np.cumsum(generator.normal(0.0, 1.0, size=(2, len(time))), axis=1) * np.sqrt(1.0 / max(len(time), 1))
    phase = 2 * np.pi * (rate * time + 0.8 * drift[0])
    waves = np.sin(phase) + 0.45 * np.sin(2 * phase + 1.0) + 0.25 * np.sin(3 * phase + drift[1])
    slow = 1 + 0.35 * np.sin(2 * np.pi * generator.uniform(0.2, 0.6) * time + generator.uniform(0, 2 * np.pi))
    return np.outer([0.015, 0.035, -0.05], generator.uniform(0.7, 1.5) * waves * slow)


def _disturbances(noise: float, time: np.ndarray, sampling_rate: float, generator: np.random.Generator) -> np.ndarray:
    """Baseline wander, muscle noise and power-line interference in the eight independent leads `(8, samples)`."""
    if noise == 0:
        return np.zeros((8, len(time)))
    frequency = generator.uniform([[0.04], [0.15], [0.25]], [[0.15], [0.3], [0.45]])
    drift = np.sin(2 * np.pi * frequency * time + generator.uniform(0, 2 * np.pi, size=(3, 1)))
    drift = (generator.normal(0.0, [1.6, 1.0, 0.7], size=(8, 3)) * noise) @ drift
    muscle = generator.standard_normal((8, len(time)), dtype=np.float32)
    # Adjacent samples are correlated: electrodes and amplifiers pass little above 150 Hz.
    if sampling_rate > 300:
        muscle[:, 1:] = 0.75 * muscle[:, 1:] + 0.65 * muscle[:, :-1]
    muscle *= noise * np.exp(generator.normal(0.0, 0.3, size=(8, 1))).astype(np.float32)
    powerline = np.sin(2 * np.pi * 50.0 * time + generator.uniform(0, 2 * np.pi)) * (sampling_rate > 100)
    return drift + muscle + np.outer(0.25 * noise * np.abs(generator.normal(size=8)), powerline)


def _twelve_leads(eight: np.ndarray) -> np.ndarray:
    """The standard leads from I, II, V1 ... V6."""
    one, two = eight[0], eight[1]
    limbs = np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2])
    return np.concatenate([limbs, eight[2:]]).astype(np.float32)
