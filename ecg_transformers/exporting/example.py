"""The program of an exported checkpoint: one recording prepared and scored with NumPy, SciPy and ONNX Runtime.

It is written for the contract of the checkpoint: each step that this contract has, and no other.
"""

from typing import Any

from ..signals.quality import MAX_JUMP, MAX_MIDDLE_SWING, MIN_LARGEST_SWING

__all__ = ["example_program"]

# Fields whose other values have no step here.
_COVERED: dict[str, tuple[Any, ...]] = {
    "resampling": ("polyphase",),
    "used_leads": (None,),
    "electrode_offset": ("error",),
    "window_mode": ("slide", "beats"),
    "flat_lead": ("mask", "keep"),
}
_ORDER = ["resample", "filter", "window", "normalize"]

# Characters of a listing that fit in one line.
_LINE = 100

_HEAD = '''\
"""Scores of a recording from {title}, with NumPy, SciPy and ONNX Runtime alone.

python score_recording.py RECORDING.npy SAMPLING_RATE LEAD,LEAD,...{peaks}     array (leads, samples) in millivolts
"""

import json
import math
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnxruntime
from scipy import signal{special}

CONTRACT = json.loads(Path(__file__).with_name("contract.json").read_text())
'''
_SECTIONS = '''

def filtered(x, sections):
    """Apply second-order sections in both directions, reflected as far as the filter needs to settle."""
    radius = max(np.abs(np.roots(section[3:])).max() for section in sections)
    margin = min(math.ceil(math.log(1e-3) / math.log(radius)), x.shape[1] - 1)
    return signal.sosfiltfilt(sections, x.astype(np.float64), padtype="even", padlen=margin).astype(np.float32)
'''
_CAUSAL = '''

def filtered(x, sections):
    """Apply second-order sections from the steady state of the first sample."""
    x = x.astype(np.float64)
    state = signal.sosfilt_zi(sections)[:, None] * x[:, :1]
    return signal.sosfilt(sections, x, zi=state)[0].astype(np.float32)
'''
_PREPARE = '''

def prepare(ecg, rate, leads{peaks}):
    """Return the inputs of the model, of all windows with signal of a recording (leads, samples) in mV at `rate` Hz."""
    rule = CONTRACT["preprocessing"]
    size, {stride}target, names = (rule[key] for key in ("window_size", {strided}"sampling_rate", "lead_names"))
    len(leads) == len(ecg) or sys.exit(f"The recording has {{len(ecg)}} leads, and {{len(leads)}} names are given.")
    set(names) <= set(leads) or sys.exit(f"The recording lacks {{', '.join(sorted(set(names) - set(leads)))}}.")
    source = np.asarray(ecg, np.float32)[[leads.index(name) for name in names]]
    np.isfinite(source).all() or sys.exit("The recording has missing samples.")
'''
_AMPLITUDE = """\
    piece = min(round(2 * rate), source.shape[1])  # a swing is the range of a lead within 2 s
    swings = np.median(np.ptp(source[:, : source.shape[1] // piece * piece].reshape(len(source), -1, piece), 2), 1)
    half, most = np.quantile(swings[swings > 0], [0.5, 1], method="lower") if swings.any() else (1, 1)
    half <= {half:g} or sys.exit(f"Half of the leads swing by {{half:.4g}} mV or more. In microvolts? Divide by 1000.")
    most >= {most:g} or sys.exit(f"No lead swings by more than {{most:.1g}} mV. In volts? Multiply by 1000.")
    np.abs(np.diff(source)).max() <= {jump:g} or sys.exit("Neighbors differ by more than {jump:g} mV: missing samples?")
"""
_RESAMPLE = """\
    ratio = Fraction(str(target)) / Fraction(str(rate))  # resample to the rate of the model
    length = math.floor(source.shape[1] * ratio + Fraction(1, 2))
    x = signal.resample_poly(source, ratio.numerator, ratio.denominator, axis=1, padtype="edge")[:, :length]
"""
_BUTTER = """\
    x = filtered(x, signal.butter(rule["filter_order"], {edges}, "{kind}", fs=target, output="sos"))
"""
_FIR = """\
    taps = signal.firwin(rule["fir_taps"], {edges}, pass_zero="{kind}", fs=target)
    x = np.pad(x.astype(np.float64), ((0, 0), (len(taps) - 1, len(taps) - 1)), "reflect", reflect_type="odd")
    x = signal.oaconvolve(x, np.convolve(taps, taps)[None], mode="valid", axes=1).astype(np.float32)
"""
_NOTCH = """\
    x = filtered(x, signal.tf2sos(*signal.iirnotch(rule["notch"], rule["notch_quality"], fs=target)))
"""
_ALIGNED = """\
    length >= size or sys.exit(f"The recording has {length} samples at {target:g} Hz; a window has {size}.")
    starts = [*range(0, length - size, rule["window_stride"]), length - size]  # the last one ends with the recording
"""
_PADDED = """\
    starts = [stride * number for number in range(1 + max(0, math.ceil((length - size) / stride)))]
    if len(starts) > 1 and length - starts[-1] < min(rule["min_window_seconds"] * target, size):
        starts[-1] = length - size  # little is left: the last one is not padded, but ends with the recording
    x = np.pad(x, ((0, 0), (0, max(0, starts[-1] + size - length))))
    mask = np.add.outer(starts, np.arange(size)) < length
"""
_BEATS = """\
    starts = [math.floor(int(peak) * ratio + Fraction(1, 2)) - rule["samples_before"] for peak in peaks]
    starts = [at for at in starts if 0 <= at <= length - size] or sys.exit("The recording has no complete beat.")
"""
_WINDOWS = """\
    windows = np.stack([x[:, start : start + size] for start in starts])
"""
_STATISTICS = """\
    mean, deviation = windows.mean(2, keepdims=True), windows.std(2, keepdims=True)
"""
_MASKED_STATISTICS = """\
    count = mask.sum(1)[:, None, None]
    mean = windows.sum(2, keepdims=True) / count
    deviation = np.sqrt((((windows - mean) * mask[:, None]) ** 2).sum(2, keepdims=True) / count)
"""
_FLAT = """\
    pieces = [source[:, math.ceil(start / ratio) : math.floor((start + size - 1) / ratio) + 1] for start in starts]
    flat = np.stack([np.ptp(piece, 1) for piece in pieces])[:, :, None] < rule["normalization_epsilon"]  # recorded so
    flat |= deviation < 4 * np.finfo(np.float32).eps * np.abs(mean) + rule["normalization_epsilon"]  # or by now
"""
_CENTER = {True: """np.array(rule["normalization_mean"])[:, None]""", False: "mean"}
_NORMALIZE = {
    "none": "",
    "record_lead": """\
    windows = (windows - mean) / np.where(flat, 1, deviation)
""",
    "record": """\
    center = mean.mean(1, keepdims=True)
    spread = np.sqrt((deviation**2 + (mean - center) ** 2).mean(1, keepdims=True))
    windows = (windows - center) / np.where(flat, 1, spread)
""",
    "constants": """\
    windows = (windows - {center}) / np.array(rule["normalization_std"])[:, None]
""",
    "minmax_lead": """\
    low, high = windows.min(2, keepdims=True), windows.max(2, keepdims=True)
    windows = 2 * (windows - low) / np.where(flat, 1, high - low) - 1
""",
}
_ZERO = """\
    windows = np.where(flat, 0, windows){masked}
"""
_MEDIAN_BEAT = """\
    windows = windows - np.median(windows, axis=0)  # the median beat of the recording
"""
_RETURN = """\
    flat.all() and sys.exit("The recording has no signal in any lead.")
    inputs = {LISTED}
    return {name: value[HEARD].astype(CONTRACT["inputs"][name]["type"]) for name, value in inputs.items()}
"""
_MAIN = """

if __name__ == "__main__":
    len(sys.argv) == {arguments} or sys.exit(__doc__)
    inputs = prepare(np.load(sys.argv[1]), float(sys.argv[2]), sys.argv[3].split(","){peaks})
    output = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx")).run(["{output}"], inputs)[0]
"""
_CLASSES = """\
    scores = {activation}{over_windows}
    for label, value in sorted(zip(CONTRACT["labels"], scores, strict=True), key=lambda pair: -pair[1]):
        print(f"{{label['code']:<12}} {{value:.4f}}")
"""
_ACTIVATIONS = {
    "sigmoid": "special.expit(output.astype(np.float64))",
    "softmax": "special.softmax(output.astype(np.float64), axis=1)",
    "none": "output",
}
_MIXED = """
    scores = np.where([one["over_windows"] == "max" for one in CONTRACT["labels"]], scores.max(0), scores.mean(0))"""
