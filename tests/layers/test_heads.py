"""Classification heads: which layers they have for which settings, and what they do with dropout and BatchNorm."""

import pytest
import torch
from torch import nn

from ecg_transformers.layers.heads import ProjectionHead, classification_layers


def words(head):
    """The layers as short words, with their sizes and shares."""
    layers = [head] if isinstance(head, nn.Linear) else list(head)
    return [
        f"linear {layer.in_features} {layer.out_features}" if isinstance(layer, nn.Linear)
        else f"norm {layer.num_features}" if isinstance(layer, nn.BatchNorm1d)
        else f"dropout {layer.p}" if isinstance(layer, nn.Dropout)
        else "relu"
        for layer in layers
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hidden_sizes", "dropout", "batch_norm", "expected"),
    [
        ((), 0.0, False, ["linear 20 4"]),
        ((), 0.5, False, ["dropout 0.5", "linear 20 4"]),
        ((), 0.0, True, ["norm 20", "linear 20 4"]),
        ((), 0.5, True, ["norm 20", "dropout 0.5", "linear 20 4"]),
        ((7,), 0.0, False, ["linear 20 7", "relu", "linear 7 4"]),
        ((7,), 0.0, True, ["norm 20", "linear 20 7", "relu", "norm 7", "linear 7 4"]),
        ((7,), 0.5, False, ["dropout 0.25", "linear 20 7", "relu", "dropout 0.5", "linear 7 4"]),
        (
            (9, 7),
            0.2,
            True,
            [
                *("norm 20", "dropout 0.1", "linear 20 9", "relu"),
                *("norm 9", "dropout 0.1", "linear 9 7", "relu"),
                *("norm 7", "dropout 0.2", "linear 7 4"),
            ],
        ),
    ],
)
def test_the_layers_for_every_setting(hidden_sizes, dropout, batch_norm, expected):
    head = classification_layers(20, 4, hidden_sizes=hidden_sizes, dropout=dropout, batch_norm=batch_norm)
    assert words(head) == expected
    assert head.eval()(torch.zeros(3, 20)).shape == (3, 4)


def test_the_head_of_the_benchmark_has_its_parameters():
    head = classification_layers(512, 71, hidden_sizes=(128,), dropout=0.5, batch_norm=True)
    assert words(head) == [
        *("norm 512", "dropout 0.25", "linear 512 128", "relu"),
        *("norm 128", "dropout 0.5", "linear 128 71"),
    ]
    assert sum(parameter.numel() for parameter in head.parameters()) == 962_503 - 886_400


def test_evaluation_is_deterministic_and_training_drops_and_normalizes():
    torch.manual_seed(0)
    head = classification_layers(20, 4, hidden_sizes=(7,), dropout=0.5, batch_norm=True)
    pooled = 3 + torch.randn(64, 20)
    torch.testing.assert_close(head.eval()(pooled), head(pooled), rtol=0, atol=1e-6)
    assert not torch.allclose(head.train()(pooled), head(pooled), rtol=0, atol=1e-3)
    norm = head[0]
    assert norm.num_batches_tracked == 2
    torch.testing.assert_close(norm.running_mean, (1 - 0.9**2) * pooled.mean(0), rtol=1e-5, atol=1e-5)


def test_a_projection_begins_with_a_linear_layer_and_ends_without_relu_unless_asked():
    torch.manual_seed(0)
    hidden = torch.randn(16, 6)
    plain = ProjectionHead([6, 5, 4])
    assert plain(hidden).shape == (16, 4)
    assert plain(hidden).min() < 0
    assert ProjectionHead([6, 5, 4], last_relu=True)(hidden).min() == 0
    norms = [layer.norm for layer in plain.layers]
    assert [norm.affine for norm in norms] == [True, False]
    assert all(layer.linear.bias is None for layer in plain.layers)
    assert all(layer.linear.bias is not None for layer in ProjectionHead([6, 4], bias=True).layers)
    assert ProjectionHead([6, 4], last_affine=True).layers[0].norm.affine
