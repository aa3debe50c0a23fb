"""`compute_metrics` alone and inside a stock Trainer."""

import numpy as np
import pytest
import torch
from transformers import EvalPrediction, Trainer, TrainingArguments

from ecg_transformers.corpora.protocol import Task
from ecg_transformers.errors import EcgError
from ecg_transformers.evaluation.classifier import build_classifier
from ecg_transformers.inference.aggregation import aggregate_windows
from ecg_transformers.metrics.compute_metrics import compute_metrics
from ecg_transformers.metrics.metrics import macro_auroc, one_hot, one_vs_one_auroc


def test_the_kind_of_task_is_read_from_the_labels():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(40, 3))
    labels = (generator.random((40, 3)) < 0.4).astype(int)
    found = compute_metrics(EvalPrediction(logits, labels))
    assert found["macro_auroc"] == pytest.approx(macro_auroc(labels, logits), abs=1e-6)
    classes = np.arange(40) % 3
    shares = torch.as_tensor(logits).softmax(1).numpy()
    found = compute_metrics(EvalPrediction(logits, classes))
    assert found["one_vs_one_auroc"] == pytest.approx(one_vs_one_auroc(one_hot(classes, 3), shares).value, abs=1e-6)
    assert set(compute_metrics(EvalPrediction(logits, logits + 1.0))) == {"mean_absolute_error"}
    with pytest.raises(EcgError, match="39"):
        compute_metrics(EvalPrediction(logits[:39], labels))


def test_windows_are_joined_when_their_record_is_known():
    generator = np.random.default_rng(1)
    record_index = np.repeat(np.arange(20), 2)
    logits = generator.normal(size=(40, 2))
    labels = (generator.random((20, 2)) < 0.5).astype(int)
    found = compute_metrics(EvalPrediction(logits, (labels[record_index], record_index)), aggregate="max")
    scores = aggregate_windows(1 / (1 + np.exp(-logits)), record_index, aggregate="max")
    assert found["macro_auroc"] == pytest.approx(macro_auroc(labels, scores), abs=1e-6)


def test_a_stock_trainer_takes_it(checkpoint, corpus, extractor, tmp_path):
    task = Task("all", ("FAST", "TALL", "RARE"), ("a", "b", "c"), "own", "multi_label_classification")
    model = build_classifier(checkpoint, task)
    labels = corpus.label_matrix("all").values
    items = [
        {
            "input_values": extractor(corpus[i], return_tensors="pt")["input_values"][0],
            "labels": torch.tensor(labels[i]),
        }
        for i in range(24)
    ]
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True)
    trainer = Trainer(model=model, args=arguments, eval_dataset=items, compute_metrics=compute_metrics)
    found = trainer.evaluate()
    assert 0 <= found["eval_macro_auroc"] <= 1
    assert "eval_fmax" in found
