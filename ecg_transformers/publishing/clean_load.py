"""Opens a published folder in a process without this package and compares the golden file.

`verify` runs this file as a script in a fresh process (`python -P clean_load.py FOLDER`): imports of the package are
blocked there, so that every class comes from the folder's own code. It prints one line of JSON.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

__all__ = ["golden_differences", "main", "read_recording"]

BLOCKED = "ecg_transformers"
# Entry of the golden file's metadata: JSON with record, sampling_rate, leads, units, source, and the auto class of the
# model whose outputs are stored, unless that is AutoModel.
METADATA_KEY = "recording"


class BlockedPackage(MetaPathFinder):
    """A finder that reports the package as not installed."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raises ModuleNotFoundError for the package and its modules; leaves other names to the next finder."""
        if fullname.partition(".")[0] == BLOCKED:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def read_recording(path: str | Path) -> dict[str, Any]:
    """Reads the description of the recording in a golden file.

    Args:
        path: `golden.safetensors`.

    Returns:
        `record`, `sampling_rate`, `leads`, `units`, `source` and `auto_class`.
    """
    with safe_open(str(path), framework="pt") as file:
        return {"auto_class": "AutoModel"} | json.loads((file.metadata() or {})[METADATA_KEY])


def golden_differences(
    extractor: Callable[..., Mapping[str, torch.Tensor]], model: torch.nn.Module, path: str | Path
) -> dict[str, float]:
    """Runs the golden recording through an extractor and a model and compares with the stored tensors.

    Args:
        extractor: The feature extractor of the folder.
        model: The model of the folder whose outputs are stored, in eval mode.
        path: `golden.safetensors`.

    Returns:
        Largest absolute difference of `input_values` and of each stored output, relative to the largest stored value;
        infinite where shapes differ or an output is missing.
    """
    recording = read_recording(path)
    with safe_open(str(path), framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in sorted(file.keys())}
    signal, peaks = stored.pop("signal").numpy(), stored.pop("peaks", None)
    beats: dict[str, Any] = {} if peaks is None else {"peaks": peaks.numpy()}
    inputs = extractor(
        signal, sampling_rate=recording["sampling_rate"], leads=recording["leads"], return_tensors="pt", **beats
    )
    with torch.no_grad():
        found = {**model(**inputs), "input_values": inputs["input_values"]}
    return {name: _relative(found.get(name), tensor.numpy()) for name, tensor in stored.items()}


def _relative(tensor: torch.Tensor | None, stored: np.ndarray) -> float:
    if tensor is None or tuple(tensor.shape) != stored.shape:
        return float("inf")
    largest = float(np.abs(stored).max()) or 1.0
    difference = float(np.abs(tensor.numpy().astype(np.float64) - stored.astype(np.float64)).max()) / largest
    return float("inf") if math.isnan(difference) else difference


def main(folder: str) -> dict[str, Any]:
    """Opens every class of the folder's `auto_map` from its own code and compares the golden file.

    Args:
        folder: A published folder with its code.

    Returns:
        `opened`: auto class to the module it was opened from; `differences`: as `golden_differences`.
    """
    sys.meta_path.insert(0, BlockedPackage())
    import transformers

    golden = Path(folder, "golden.safetensors")
    auto_map = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))["auto_map"]
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
    opened = {"AutoFeatureExtractor": extractor}
    for name in sorted(set(auto_map) - {"AutoFeatureExtractor"}):
        arguments = {} if name == "AutoConfig" else {"use_safetensors": True}
        if hasattr(transformers, name):
            opened[name] = getattr(transformers, name).from_pretrained(folder, trust_remote_code=True, **arguments)
        else:
            # A head without an auto class is named by its own class.
            model_class: Any = transformers.dynamic_module_utils.get_class_from_dynamic_module(auto_map[name], folder)
            opened[name] = model_class.from_pretrained(folder, **arguments)
    differences = golden_differences(extractor, opened[read_recording(golden)["auto_class"]], golden)
    return {"opened": {name: type(one).__module__ for name, one in opened.items()}, "differences": differences}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])) + "\n")
