"""Importing the package is cheap, and inference needs none of the libraries that only training or files need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import fresh

# What `import ecg_transformers` may cost beyond Transformers' own import, in seconds.
FLOOR = 0.3
ATTEMPTS = 4

HEAVY = ("datasets", "evaluate", "accelerate", "wfdb", "matplotlib", "scipy.signal", "pandas", "sklearn", "pyarrow")
# Parts of the package that inference does not need.
PARTS = ("corpora", "trainer", "metrics", "evaluation", "publishing", "commands", "viz")

MEASURE = f"""
import json, sys, time
from transformers import AutoModel, PreTrainedModel
before = set(sys.modules)
start = time.process_time()
import ecg_transformers
seconds = time.process_time() - start
new = [name for name in {HEAVY!r} if name in sys.modules and name not in before]
new += [name for name in sys.modules if name.startswith("ecg_transformers.") and name.split(".")[1] in {PARTS!r}]
print(json.dumps([seconds, new]))
"""

# The path finder is what finds installed packages: without it these are not installed, for Transformers too.
INFERENCE = """
import importlib.machinery, json, sys

blocked = {"datasets", "evaluate", "accelerate", "matplotlib", "wfdb"}
find_spec = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = staticmethod(
    lambda name, *args: None if name.split(".")[0] in blocked else find_spec(name, *args)
)

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification

import ecg_transformers

folder = sys.argv[1]
config = ecg_transformers.MaeMocoConfig(
    hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, window_size=1000,
    sampling_rate=100, num_labels=3,
)
ecg_transformers.MaeMocoForSequenceClassification(config).save_pretrained(folder)
ecg_transformers.MaeMocoFeatureExtractor(sampling_rate=100, window_size=1000).save_pretrained(folder)

extractor = AutoFeatureExtractor.from_pretrained(folder)
model = AutoModel.from_pretrained(folder)
classifier = AutoModelForSequenceClassification.from_pretrained(folder)
signal = np.random.default_rng(0).normal(size=(12, 7000))
record = ecg_transformers.EcgRecord(signal, sampling_rate=500, leads=extractor.lead_names)
with torch.no_grad():
    batch = extractor(record, return_tensors="pt")
    shapes = [list(model(**batch).pooler_output.shape), list(classifier(**batch).logits.shape)]
print(json.dumps([shapes, sorted(blocked & set(sys.modules))]))
"""


def fresh_process(code: str, *arguments: str, run=subprocess.run):
    """What a program prints as JSON in its last line, run in a process of its own; `fresh.run`: with torch imported."""
    # With compiled files, as after an installation, whatever the tests themselves run under.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", code, *arguments]
    result = run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_import_costs_at_most_its_floor_and_loads_nothing_heavy():
    # Seconds of the processor, for other programs may own it meanwhile; they only ever add: the least of a few counts.
    measured = []
    while len(measured) < ATTEMPTS and min(measured, default=FLOOR + 1) > FLOOR:
        seconds, heavy = fresh_process(MEASURE)
        assert not heavy
        measured.append(seconds)
    assert min(measured) <= FLOOR, measured


def test_inference_needs_no_training_libraries(tmp_path):
    shapes, loaded = fresh_process(INFERENCE, str(tmp_path), run=fresh.run)
    assert shapes == [[2, 32], [2, 3]]
    assert not loaded


# What is there after reading and plotting a recording, and the seconds of the processor until then.
LIGHT = """
import json, sys, time
import ecg_transformers
from ecg_transformers.cli import main
from ecg_transformers.viz import plot_ecg
record = ecg_transformers.read_record(sys.argv[1])
plot_ecg(record)
assert main(["plot", sys.argv[1], "--output", sys.argv[2]]) == 0
print(json.dumps(sorted({"torch", "transformers", "datasets", "pandas"} & set(sys.modules))))
"""
HELP = """
import json, runpy, sys, time
from ecg_transformers.cli import main
sys.path.pop(0)
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__") if sys.argv[0].endswith(".py") else main(sys.argv[1:])
except SystemExit as end:
    assert end.code in (0, None)
heavy = {"torch", "transformers", "scipy", "matplotlib", "datasets", "pyarrow"} & set(sys.modules)
print()
print(json.dumps([time.process_time(), sorted(heavy)]))
"""
# However Transformers and this package are imported, the auto classes and pipelines know its families.
ORDERS = (
    "import ecg_transformers; from transformers import AutoConfig",
    "from transformers import AutoModel; import ecg_transformers",
    "import ecg_transformers; from transformers import pipeline",
    "from ecg_transformers.features.extractor import EcgFeatureExtractor",
    "import ecg_transformers.backbone",
    "from ecg_transformers import MocoV3ForPreTraining",
    "import ecg_transformers; from transformers import Trainer",
)
REGISTERED = """
import json, sys
exec(sys.argv[1])
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForPreTraining
from transformers.pipelines import PIPELINE_REGISTRY
from ecg_transformers import ARCHITECTURES, MaeMocoConfig, MaeMocoFeatureExtractor, auto
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING
for row in ARCHITECTURES.values():
    config = AutoConfig.for_model(row.model_type)
    assert type(config) is row.config and FEATURE_EXTRACTOR_MAPPING[type(config)] is row.feature_extractor
    assert AutoModel._model_mapping[type(config)] is row.encoder
assert "ecg-classification" in PIPELINE_REGISTRY.get_supported_tasks()
print(json.dumps(auto._WAITING in sys.meta_path))
"""


def test_reading_and_plotting_need_neither_torch_nor_transformers(data_dir, tmp_path):
    assert fresh_process(LIGHT, str(data_dir / "ptbxl" / "00001_lr"), str(tmp_path / "page.png")) == []
    assert (tmp_path / "page.png").stat().st_size > 10_000


TRAINING = Path(__file__).parents[1] / "training"
COMMANDS = ("inspect", "plot", "classify", "embed", "convert", "list")
SCRIPTS = sorted(path.name for path in TRAINING.glob("*.py"))


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS), *([name, "--help"] for name in SCRIPTS)],
    ids=" ".join,
)
def test_help_is_there_at_once(words):
    program = str(TRAINING / words[0]) if words[0] in SCRIPTS else "ecg-transformers"
    arguments = words[1:] if words[0] in SCRIPTS else words
    measured = []
    while len(measured) < ATTEMPTS and min(measured, default=FLOOR + 1) > FLOOR:
        seconds, heavy = fresh_process(HELP, program, *arguments)
        assert not heavy
        measured.append(seconds)
    assert min(measured) <= FLOOR, measured


JOINED = """
import json
from dataclasses import replace
from ecg_transformers.auto import ARCHITECTURES, register_architecture
register_architecture(replace(ARCHITECTURES["swin1d"]))
from transformers import AutoConfig
print(json.dumps([AutoConfig.for_model(name).model_type for name in ("swin1d", "mae_moco")]))
"""


def test_a_family_that_joins_before_transformers_is_imported_replaces_no_other():
    assert fresh_process(JOINED, run=fresh.run) == ["swin1d", "mae_moco"]


@pytest.mark.parametrize("order", ORDERS)
def test_families_are_registered_in_whatever_order_the_packages_are_imported(order):
    assert fresh_process(REGISTERED, order, run=fresh.run) is False