_NUMBERS = """\
    for number, value in enumerate(output{over_windows}):
        print(f"{{number:<12}} {{value:.4f}}")
"""


def example_program(facts: dict[str, Any], title: str) -> str | None:
    """Write the program for a contract.

    Args:
        facts: Content of `contract.json`.
        title: Name of the checkpoint.

    Returns:
        The source code; None if the contract has a step that the program does not know.
    """
    rule = facts["preprocessing"]
    order = [step for step in rule["order"] if step in _ORDER]
    if order != _ORDER or any(rule[name] not in known for name, known in _COVERED.items()):
        return None
    beats = rule["window_mode"] == "beats"
    if rule["reference"] != "none" and not beats:
        return None
    special = ", special" if facts.get("activation") in ("sigmoid", "softmax") else ""
    parts = [_HEAD.format(title=title, special=special, peaks=" R_PEAKS.npy" if beats else "")]
    if rule["notch"] or (rule["bandpass"] and not rule["fir_taps"]):
        parts.append(_SECTIONS if rule["zero_phase"] else _CAUSAL)
    stride = ("stride, ", '"window_stride", ') if _is_padded(rule) else ("", "")
    parts.append(_PREPARE.format(peaks=", peaks" if beats else "", stride=stride[0], strided=stride[1]))
    if rule["implausible_amplitude"] == "error":
        parts.append(_AMPLITUDE.format(half=MAX_MIDDLE_SWING, most=MIN_LARGEST_SWING, jump=MAX_JUMP))
    parts += [_RESAMPLE, *_filter_steps(rule), *_window_steps(rule, facts)]
    arguments = {"arguments": 5 if beats else 4, "peaks": ", np.load(sys.argv[4])" if beats else ""}
    return "".join([*parts, _MAIN.format(output=_output(facts), **arguments), _result_lines(facts)])


