"""Writes tests/features/data/golden.safetensors: model input of real records, by plain SciPy and NumPy alone.

Run from the root of the repository, only when the contract itself is meant to change:
    python tests/features/make_golden.py
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.signal import resample_poly

HERE = Path(__file__).parent
# mV; deviations per lead of PTB-XL at 100 Hz, I ... V6.
CONSTANTS = [0.154, 0.162, 0.160, 0.137, 0.134, 0.141, 0.230, 0.337, 0.333, 0.298, 0.269, 0.238]


def stored_signal(name: str) -> np.ndarray:
    """The signal of a PTB-XL record in mV, float64 `(12, samples)`: 16-bit samples, 1000 per mV."""
    samples = np.fromfile(HERE.parent / "data" / "ptbxl" / f"{name}.dat", dtype="<i2")
    return samples.reshape(-1, 12).T / 1000.0


def z_score(signal: np.ndarray) -> np.ndarray:
    """Each lead to mean 0 and population deviation 1."""
    return (signal - signal.mean(-1, keepdims=True)) / signal.std(-1, keepdims=True)


def main() -> None:
    """Three records at their own rate; one of them at 360 Hz (every sixth sample) and with constants."""
    at_100 = {name: stored_signal(f"{name}_lr") for name in ("00001", "00002", "00152")}
    at_360 = resample_poly(stored_signal("00001_hr"), 18, 25, axis=-1, padtype="edge")[:, :3600]
    centered = at_100["00001"] - at_100["00001"].mean(-1, keepdims=True)
    golden = {f"record_lead_100.{name}": z_score(signal)[:, ::4] for name, signal in at_100.items()}
    golden["record_lead_360.00001"] = z_score(at_360)[:, ::6]
    golden["constants_100.00001"] = (centered / np.array(CONSTANTS)[:, np.newaxis])[:, ::4]
    golden = {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in golden.items()}
    save_file(golden, HERE / "data" / "golden.safetensors")


if __name__ == "__main__":
    main()
