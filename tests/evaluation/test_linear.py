"""Linear and attentive probes against scikit-learn, against the checkpoint, and on data that they can learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from ecg_transformers.errors import EcgError
from ecg_transformers.evaluation.probes.attentive import AttentiveSettings, fit_attentive_probe
from ecg_transformers.evaluation.probes.linear import fit_linear_probe, select_linear_probe
from ecg_transformers.inference.encode import Embeddings
from ecg_transformers.metrics.selection import selection_score
from ecg_transformers.objectives.class_weights import class_weights, weighted_losses, window_weights

MULTI, SINGLE = "multi_label_classification", "single_label_classification"


def problem(seed=0, records=400, features=10):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=generator)
    values = torch.randn(records, features, generator=generator) @ mixing * 3 + 7
    logits = (values - 7) @ torch.randn(features, 3, generator=generator) / 8 + torch.tensor([0.0, -1.0, -3.0])
    labels = (torch.rand(records, 3, generator=generator) < logits.sigmoid()).numpy().astype(np.uint8)
    return Embeddings(values, np.arange(records)), labels


def standardized(embeddings):
    values = embeddings.features.double().numpy()
    return (values - values.mean(0)) / values.std(0)


@pytest.mark.parametrize("l2", [0.1, 0.003])
def test_multi_label_probe_equals_scikit_learn(l2):
    embeddings, labels = problem()
    probe = fit_linear_probe(embeddings, labels, problem_type=MULTI, num_labels=3, l2=l2)[0]
    scores = probe.scores(embeddings)
    inputs = standardized(embeddings)
    for k in range(3):
        reference = LogisticRegression(C=1 / (l2 * len(labels)), tol=1e-10, max_iter=2000).fit(inputs, labels[:, k])
        np.testing.assert_allclose(scores[:, k], reference.predict_proba(inputs)[:, 1], atol=2e-3)


def test_single_label_probe_equals_scikit_learn():
    embeddings, labels = problem(records=300)
    classes = labels.argmax(axis=1)
    probe = fit_linear_probe(embeddings, classes, problem_type=SINGLE, num_labels=3, l2=0.01)[0]
    inputs = standardized(embeddings)
    reference = LogisticRegression(C=1 / (0.01 * 300), tol=1e-10, max_iter=2000).fit(inputs, classes)
    np.testing.assert_allclose(probe.scores(embeddings), reference.predict_proba(inputs), atol=2e-3)


def test_regression_probe_equals_ridge():
    embeddings, _ = problem(records=200)
    target = 50 + 10 * embeddings.features[:, :2].numpy().astype(np.float64)
    probe = fit_linear_probe(embeddings, target, problem_type="regression", num_labels=2, l2=0.1)[0]
    inputs = standardized(embeddings)
    reference = Ridge(alpha=0.1 * 200).fit(inputs, target)
    np.testing.assert_allclose(probe.scores(embeddings), reference.predict(inputs), atol=0.02)


def test_a_balanced_probe_equals_scikit_learn_with_balanced_classes():
    embeddings, labels = problem()
    probe = fit_linear_probe(embeddings, labels, problem_type=MULTI, num_labels=3, l2=0.01, balanced=True)[0]
    inputs = standardized(embeddings)
    reference = LogisticRegression(C=1 / (0.01 * 400), class_weight="balanced", tol=1e-10).fit(inputs, labels[:, 2])
    np.testing.assert_allclose(probe.scores(embeddings)[:, 2], reference.predict_proba(inputs)[:, 1], atol=2e-3)


def test_records_count_alike_however_many_windows_they_have():
    embeddings, labels = problem(records=100)
    doubled = Embeddings(
        torch.cat([embeddings.features, embeddings.features[60:]]), np.concatenate([np.arange(100), np.arange(60, 100)])
    )
    order = np.argsort(doubled.record_index, kind="stable")
    doubled = Embeddings(doubled.features[order], doubled.record_index[order])
    probes = [
        fit_linear_probe(one, labels, problem_type=MULTI, num_labels=3, l2=0.01)[0] for one in (embeddings, doubled)
    ]
    torch.testing.assert_close(probes[0].weight, probes[1].weight, atol=2e-3, rtol=2e-2)
    assert window_weights(doubled.record_index).sum() == pytest.approx(1.0)


def test_a_constant_feature_and_a_label_without_positives_do_no_harm():
    embeddings, labels = problem()
    embeddings.features[:, 3] = 5.0
    labels[:, 1] = 0
    probe = fit_linear_probe(embeddings, labels, problem_type=MULTI, num_labels=3, l2=0.01)[0]
    assert torch.isfinite(probe.weight).all()
    assert (probe.scores(embeddings)[:, 1] < 0.01).all()


def test_the_regularization_is_chosen_on_the_held_out_records_alone():
    generator = np.random.default_rng(0)
    features = torch.from_numpy(generator.normal(size=(120, 60))).float()
    labels = (features[:, :1].numpy() + generator.normal(size=(120, 1)) > 0).astype(np.uint8)
    held_out = [np.arange(120) % 3 == k for k in range(3)]
    probe, chosen = select_linear_probe(
        Embeddings(features, np.arange(120)), labels, held_out, problem_type=MULTI, num_labels=1, l2=(1e-4, 0.3)
    )
    assert chosen.chosen == probe.l2 == max(chosen.scores, key=chosen.scores.get)
    assert set(chosen.scores) == {1e-4, 0.3}
    assert chosen.labels.shape == chosen.probabilities.shape == (120, 1)
    own = selection_score(chosen.labels, chosen.probabilities, MULTI)
    assert own == pytest.approx(chosen.scores[chosen.chosen])
    assert selection_score(labels, probe.scores(Embeddings(features, np.arange(120))), MULTI) > own


def test_without_refit_the_held_out_records_teach_nothing():
    embeddings, labels = problem(records=100)
    mask = np.arange(100) >= 80
    probe, _ = select_linear_probe(
        embeddings, labels, [mask], problem_type=MULTI, num_labels=3, l2=(0.01,), refit=False
    )
    alone = fit_linear_probe(embeddings.select(~mask), labels[~mask], problem_type=MULTI, num_labels=3, l2=0.01)[0]
    torch.testing.assert_close(probe.weight, alone.weight)


def test_targets_of_other_records_are_refused():
    embeddings, labels = problem(records=50)
    with pytest.raises(EcgError, match="49 targets for 50"):
        fit_linear_probe(embeddings, labels[:49], problem_type=MULTI, num_labels=3, l2=0.1)


def token_problem(records=300, mask=False):
    """One token of each record carries the label; the mean of all tokens hardly does."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(records, 12, 16, generator=generator)
    label = torch.arange(records) % 2
    place = torch.randint(0, 8, (records,), generator=generator)
    tokens[torch.arange(records), place, 0] = 12.0
    tokens[torch.arange(records), place, 1] = 3.0 * (2 * label - 1).float()
    token_mask = (torch.arange(12) < 8).expand(records, 12).clone() if mask else None
    if mask:
        tokens[:, 8:] = 1e3
    labels = label[:, None].numpy().astype(np.uint8)
    return Embeddings(tokens.mean(1), np.arange(records), tokens.to(torch.bfloat16), token_mask), labels


