"""Scores of a recording from an exported checkpoint, with NumPy, SciPy and ONNX Runtime alone.

python score_recording.py RECORDING.npy SAMPLING_RATE LEAD,LEAD,...     array (leads, samples) in millivolts

It does what the usual contracts ask for. One that asks for more is refused: prepare the input with ecg_transformers.
"""

import json
import math
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy import signal as dsp

USUAL = {"resampling": "polyphase", "fir_taps": None, "reference": "none", "window_mode": "slide", "used_leads": None}


def prepare(ecg: np.ndarray, rate: float, leads: list[str], contract: dict) -> dict[str, np.ndarray]:
    """Return the inputs of the model for all windows of a recording `(leads, samples)` in mV at `rate` Hz."""
    rule = contract["preprocessing"]
    order = [step for step in rule["order"] if step not in ("leads", "units", "pad")]
    unusual = [name for name, value in USUAL.items() if rule[name] != value]
    if unusual or order != ["resample", "filter", "window", "normalize"] or rule["normalization"] == "minmax_lead":
        raise SystemExit(f"This contract asks for more than the example does: {unusual or order}.")
    if missing := set(rule["lead_names"]) - set(leads):
        raise SystemExit(f"The recording lacks the leads {', '.join(sorted(missing))}.")
    source = np.asarray(ecg, np.float32)[[leads.index(name) for name in rule["lead_names"]]]
    if not np.isfinite(source).all():
        raise SystemExit("The recording has missing samples.")
    ratio = Fraction(str(rule["sampling_rate"])) / Fraction(str(rate))
    length, x = int(source.shape[1] * ratio + Fraction(1, 2)), source
    if ratio != 1:
        x = dsp.resample_poly(source, ratio.numerator, ratio.denominator, axis=1, padtype="edge")[:, :length]
    for sections in filters(rule):
        x = apply(x, sections, rule["zero_phase"])
    size, target = rule["window_size"], rule["sampling_rate"]
    if length < size and not rule["allow_short"]:
        raise SystemExit(f"The recording has {length} samples at {target:g} Hz; a window has {size}.")
    starts = list(range(0, max(length - size, 0) + 1, rule["window_stride"] or size))
    if 0 < (rest := length - starts[-1] - size):
        following = starts[-1] + (rule["window_stride"] or size)
        padded = rule["allow_short"] and length - following >= min(np.ceil(rule["min_window_seconds"] * target), size)
        starts.append(following if padded else starts[-1] + rest)
    places = np.array(starts)[:, None] + np.arange(size)
    mask = places < length
    valid = mask[:, None]
    windows = x[:, np.minimum(places, length - 1)].transpose(1, 0, 2) * valid
    mean = windows.sum(2, keepdims=True) / valid.sum(2, keepdims=True)
    centered = (windows - mean) * valid
    deviation = np.sqrt((centered**2).sum(2, keepdims=True) / valid.sum(2, keepdims=True))
    flat = deviation < 4 * np.finfo(np.float32).eps * np.abs(mean) + rule["normalization_epsilon"]
    for row, (start, count) in enumerate(zip(starts, mask.sum(1), strict=True)):  # constant as it was recorded
        first, last = math.ceil(start / ratio), math.floor((start + int(count) - 1) / ratio)
        piece = source[:, first : last + 1]
        flat[row, :, 0] |= np.ptp(piece, axis=1) < rule["normalization_epsilon"]
    if rule["normalization"] == "record":  # one mean and one deviation for all leads
        center = mean.mean(1, keepdims=True)
        deviation = np.sqrt((deviation**2 + (mean - center) ** 2).mean(1, keepdims=True))
        centered = (windows - center) * valid
    elif rule["normalization"] == "constants":
        deviation = np.array(rule["normalization_std"], np.float32)[:, None]
        if rule["normalization_mean"] is not None:
            centered = (windows - np.array(rule["normalization_mean"], np.float32)[:, None]) * valid
    if rule["normalization"] != "none":
        windows = centered / np.where(flat, 1, deviation)
    if rule["normalization"] != "none" or rule["flat_lead"] == "mask":
        windows = np.where(flat, 0, windows)
    present = ~flat[:, :, 0] if rule["flat_lead"] == "mask" else np.ones(flat.shape[:2])
    inputs = {"input_values": windows.astype(np.float32), "attention_mask": mask, "lead_mask": present}
    return {
        name: inputs[name] if name == "input_values" else inputs[name].astype(np.int64) for name in contract["inputs"]
    }


def filters(rule: dict) -> list[np.ndarray]:
    """Return the second-order sections of the band-pass and of the notch that a contract asks for."""
    rate, found = rule["sampling_rate"], []
    if rule["bandpass"]:
        low, high = rule["bandpass"]
        kind = "band" if low and high else "high" if low else "low"
        edges = [low, high] if kind == "band" else low or high
        found.append(dsp.butter(rule["filter_order"], edges, kind, fs=rate, output="sos"))
    if rule["notch"]:
        found.append(dsp.tf2sos(*dsp.iirnotch(rule["notch"], rule["notch_quality"], fs=rate)))
    return found


def apply(x: np.ndarray, sections: np.ndarray, zero_phase: bool) -> np.ndarray:
    """Filter `(leads, samples)` in both directions, reflected as far as the filter needs to settle, or causally."""
    if not zero_phase:
        state = dsp.sosfilt_zi(sections)[:, None] * x[:, :1].astype(np.float64)
        return dsp.sosfilt(sections, x.astype(np.float64), zi=state)[0].astype(np.float32)
    radius = max(np.abs(np.roots(section[3:])).max() for section in sections)
    margin = min(int(np.ceil(np.log(1e-3) / np.log(radius))), x.shape[1] - 1)
    return dsp.sosfiltfilt(sections, x.astype(np.float64), padtype="even", padlen=margin).astype(np.float32)


def score(ecg: np.ndarray, rate: float, leads: list[str], folder: Path) -> np.ndarray:
    """Return the probability of each label, or the mean of the last output, of a recording."""
    import onnxruntime

    contract = json.loads((folder / "contract.json").read_text())
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    values = session.run(None, prepare(ecg, rate, leads, contract))[-1 if "labels" not in contract else 0]
    if "labels" not in contract:
        return values.mean(0)
    if contract["activation"] == "sigmoid":
        values = 1 / (1 + np.exp(-values.astype(np.float64)))
    elif contract["activation"] == "softmax":
        values = np.exp(values - values.max(1, keepdims=True))
        values = values / values.sum(1, keepdims=True)
    largest = [label["over_windows"] == "max" for label in contract["labels"]]
    return np.where(largest, values.max(0), values.mean(0))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    here = Path(__file__).parent
    scores = score(np.load(sys.argv[1]), float(sys.argv[2]), sys.argv[3].split(","), here)
    labels = json.loads((here / "contract.json").read_text()).get("labels")
    names = [label["code"] for label in labels] if labels else [str(number) for number in range(len(scores))]
    for name, value in sorted(zip(names, scores.tolist(), strict=True), key=lambda pair: -pair[1]):
        sys.stdout.write(f"{name:<12} {value:.4f}\n")
