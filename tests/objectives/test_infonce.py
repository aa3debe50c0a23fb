"""InfoNCE against a written-out loop, closed forms and finite differences."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from ecg_transformers.objectives.infonce import info_nce, matrix_info_nce, unit_of_constant_norm
from ecg_transformers.objectives.precision import similarities


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def written_out(queries, keys, negatives, temperature, left_out):
    losses = []
    for i in range(len(queries)):
        own = math.exp(float(queries[i] @ keys[i]) / temperature)
        others = [
            math.exp(float(queries[i] @ negatives[:, j]) / temperature)
            for j in range(negatives.shape[1])
            if not left_out[i, j]
        ]
        losses.append(-math.log(own / (own + sum(others))))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 8), (5, 2)])
def test_equals_the_written_out_sum(batch, length, temperature):
    queries, keys, negatives = unit(batch, 4), unit(batch, 4, seed=1), unit(length, 4, seed=2).T
    mask = torch.rand(batch, length, generator=torch.Generator().manual_seed(3)) < 0.4
    result = info_nce(queries, keys, negatives, temperature, left_out=mask)
    assert result.loss.item() == pytest.approx(written_out(queries, keys, negatives, temperature, mask), abs=1e-12)
    assert result.logits.shape == (batch, 1 + length)
    assert result.num_positives == 0


def test_equal_vectors_give_the_logarithm_of_the_count():
    queries = unit(1, 4).expand(6, 4)
    assert info_nce(queries, queries, queries.T, 0.2).loss.item() == pytest.approx(math.log(7), abs=1e-12)


def test_everything_masked_leaves_no_loss():
    left_out = torch.ones(3, 5, dtype=torch.bool)
    assert info_nce(unit(3, 4), unit(3, 4, seed=1), unit(5, 4, seed=2).T, 0.2, left_out=left_out).loss == 0


def test_gradient_equals_finite_differences():
    queries = unit(3, 4).requires_grad_()
    keys, negatives = unit(3, 4, seed=1), unit(6, 4, seed=2).T
    assert torch.autograd.gradcheck(lambda q: info_nce(q, keys, negatives, 0.2).losses, (queries,))


def test_similarities_under_autocast_are_those_of_float32():
    queries, columns = unit(8, 64).float(), unit(4096, 64, seed=1).float().T
    exact = queries @ columns
    with torch.autocast("cpu", dtype=torch.bfloat16):
        products = similarities(queries, columns)
        logits = info_nce(queries, queries, columns, 0.2).logits
    assert products.dtype == logits.dtype == torch.float32
    assert torch.equal(products.argmax(dim=1), exact.argmax(dim=1))
    assert torch.equal(logits[:, 1:].topk(50).indices, exact.topk(50).indices)
    assert min(len(row.unique()) for row in logits) > 4000


@pytest.mark.parametrize(("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_similarities_have_at_least_float32(dtype, expected):
    assert similarities(unit(3, 4).to(dtype), unit(5, 4).to(dtype).T).dtype == expected


def test_half_precision_is_finite():
    assert info_nce(unit(3, 4).bfloat16(), unit(3, 4).bfloat16(), unit(6, 4).T.bfloat16(), 0.2).loss.isfinite()


def test_a_matrix_is_contrasted_in_both_directions():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    positives = torch.tensor([[True, True, False, False], [False, True, False, False], [False, False, False, True]])
    losses = []
    for matrix, pairs in ((logits, positives), (logits.T, positives.T)):
        losses.append(
            sum(
                math.log(sum(math.exp(float(value)) for value in matrix[i])) - float(matrix[i, j])
                for i, j in pairs.nonzero()
            )
            / int(pairs.sum())
        )
    contrast = matrix_info_nce(logits, positives)
    assert contrast.loss.item() == pytest.approx(sum(losses) / 2, rel=1e-12)
    assert matrix_info_nce(logits[:1, :1], positives[:1, :1]).loss == 0
    assert torch.autograd.gradcheck(lambda x: matrix_info_nce(x, positives).loss, [logits.requires_grad_()])


def test_accuracy_of_a_matrix_is_the_mean_over_rows_and_columns():
    logits = torch.tensor([[5.0, 9.0], [0.0, 7.0]])
    assert matrix_info_nce(logits, torch.eye(2, dtype=torch.bool)).accuracy == (0.5 + 0.5) / 2
    assert matrix_info_nce(logits, torch.ones(2, 2, dtype=torch.bool)).accuracy == 1


def test_one_positive_per_row_is_plain_infonce_of_both_directions():
    first, second = unit(5, 6), unit(5, 6, seed=1)
    left_out = torch.eye(5, dtype=torch.bool)
    both = [
        info_nce(rows, columns, columns.T, 0.2, left_out=left_out).loss
        for rows, columns in ((first, second), (second, first))
    ]
    matrix = matrix_info_nce(similarities(first, second.T) / 0.2, left_out)
    torch.testing.assert_close(matrix.loss, torch.stack(both).mean())


def test_the_norm_of_a_unit_vector_has_no_gradient():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    y = unit_of_constant_norm(x)
    torch.testing.assert_close(y, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    y[0].sum().backward()
    torch.testing.assert_close(x.grad[0], torch.tensor([0.2, 0.2]))
