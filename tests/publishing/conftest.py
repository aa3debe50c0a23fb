"""A tiny pretraining run, a tiny classifier, both published once, and fresh processes with or without the package."""

import json
import os
import sys
import textwrap

import pytest
import torch

from .. import fresh
from ..testers.mae_moco import SIZES
from .hub_server import serve

TINY = {
    "sampling_rate": 100,
    "window_size": 1000,
    "patch_size": 25,
    **SIZES,
    "queue_size": 64,
}
CODES = ("NORM", "MI", "STTC", "CD", "HYP")
NAMES = ("normal", "infarction", "ST-T change", "conduction disturbance", "hypertrophy")

WITHOUT_PACKAGE = """
import sys
from importlib.abc import MetaPathFinder
class Blocked(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] == "ecg_transformers":
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
sys.meta_path.insert(0, Blocked())
"""


def entry(**changes):
    """One entry of results.json, invented."""
    return {
        "checkpoint": "tiny", "mode": "linear_probe", "initialization": "pretrained", "corpus": "ptbxl",
        "corpus_version": "1.0.3", "sampling_rate": 100, "labels": "superclass",
        "train_folds": [1, 2, 3, 4, 5, 6, 7, 8], "evaluate_folds": [9], "records": 2146, "num_labels": 5,
        "metric": "macro_auroc", "value": 0.871234, "low": 0.86, "high": 0.882, "resamples": 1000, "seed": 0,
        "pooling": "mean",
        "pretraining": {"records": 17418, "epochs": 20, "steps": 2720, "hardware": "2 CPU cores", "hours": 1.5},
        "config": "training/configs/mae_moco_ptbxl.yaml", "commit": "0123abc", "date": "2026-11-26",
    } | changes  # fmt: skip


RESULTS = [
    entry(difference={"against": "random", "value": 0.061, "low": 0.05, "high": 0.072}),
    entry(initialization="random", value=0.81, low=0.8, high=0.82),
    entry(mode="fine_tune", value=0.9, low=0.89, high=0.91),
    entry(labels="all", value=0.8, low=0.78, high=0.82, num_labels=68, records=2183),
]


@pytest.fixture(scope="session", autouse=True)
def _forked(forked_verification):
    """Everything published here."""


@pytest.fixture(scope="session")
def results():
    """Invented entries of results.json."""
    return RESULTS


@pytest.fixture(scope="session")
def record_file(data_dir):
    """A real recording, PTB-XL 00001 at 500 Hz."""
    return data_dir / "ptbxl" / "00001_hr"


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """What a pretraining run leaves: the whole ForPreTraining model, extractor, results, and state of the Trainer."""
    from ecg_transformers import MaeMocoConfig, MaeMocoFeatureExtractor, MaeMocoForPreTraining

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    torch.manual_seed(0)
    MaeMocoForPreTraining(MaeMocoConfig(**TINY)).save_pretrained(folder)
    MaeMocoFeatureExtractor(sampling_rate=100, window_size=1000, patch_size=25).save_pretrained(folder)
    (folder / "results.json").write_text(json.dumps(RESULTS))
    (folder / "training_args.bin").write_bytes(b"never published")
    (folder / "checkpoint-5").mkdir()
    return folder


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory):
    """A classifier of five named labels."""
    from ecg_transformers import MaeMocoConfig, MaeMocoFeatureExtractor, MaeMocoForSequenceClassification

    folder = tmp_path_factory.mktemp("runs") / "tiny-classifier"
    torch.manual_seed(1)
    config = MaeMocoConfig(
        **TINY,
        id2label=dict(enumerate(CODES)),
        label2id={code: number for number, code in enumerate(CODES)},
        label_names=NAMES,
        label_system="scp",
        problem_type="multi_label_classification",
    )
    MaeMocoForSequenceClassification(config).save_pretrained(folder)
    MaeMocoFeatureExtractor(sampling_rate=100, window_size=1000, patch_size=25).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def published(run_folder, record_file, tmp_path_factory):
    """The run, published to a folder as an encoder, with everything verified in a clean process."""
    from ecg_transformers.publishing import publish

    target = tmp_path_factory.mktemp("hub") / "tiny"
    return publish(run_folder, output_dir=target, golden_record=record_file, golden_source="PTB-XL 1.0.3, CC BY 4.0")


@pytest.fixture(scope="session")
def published_classifier(classifier_folder, record_file, tmp_path_factory):
    """The classifier, published to a folder."""
    from ecg_transformers.publishing import publish

    target = tmp_path_factory.mktemp("hub") / "tiny-classifier"
    return publish(classifier_folder, output_dir=target, golden_record=record_file, clean_process=False)


@pytest.fixture(scope="session")
def in_process(tmp_path_factory):
    """A function that runs Python code in a fresh process and gives the JSON that it prints last."""

    def run(code, *, package, modules=None, cwd=None, **variables):
        modules = modules or tmp_path_factory.mktemp("modules")
        head = "import ecg_transformers\n" if package else WITHOUT_PACKAGE
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment |= {
            "HF_MODULES_CACHE": str(modules),
            "HF_HOME": str(modules / "home"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "OMP_NUM_THREADS": "1",
        } | variables
        done = fresh.run(
            [sys.executable, "-P", "-c", head + textwrap.dedent(code)],
            env=environment,
            cwd=cwd or modules,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


@pytest.fixture
def hub():
    """A local Hub, running."""
    with serve() as running:
        yield running