def _is_padded(rule: dict[str, Any]) -> bool:
    """Whether windows may be longer than what is left of the recording."""
    return rule["allow_short"] and rule["window_mode"] != "beats"


def _filter_steps(rule: dict[str, Any]) -> list[str]:
    steps = []
    if rule["bandpass"]:
        low, high = rule["bandpass"]
        edges = 'rule["bandpass"]' if low and high else f'rule["bandpass"][{int(low is None)}]'
        kind = "bandpass" if low and high else "highpass" if low else "lowpass"
        steps.append((_FIR if rule["fir_taps"] else _BUTTER).format(edges=edges, kind=kind))
    return [*steps, _NOTCH] if rule["notch"] else steps


def _window_steps(rule: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    beats, padded = rule["window_mode"] == "beats", _is_padded(rule)
    center = _CENTER[rule["normalization_mean"] is not None]
    steps = [
        _BEATS if beats else _PADDED if padded else _ALIGNED,
        _WINDOWS,
        _MASKED_STATISTICS if padded else _STATISTICS,
        _FLAT,
        _NORMALIZE[rule["normalization"]].format(center=center),
    ]
    masked = " * mask[:, None]" if padded else ""
    if rule["normalization"] != "none" or rule["flat_lead"] == "mask":
        steps.append(_ZERO.format(masked=masked))
    if rule["reference"] != "none":
        steps.append(_MEDIAN_BEAT)
    values = {
        "input_values": "windows",
        "attention_mask": "mask" if padded else "np.ones(windows[:, 0].shape)",
        "lead_mask": "~flat[:, :, 0]" if rule["flat_lead"] == "mask" else "np.ones(windows.shape[:2])",
    }
    items = [f'"{name}": {text}' for name, text in values.items() if name in facts["inputs"]]
    listed = ", ".join(items)
    if len(listed) > _LINE:
        listed = "".join(f"\n        {item}," for item in items) + "\n    "
    heard = "~flat.all((1, 2))" if rule["flat_lead"] == "mask" else "windows.any((1, 2))"
    return [*steps, _RETURN.replace("LISTED", listed).replace("HEARD", heard)]


def _output(facts: dict[str, Any]) -> str:
    """The output that says something of a recording: logits, the score of each beat, or an embedding."""
    return next(name for name in ("logits", "score", "pooler_output", "embeddings") if name in facts["outputs"])


def _result_lines(facts: dict[str, Any]) -> str:
    if "labels" not in facts:
        return _NUMBERS.format(over_windows="" if "score" in facts["outputs"] else ".mean(0)")
    mixed = any(label["over_windows"] == "max" for label in facts["labels"])
    return _CLASSES.format(activation=_ACTIVATIONS[facts["activation"]], over_windows=_MIXED if mixed else ".mean(0)")
