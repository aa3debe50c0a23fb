"""The `evaluate` modules: by class and by path, offline, in batches, equal to the functions."""

import importlib

import numpy as np
import pytest

from ecg_transformers.metrics.challenge_score import challenge_score
from ecg_transformers.metrics.metrics import average_precision, f1, macro, macro_auroc, one_vs_one_auroc
from ecg_transformers.metrics.modules import module_path

CLASSES = {
    "ecg_challenge_score": "EcgChallengeScore",
    "ecg_auroc": "EcgAuroc",
    "ecg_average_precision": "EcgAveragePrecision",
    "ecg_f1": "EcgF1",
    "ecg_one_vs_one_auroc": "EcgOneVsOneAuroc",
}


@pytest.fixture
def problem():
    generator = np.random.default_rng(0)
    truth = (generator.random((40, 3)) < 0.4).astype(int)
    return truth, generator.random((40, 3)) * 0.5 + 0.3 * truth


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    monkeypatch.setattr("evaluate.loading.init_dynamic_modules", lambda *args, **kwargs: _modules_folder(tmp_path))
    monkeypatch.setattr("socket.socket.connect", _refuse)
    monkeypatch.syspath_prepend(str(tmp_path))


def _modules_folder(folder):
    (folder / "offline_modules").mkdir(exist_ok=True)
    (folder / "offline_modules/__init__.py").touch()
    return str(folder / "offline_modules")


def _refuse(*args):
    raise OSError("a metric module asked for the network")


def compute(name, truth, scores, **keywords):
    module = importlib.import_module(f"ecg_transformers.metrics.modules.{name}")
    return getattr(module, CLASSES[name])().compute(predictions=scores, references=truth, **keywords)


def test_each_module_gives_what_the_function_gives(problem):
    truth, scores = problem
    assert compute("ecg_auroc", truth, scores)["auroc"] == macro_auroc(truth, scores)
    assert compute("ecg_average_precision", truth, scores)["average_precision"] == macro(
        average_precision(truth, scores)
    )
    decided = compute("ecg_f1", truth, scores, thresholds=[0.3, 0.4, 0.5], average=None)
    assert decided["f1"] == f1(truth, scores >= [0.3, 0.4, 0.5]).tolist()
    assert compute("ecg_one_vs_one_auroc", truth, scores)["one_vs_one_auroc"] == one_vs_one_auroc(truth, scores).value
    codes = ["426783006", "164889003", "39732003"]
    scored = challenge_score(truth, scores > 0.4, codes=codes)
    assert compute("ecg_challenge_score", truth, scores, threshold=0.4, codes=codes)["challenge_score"] == scored[0]
    classes = np.arange(40) % 3
    assert compute("ecg_one_vs_one_auroc", classes, scores)["num_pairs_used"] == 3


def test_a_module_loads_by_path_without_network_and_in_batches(problem):
    import evaluate

    truth, scores = problem
    metric = evaluate.load(module_path("ecg_auroc"), keep_in_memory=True)
    metric.add_batch(predictions=scores[:25], references=truth[:25])
    metric.add_batch(predictions=scores[25:], references=truth[25:])
    assert metric.compute() == {"auroc": macro_auroc(truth, scores), "num_labels": 3}
    with pytest.raises(ValueError, match="ecg_f1"):
        module_path("accuracy")


def test_every_module_file_has_one_import_per_line_and_a_class():
    for name in CLASSES:
        with open(module_path(name)) as file:
            imports = [line for line in file if line.startswith("import")]
        assert imports
        assert not any("," in line for line in imports)
