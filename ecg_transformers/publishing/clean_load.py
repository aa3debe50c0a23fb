"""Opens a published folder as somebody would who has Transformers and not this package, and compares the golden file.

`publish` and `verify` run this file as a script in a fresh process (`python -P clean_load.py FOLDER`): imports of
the package are blocked there, so that every class comes from the folder's own code. It prints one line of JSON.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

__all__ = ["golden_differences", "main"]

BLOCKED = "ecg_transformers"
# Entry of the golden file's metadata: JSON with record, sampling_rate, leads, units, source.
METADATA_KEY = "recording"


class BlockedPackage(MetaPathFinder):
    """A finder that stands first and says that the package is not installed."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raises ModuleNotFoundError for the package and everything in it; leaves other names to the next finder."""
        if fullname.partition(".")[0] == BLOCKED:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def golden_differences(
    extractor: Callable[..., Mapping[str, torch.Tensor]], model: torch.nn.Module, path: str | Path
) -> dict[str, float]:
    """Runs the golden recording through an extractor and an encoder and compares with the stored tensors.

    Args:
        extractor: The feature extractor of the folder.
        model: The encoder of the folder, in eval mode.
        path: `golden.safetensors`.

    Returns:
        Largest absolute difference of `input_values` and `pooler_output`, relative to the largest stored value;
        infinite where the shapes differ.
    """
    with safe_open(str(path), framework="pt") as file:
        recording = json.loads(file.metadata()[METADATA_KEY])
        stored = {name: file.get_tensor(name) for name in ("signal", "input_values", "pooler_output")}
    inputs = extractor(
        stored["signal"].numpy(),
        sampling_rate=recording["sampling_rate"],
        leads=recording["leads"],
        return_tensors="pt",
    )
    with torch.no_grad():
        found = {"input_values": inputs["input_values"], "pooler_output": model(**inputs).pooler_output}
    return {name: _relative(found[name].numpy(), stored[name].numpy()) for name in found}


def _relative(found: np.ndarray, stored: np.ndarray) -> float:
    if found.shape != stored.shape:
        return float("inf")
    largest = float(np.abs(stored).max()) or 1.0
    difference = float(np.abs(found.astype(np.float64) - stored.astype(np.float64)).max()) / largest
    return float("inf") if math.isnan(difference) else difference


def main(folder: str) -> dict:
    """Opens every class of the folder's `auto_map` from its own code and compares the golden file."""
    sys.meta_path.insert(0, BlockedPackage())
    import transformers

    auto_map = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))["auto_map"]
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
    opened = {"AutoFeatureExtractor": type(extractor).__module__}
    for name in sorted(set(auto_map) - {"AutoFeatureExtractor"}):
        auto_class = getattr(transformers, name)
        arguments = {} if name == "AutoConfig" else {"use_safetensors": True}
        loaded = auto_class.from_pretrained(folder, trust_remote_code=True, **arguments)
        opened[name] = type(loaded).__module__
        if name == "AutoModel":
            encoder = loaded
    differences = golden_differences(extractor, encoder, Path(folder, "golden.safetensors"))
    return {"opened": opened, "differences": differences}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])) + "\n")
