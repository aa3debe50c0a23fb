"""The four modes on a tiny checkpoint: what moves, what stays, what is learned, what is saved."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification

from ecg_transformers.auto import ARCHITECTURES
from ecg_transformers.corpora.evaluation_split import Protocol
from ecg_transformers.errors import CheckpointError, EcgError
from ecg_transformers.evaluation.classifier import (
    build_classifier,
    classifier_codes,
    load_extractor,
    pretraining_facts,
    save_classifier,
)
from ecg_transformers.evaluation.outcomes import evaluate_as_is, run_mode
from ecg_transformers.evaluation.results.predictions import (
    Predictions,
    label_table,
    other_metrics,
    paired_difference,
    score_interval,
)
from ecg_transformers.evaluation.settings import LearningSettings
from ecg_transformers.inference.encode import predict_records
from ecg_transformers.metrics.thresholds import fit_thresholds
from ecg_transformers.readout import Readout
from ecg_transformers.trainer.fine_tuning import layer_depths

from ..testers.ecg_wav2vec2 import EcgWav2vec2Tester

QUICK = {"num_train_epochs": 2, "per_device_train_batch_size": 16, "learning_rate": 3e-3, "disable_tqdm": True}


@pytest.fixture
def splits(corpus, extractor):
    return Protocol().split(corpus, extractor)


def encoder_of(model):
    return {f"{name}": tensor for name, tensor in model.base_model.state_dict().items()}


@pytest.mark.parametrize("mode", ["linear_probe", "attentive_probe"])
def test_a_probe_leaves_every_encoder_tensor_bit_for_bit_and_is_the_checkpoint_it_becomes(
    mode, checkpoint, extractor, splits, tmp_path
):
    outcome = run_mode(mode, checkpoint, extractor, splits, LearningSettings(pooling="cls_mean"))
    published = AutoModel.from_pretrained(checkpoint).state_dict()
    assert all(torch.equal(published[name], tensor) for name, tensor in encoder_of(outcome.model).items())
    save_classifier(outcome.model, extractor, tmp_path / "out", thresholds=outcome.thresholds)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    again = AutoFeatureExtractor.from_pretrained(tmp_path / "out")
    scores = predict_records(loaded, splits.evaluate.corpus, again)
    np.testing.assert_allclose(scores, outcome.predictions.scores, atol=2e-3 if mode == "attentive_probe" else 1e-5)
    assert loaded.config.id2label == {0: "FAST", 1: "TALL", 2: "RARE"}
    assert loaded.config.label_names[1] == "the label TALL"
    assert loaded.config.label_system == "scp"
    saved = [np.nan if cut is None else cut for cut in loaded.config.thresholds]
    np.testing.assert_allclose(saved, outcome.thresholds.values)
    assert loaded.config.thresholds_from == {"corpus": splits.train.corpus.name, "folds": [1, 2, 3, 4, 5, 6, 7, 8]}
    assert classifier_codes(tmp_path / "out") == splits.task.codes
    assert classifier_codes(checkpoint) is None
    assert not [file for file in (tmp_path / "out").iterdir() if file.name.startswith(".")]


def test_a_frozen_batch_norm_keeps_its_statistics(checkpoint, extractor, splits, monkeypatch):
    """No published encoder of the package has one yet: a BatchNorm is put behind the patch embedding."""
    from ecg_transformers.evaluation import outcomes

    def build_with_norm(*args, **kwargs):
        model = build_classifier(*args, **kwargs)
        norm = torch.nn.BatchNorm1d(16)
        model.base_model.norm = norm
        hook = lambda module, inputs, output: norm(output.transpose(1, 2)).transpose(1, 2)  # noqa: E731
        model.base_model.embeddings.patch_embeddings.register_forward_hook(hook)
        return model

    monkeypatch.setattr(outcomes, "build_classifier", build_with_norm)
    outcome = run_mode("linear_probe", checkpoint, extractor, splits)
    assert outcome.model.base_model.norm.num_batches_tracked == 0
    assert torch.equal(outcome.model.base_model.norm.running_mean, torch.zeros(16))


@pytest.mark.parametrize("head_first", [True, False])
def test_fine_tuning_moves_every_tensor_of_the_encoder(head_first, checkpoint, extractor, splits, tmp_path):
    settings = LearningSettings(head_first=head_first, layer_decay=0.8, training=QUICK)
    outcome = run_mode("fine_tune", checkpoint, extractor, splits, settings, output_dir=tmp_path)
    published = AutoModel.from_pretrained(checkpoint).state_dict()
    same = [name for name, tensor in encoder_of(outcome.model).items() if torch.equal(published[name], tensor)]
    assert not same
    # The probe that it starts from is epoch 0.
    assert list(outcome.history) == ([0.0, 1.0, 2.0] if head_first else [1.0, 2.0])
    assert outcome.chosen["epoch"] in outcome.history
    assert len(list(tmp_path.glob("checkpoint-*"))) <= 2


def test_from_scratch_starts_from_new_weights_and_repeats_itself(checkpoint, extractor, splits, tmp_path):
    scores = []
    for folder in ("a", "b"):
        torch.manual_seed(len(scores))
        outcome = run_mode(
            "from_scratch",
            checkpoint,
            extractor,
            splits,
            LearningSettings(training=QUICK, seed=3),
            output_dir=tmp_path / folder,
        )
        scores.append(outcome.predictions.scores)
    assert outcome.initialization == "random"
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


def test_a_single_label_task_with_several_windows_per_record(checkpoint, extractor, single_corpus, tmp_path):
    splits = Protocol(train_folds=range(1, 9), evaluate_folds=[9, 10]).split(single_corpus, extractor)
    outcome = run_mode(
        "fine_tune",
        checkpoint,
        extractor,
        splits,
        LearningSettings(training=QUICK, pooling="mean"),
        output_dir=tmp_path,
    )
    assert outcome.thresholds is None
    assert outcome.predictions.scores.sum(axis=1) == pytest.approx(np.ones(len(splits.evaluate)), abs=1e-5)
    assert {"accuracy", "one_vs_one_auroc", "macro_f1"} <= other_metrics(outcome.predictions).keys()
    probe = run_mode("linear_probe", checkpoint, extractor, splits, LearningSettings(aggregate="max"))
    assert len(probe.predictions) == len(splits.evaluate)


def test_thresholds_come_from_records_that_are_not_reported(checkpoint, extractor, splits):
    outcome = run_mode("linear_probe", checkpoint, extractor, splits)
    on_reported = fit_thresholds(outcome.predictions.labels, outcome.predictions.scores)
    assert not np.allclose(outcome.thresholds.values, on_reported.values, equal_nan=True)
    assert outcome.thresholds.judging is None


def test_thresholds_fitted_on_the_reported_records_are_judged_on_other_patients(
    checkpoint, extractor, corpus, tmp_path
):
    splits = Protocol(train_folds=range(1, 5), evaluate_folds=range(5, 10)).split(corpus, extractor)
    learning = LearningSettings(choose_epoch="last", training=QUICK)
    outcome = run_mode("from_scratch", checkpoint, extractor, splits, learning, output_dir=tmp_path / "training")
    thresholds, reported = outcome.thresholds, outcome.predictions
    few = reported.labels.sum(axis=0) < 10
    assert 0 < few.sum() < len(few)
    np.testing.assert_array_equal(np.isnan(thresholds.values), few)
    np.testing.assert_array_equal(thresholds.positives, reported.labels.sum(axis=0))
    # Records of one patient are judged by the same thresholds, which differ between patients.
    ids = reported.patient_ids
    rows = thresholds.judging[:, ~few]
    assert 1 < len({row.tobytes() for row in rows}) <= 5
    for patient in np.unique(ids[ids >= 0]):
        assert len({row.tobytes() for row in rows[ids == patient]}) == 1
    table = {row["code"]: row for row in label_table(reported)}
    for number, code in enumerate(reported.codes):
        row = table[code]
        assert (row["threshold"] is None) == (row["precision"] is None) == (row["recall"] is None) == bool(few[number])
        assert row["threshold_positives"] == reported.labels[:, number].sum()
    # The same holds when the saved classifier is scored on these records again, and from the file of predictions.
    save_classifier(outcome.model, extractor, tmp_path / "out", thresholds=thresholds)
    again = evaluate_as_is(tmp_path / "out", load_extractor(tmp_path / "out"), splits, mode="from_scratch")
    assert other_metrics(again.predictions) == pytest.approx(other_metrics(reported), abs=1e-6)
    reported.save(tmp_path / "predictions.safetensors")
    loaded = Predictions.load(tmp_path / "predictions.safetensors")
    assert other_metrics(loaded) == other_metrics(reported)
    assert other_metrics(loaded)["labels_with_threshold"] == (~few).sum()


def test_a_saved_classifier_is_scored_as_it_is(checkpoint, extractor, splits, tmp_path):
    outcome = run_mode("linear_probe", checkpoint, extractor, splits)
    save_classifier(outcome.model, extractor, tmp_path / "out", thresholds=outcome.thresholds)
    scored = evaluate_as_is(tmp_path / "out", load_extractor(tmp_path / "out"), splits, mode="linear_probe")
    np.testing.assert_allclose(scored.predictions.scores, outcome.predictions.scores, atol=1e-6)
    np.testing.assert_allclose(scored.thresholds.values, outcome.thresholds.values)


def test_predictions_come_back_from_their_file_and_can_be_compared(checkpoint, extractor, splits, tmp_path):
    first = run_mode("linear_probe", checkpoint, extractor, splits).predictions
    second = run_mode(
        "linear_probe", checkpoint, extractor, splits, LearningSettings(seed=5), initialization="random"
    ).predictions
    first.save(tmp_path / "first.safetensors")
    loaded = Predictions.load(tmp_path / "first.safetensors")
    assert loaded.codes == first.codes
    assert (loaded.scores == first.scores).all()
    assert score_interval(loaded, resamples=50) == score_interval(first, resamples=50)
    difference = paired_difference(loaded, second, resamples=50)
    value = score_interval(first, resamples=5).value - score_interval(second, resamples=5).value
    assert difference.value == pytest.approx(value)
    rows = label_table(first)
    assert [row["code"] for row in rows] == ["FAST", "TALL", "RARE"]
    other = Predictions(**{**vars(second), "record_ids": second.record_ids + 1})
    with pytest.raises(EcgError, match="same records"):
        paired_difference(first, other)


def test_depths_rise_from_the_input_to_the_head(checkpoint, splits):
    model = build_classifier(checkpoint, splits.task, readout=Readout("attention"))
    depths = layer_depths(model)
    assert depths["mae_moco.embeddings.cls_token"] == 0
    assert depths["mae_moco.encoder.layer.0.attention.query.weight"] == 1
    assert depths["mae_moco.encoder.layer.1.attention.query.weight"] == 2
    assert {depths[name] for name in ("mae_moco.layernorm.weight", "classifier.weight", "pooling.attention.query")} == {
        3
    }


def test_new_weights_share_the_architecture_and_depend_on_the_seed_alone(checkpoint, splits):
    state = torch.get_rng_state()
    trained = build_classifier(checkpoint, splits.task)
    new, again, other = (
        build_classifier(checkpoint, splits.task, initialization="random", seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(state, torch.get_rng_state())
    for name in ("mae_moco.encoder.layer.0.attention.query.weight", "classifier.weight"):
        weights = [one.state_dict()[name] for one in (trained, new, again, other)]
        assert torch.equal(weights[1], weights[2])
        assert not torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[1], weights[3])
    kept = ("hidden_size", "pooling", "layer", "window_size", "id2label")
    assert all(getattr(new.config, name) == getattr(trained.config, name) for name in kept)


def test_a_frozen_stem_is_trained_where_it_is_random(splits, tmp_path):
    tester = EcgWav2vec2Tester()
    tester.architecture.encoder(tester.get_config()).save_pretrained(tmp_path)
    for start, trained in (("pretrained", False), ("random", True)):
        model = build_classifier(tmp_path, splits.task, initialization=start)
        stem = model.ecg_wav2vec2.feature_extractor
        assert all(parameter.requires_grad == trained for parameter in stem.parameters())


def test_a_contradiction_between_the_two_files_is_refused(checkpoint, tmp_path):
    import shutil

    shutil.copytree(checkpoint, tmp_path / "copy")
    extractor = AutoFeatureExtractor.from_pretrained(checkpoint, sampling_rate=100)
    extractor.save_pretrained(tmp_path / "copy")
    with pytest.raises(CheckpointError, match="sampling_rate is 50"):
        load_extractor(tmp_path / "copy")


def test_facts_of_pretraining_are_read_from_the_run(checkpoint, tmp_path):
    assert pretraining_facts(checkpoint)["records"] == 0
    facts = {"records": 5, "epochs": 2.5, "steps": 7, "hardware": "x", "hours": 0.5, "config": "a.yaml"}
    facts |= {"commit": "abc"}
    (tmp_path / "run.json").write_text(json.dumps(facts | {"peak_memory_bytes": 1}))
    assert pretraining_facts(tmp_path) == facts | {"labels": ""}
    study = {"data_fraction": 0.25, "budget": "steps", "seed": 1, "sampling": "srcl", "same_source": "exclude"}
    (tmp_path / "run.json").write_text(json.dumps(facts | study))
    assert pretraining_facts(tmp_path) == facts | study | {"labels": ""}


def test_an_unknown_mode_is_refused(checkpoint, extractor, splits):
    with pytest.raises(EcgError, match="linear_probe"):
        run_mode("linear", checkpoint, extractor, splits)


def test_attention_is_no_linear_probe(checkpoint, extractor, splits):
    with pytest.raises(EcgError, match="set --mode attentive_probe"):
        run_mode("linear_probe", checkpoint, extractor, splits, LearningSettings(pooling="attention"))


def test_a_family_without_a_classifier_is_refused_by_name(checkpoint, splits, monkeypatch):
    row = replace(ARCHITECTURES["mae_moco"], heads=("encoder", "pretraining"))
    monkeypatch.setitem(ARCHITECTURES, "mae_moco", row)
    with pytest.raises(CheckpointError, match="is a mae_moco, a family without classifier"):
        build_classifier(checkpoint, splits.task)


def test_where_no_epoch_beats_the_probe_the_probe_is_kept_and_fitted_on_everything(
    checkpoint, extractor, splits, tmp_path, caplog
):
    ruinous = {**QUICK, "learning_rate": 10.0, "max_grad_norm": 0.0}
    settings = LearningSettings(training=ruinous, balanced=False)
    outcome = run_mode("fine_tune", checkpoint, extractor, splits, settings, output_dir=tmp_path)
    assert outcome.chosen["epoch"] == 0
    assert set(outcome.history) == {0.0, 1.0, 2.0}
    assert max(outcome.history, key=outcome.history.get) == 0
    assert "the probe is kept" in caplog.text
    probe = run_mode("linear_probe", checkpoint, extractor, splits, LearningSettings(balanced=False))
    np.testing.assert_allclose(outcome.predictions.scores, probe.predictions.scores, atol=1e-5)
    for name, tensor in encoder_of(probe.model).items():
        assert torch.equal(encoder_of(outcome.model)[name], tensor), name
