"""Random numbers per row: independent of the batch around the row, spread as they should be, common where shared."""

import math

import numpy as np
import pytest
import torch

from ecg_transformers.augmentations.row_generator import RowGenerator, _mix
from ecg_transformers.hashing import splitmix64


def take(generator):
    return generator.uniform(5), generator.normal(3, 7), generator.uniform(), generator.normal(4), generator.gumbel(3)


@pytest.mark.parametrize("parts", [[8], [4, 4], [1, 5, 2]])
def test_a_row_gets_the_same_numbers_in_whatever_batch_it_comes(parts):
    whole = take(RowGenerator(8, seed=3))
    starts = np.cumsum([0, *parts[:-1]])
    pieces = [take(RowGenerator(rows, seed=3, first_row=int(start))) for rows, start in zip(parts, starts, strict=True)]
    for number, one in enumerate(whole):
        torch.testing.assert_close(torch.cat([piece[number] for piece in pieces]), one, rtol=1e-6, atol=1e-6)


def test_rows_seeds_and_calls_differ():
    generator = RowGenerator(3, seed=1)
    first, second = generator.uniform(4), generator.uniform(4)
    other = RowGenerator(3, seed=2).uniform(4)
    assert len({tuple(row.tolist()) for row in torch.cat([first, second, other])}) == 9
    assert torch.equal(RowGenerator(3, seed=1).uniform(4), first)


def test_what_is_shared_is_the_same_in_every_process():
    processes = [RowGenerator(4, seed=5, first_row=start, total_rows=8) for start in (0, 4)]
    orders = [torch.randperm(one.total_rows, generator=one.shared) for one in processes]
    assert torch.equal(*orders)
    assert sorted(orders[0].tolist()) == list(range(8))


def test_without_a_seed_the_global_generator_decides():
    torch.manual_seed(0)
    first, second = RowGenerator(2).uniform(3), RowGenerator(2).uniform(3)
    torch.manual_seed(0)
    assert torch.equal(RowGenerator(2).uniform(3), first)
    assert not torch.equal(first, second)


def test_with_a_seed_the_global_generator_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    RowGenerator(7, seed=0).normal(7)
    assert torch.equal(torch.rand(3), expected)


def test_the_hash_is_that_of_numpy():
    numbers = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    mixed = _mix(torch.from_numpy(numbers.view(np.int64).copy()))
    assert np.array_equal(mixed.numpy().view(np.uint64), splitmix64(numbers))


def kolmogorov_smirnov(values, distribution):
    ordered = values.double().sort().values
    steps = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    return (distribution(ordered) - steps).abs().max().item() * math.sqrt(len(ordered))


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_uniform_and_normal_numbers_follow_their_laws_over_rows_and_along_them(seed):
    generator = RowGenerator(400, seed=seed)
    uniform, normal = generator.uniform(250), generator.normal(250)
    assert 0 <= uniform.min() <= uniform.max() < 1
    assert normal.isfinite().all()
    for axis in (uniform.flatten(), uniform[:, 0], uniform[0]):
        # 1.95 is exceeded once in a thousand times.
        assert kolmogorov_smirnov(axis, lambda x: x) < 1.95
    for axis in (normal.flatten(), normal[:, 0], normal[0]):
        assert kolmogorov_smirnov(axis, torch.special.ndtr) < 1.95
    for numbers in (uniform, normal):
        table = numbers - numbers.mean()
        neighbors = [(table[1:] * table[:-1]).mean(), (table[:, 1:] * table[:, :-1]).mean()]
        assert max(abs(value) for value in neighbors) < 4 * table.var() / math.sqrt(table.numel())


def test_the_largest_normal_number_is_finite():
    assert math.sqrt(-2 * math.log(0.5 * 2.0**-32)) < 6.8


def test_gumbel_numbers_have_their_moments_and_are_finite():
    numbers = RowGenerator(50, seed=1).gumbel(40, 101)
    assert numbers.shape == (50, 40, 101)
    assert numbers.isfinite().all()
    assert numbers.mean().item() == pytest.approx(0.57722, abs=0.01)
    assert numbers.var().item() == pytest.approx(math.pi**2 / 6, rel=0.02)
    assert -2.9 < numbers.min() < -2.2