@pytest.mark.parametrize("mask", [False, True])
def test_the_attentive_probe_finds_the_token_that_knows(mask):
    embeddings, labels = token_problem(mask=mask)
    held_out = np.arange(300) % 5 == 3
    settings = AttentiveSettings(learning_rate=1e-2, epochs=15, batch_size=32, patience=15)
    probe, chosen = fit_attentive_probe(
        embeddings, labels, held_out, problem_type=MULTI, num_labels=1, settings=settings
    )
    assert max(probe.history) > 0.95
    assert probe.history[int(chosen.chosen) - 1] == max(probe.history)
    again, _ = fit_attentive_probe(embeddings, labels, held_out, problem_type=MULTI, num_labels=1, settings=settings)
    np.testing.assert_allclose(again.scores(embeddings), probe.scores(embeddings), atol=1e-4)


def test_an_attentive_probe_ends_when_the_held_out_score_no_longer_rises():
    embeddings, labels = token_problem()
    settings = AttentiveSettings(learning_rate=0.0, epochs=15, patience=2)
    probe, chosen = fit_attentive_probe(
        embeddings, labels, np.arange(300) % 5 == 3, problem_type=MULTI, num_labels=1, settings=settings
    )
    assert (len(probe.history), chosen.chosen) == (3, 1.0)


def test_an_attentive_probe_without_tokens_is_refused():
    embeddings, labels = problem(records=50)
    with pytest.raises(EcgError, match="tokens=True"):
        fit_attentive_probe(embeddings, labels, np.arange(50) < 5, problem_type=MULTI, num_labels=3)


def test_class_weights_balance_the_two_sides():
    targets = np.array([[1, 0], [0, 0], [0, 0], [0, 0]])
    weights = class_weights(targets, MULTI, 2)
    torch.testing.assert_close(weights, torch.tensor([[4 / 6, 1.0], [2.0, 1.0]]))
    single = class_weights(np.array([0, 0, 0, 2]), SINGLE, 3)
    torch.testing.assert_close(single, torch.tensor([4 / 6, 1.0, 2.0]))
    assert class_weights(np.ones((3, 1)), "regression", 1) is None
    losses = weighted_losses(torch.zeros(4, 2), torch.tensor(targets), MULTI, weights)
    torch.testing.assert_close(losses[0], np.log(2) * torch.tensor([2.0, 1.0]).mean())
