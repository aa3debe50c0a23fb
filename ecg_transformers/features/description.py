"""The saved preprocessing as text: a numbered list of what is done to a recording."""

from collections.abc import Sequence

from .contract import SignalContract

__all__ = ["describe_contract"]


def describe_contract(contract: SignalContract) -> str:
    """The contract as a numbered list in plain English, in the order of the steps.

    Args:
        contract: The contract.
    """
    texts = {
        "leads": ("leads", _lead_text(contract)),
        "units": ("unit", "mV (uV, V and nV are converted)"),
        "resample": ("resample", f"to {contract.sampling_rate:g} Hz, {_resampling_text(contract)}"),
        "filter": ("filter", _filter_text(contract)),
        "window": ("window", _window_text(contract)),
        "normalize": ("normalize", _normalization_text(contract)),
        "pad": ("pad", _pad_text(contract)),
    }
    lines = [f"{number}. {texts[step][0]:<10} {texts[step][1]}" for number, step in enumerate(contract.order, start=1)]
    lines.append(f"{len(lines) + 1}. {'missing':<10} {_missing_text(contract)}")
    return "\n".join(lines)


def _lead_text(contract: SignalContract) -> str:
    text = ", ".join(contract.lead_names).replace("V1, V2, V3, V4, V5, V6", "V1-V6")
    text += f" (by name; an array without names must have exactly {len(contract.lead_names)} leads in this order)"
    if contract.treat_as:
        text += f"; {', '.join(f'{old} is taken for {new}' for old, new in contract.treat_as.items())} where absent"
    if contract.derive_leads:
        text += "; III, aVR, aVL, aVF are computed from I and II where absent"
    absent = "an error" if contract.missing_leads == "error" else "zeros after normalization and 0 in lead_mask"
    text += f"; an absent lead is {absent}"
    if contract.used_leads is None:
        return text
    return f"{text}; only {', '.join(contract.used_leads)} used, the others are zeros and 0 in lead_mask"


def _resampling_text(contract: SignalContract) -> str:
    return "polyphase with anti-alias filter" if contract.resampling == "polyphase" else "linear, no anti-alias filter"


def _filter_text(contract: SignalContract) -> str:
    parts = []
    if contract.bandpass is not None:
        low, high = ("none" if edge is None else f"{edge:g} Hz" for edge in contract.bandpass)
        kind = (
            f"Butterworth of order {contract.filter_order}"
            if contract.fir_taps is None
            else f"FIR of {contract.fir_taps} taps"
        )
        parts.append(f"{kind}, {low} to {high}")
    if contract.notch is not None:
        parts.append(f"notch at {contract.notch:g} Hz (quality {contract.notch_quality:g})")
    if not parts:
        return "none"
    return " and ".join(parts) + (", zero-phase" if contract.zero_phase else ", causal")


def _window_text(contract: SignalContract) -> str:
    seconds = f"{contract.window_seconds:.4g} s at {contract.sampling_rate:g} Hz"
    text = f"{contract.window_size} samples ({seconds})"
    if contract.window_mode == "slide":
        text += f", stride {contract.stride} ({contract.stride / contract.sampling_rate:.4g} s), all of a recording"
    elif contract.window_mode == "beats":
        text += (
            f", {contract.samples_before} before and {contract.samples_after} from each R peak (peaks= in the call) on"
        )
    else:
        pieces = {"crop": "the start", "center": "the middle", "random": "a random piece"}
        text += f", {pieces[contract.window_mode]} of a longer recording"
    if contract.patch_size is not None:
        text += f"; {contract.window_size // contract.patch_size} patches of {contract.patch_size} samples"
    return text


def _normalization_text(contract: SignalContract) -> str:
    scale = _scale_text(contract)
    return scale if contract.reference == "none" else f"{scale}; then minus the median beat of the recording"


def _scale_text(contract: SignalContract) -> str:
    epsilon = f"eps {contract.normalization_epsilon:g} mV"
    unit = "window" if contract.order_of("window") < contract.order_of("normalize") else "whole recording"
    if contract.normalization == "none":
        return "none (mV)"
    if contract.normalization == "constants":
        center = f"minus the lead's mean in the {unit}"
        if contract.normalization_mean is not None:
            center = f"minus fixed means {_listed(contract.normalization_mean)} mV"
        deviations = _listed(contract.normalization_std)
        return f"{center}, divided by fixed deviations {deviations} mV; flat leads zero ({epsilon})"
    manner = {
        "record_lead": f"each lead of each {unit} to mean 0 and deviation 1",
        "record": f"each {unit} to mean 0 and deviation 1 over all its leads together",
        "minmax_lead": f"each lead of each {unit} from -1 to 1",
    }
    return f"{manner[contract.normalization]} (population deviation, {epsilon}; flat leads zero)"


def _pad_text(contract: SignalContract) -> str:
    if contract.window_mode == "beats":
        return "never: a beat that is not completely inside the recording is left out"
    if not contract.allow_short:
        return (
            f"never: a recording below {contract.window_seconds:.4g} s is an error, a last incomplete window ends with "
            "the recording"
        )
    return (
        "right, with 0, marked in attention_mask; a last window of less than "
        f"{contract.min_window_seconds:g} s ends with the recording instead"
    )


def _missing_text(contract: SignalContract) -> str:
    amplitude = "an error" if contract.implausible_amplitude == "error" else "taken as it is"
    gaps = {
        "error": "an error",
        "interpolate": f"interpolated up to {contract.max_gap_seconds:g} s, else an error",
        "mask_lead": "the end of its lead: zeros, 0 in lead_mask",
    }
    flat = {"error": "an error", "keep": "zeros", "mask": "zeros and 0 in lead_mask"}
    return (
        f"a missing sample (NaN) is {gaps[contract.nan_policy]}; a flat lead is {flat[contract.flat_lead]}; "
        f"no signal in any lead is an error; an amplitude that cannot be millivolts is {amplitude}"
        + ("; an electrode offset is subtracted" if contract.removes_offset else "")
    )


def _listed(values: Sequence[float] | None) -> str:
    values = list(values or ())
    if len(values) > 1 and len(set(values)) == 1:
        return f"{values[0]:.3g} (every lead)"
    return ", ".join(f"{value:.3g}" for value in values)
