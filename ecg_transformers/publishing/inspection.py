"""Description of a checkpoint: model, input contract, golden recording."""

import math
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from ..configuration import EcgConfig
from ..features.agreement import check_contract
from .folder import CONFIG_FILE, EXTRACTOR_FILE, check_shapes, find_class, read_json
from .golden import GOLDEN_FILE, GoldenReport, compare_golden

__all__ = ["Inspection", "inspect_checkpoint"]


@dataclass(frozen=True)
class Inspection:
    """Description of a checkpoint.

    Attributes:
        text: One fact per line.
        golden: The golden comparison; None where there is no golden file.
    """

    text: str
    golden: GoldenReport | None


def inspect_checkpoint(folder: str | Path) -> Inspection:
    """Describes a checkpoint folder, published or of a run, and runs its golden recording if it has one.

    No code of the folder is run: the classes are those of this package.

    Args:
        folder: Folder with `config.json`, `preprocessor_config.json` and safetensors weights.

    Raises:
        CheckpointError: If a part is missing, damaged, of another package, or contradicts another.
    """
    folder = Path(folder)
    architecture, head = find_class(folder, read_json(folder / CONFIG_FILE))
    model_class = architecture.models[head]
    config = architecture.config.from_pretrained(folder)
    shapes = check_shapes(folder, model_class, config)
    lines = [
        ("checkpoint", str(folder)),
        (
            "model",
            f"{model_class.__name__} ({config.model_type}), {sum(map(math.prod, shapes.values())):,} numbers stored as "
            f"{_stored_types(folder)}",
        ),
        ("input", f"{config.num_leads} leads, {config.window_size} samples at {config.sampling_rate:g} Hz"),
        ("embedding", f"{config.pooled_size} numbers per window"),
        *([("labels", _labels(config))] if head == "classifier" else []),
        *([("threshold", _threshold(config))] if head == "anomaly_detection" else []),
        ("license", str(config.license)),
        ("use", str(config.intended_use)),
    ]
    golden = None
    contract = f"none: without {EXTRACTOR_FILE}, the preparation of recordings is unknown"
    if (folder / EXTRACTOR_FILE).is_file():
        read_json(folder / EXTRACTOR_FILE)
        extractor = architecture.feature_extractor.from_pretrained(folder)
        check_contract(config, extractor)
        golden = compare_golden(folder, extractor) if (folder / GOLDEN_FILE).is_file() else None
        contract = f"hash {extractor.contract_hash()}\n{extractor.describe().strip()}"
    lines += [
        ("contract", contract),
        ("golden", str(golden) if golden else "none: only published checkpoints have one"),
    ]
    return Inspection("\n".join(_entry(title, text) for title, text in lines), golden)


def _labels(config: EcgConfig) -> str:
    codes = [str(code) for code in (config.id2label or {}).values()]
    names = config.label_names or codes
    return ", ".join(code if code == name else f"{code} ({name})" for code, name in zip(codes, names, strict=False))


def _threshold(config: EcgConfig) -> str:
    value = getattr(config, "anomaly_threshold", None)
    return "none: call calibrate with normal beats" if value is None else f"score {value:.4g}"


def _stored_types(folder: Path) -> str:
    types: set[str] = set()
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(str(path), framework="np") as file:
            types |= {str(file.get_slice(key).get_dtype()) for key in file.keys()}
    return ", ".join(sorted(types))


def _entry(title: str, text: str) -> str:
    return f"{title:<11} " + text.replace("\n", "\n" + " " * 12)
