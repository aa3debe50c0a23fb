"""Which beats are no negatives: by a slow loop, unknown recordings, ties."""

import pytest
import torch

from ecg_transformers.errors import CheckpointError
from ecg_transformers.objectives.negatives import excluded_negatives
from ecg_transformers.objectives.ntxent import nt_xent


def beats(count=7):
    return torch.randn(count, 2, 9, generator=torch.Generator().manual_seed(0))


def test_equal_to_a_loop_over_pairs():
    x, parents, starts = beats(), torch.tensor([0, 0, 0, 1, 1, -1, -1]), torch.tensor([0, 50, 500, 0, 120, 3, 4])
    same = excluded_negatives("exclude_same_record", x, parent_ids=parents)
    near = excluded_negatives("exclude_neighbors", x, parent_ids=parents, starts=starts, neighbor_samples=100)
    nearest = excluded_negatives("exclude_nearest", x, num_nearest=2)
    for row in range(7):
        distances = [((x[row] - x[other]).square().mean().item(), other) for other in range(7) if other != row]
        closest = {other for _, other in sorted(distances)[:2]}
        for column in range(7):
            # Nothing is known of the last two.
            alike = bool(parents[row] == parents[column] != -1)
            assert same[row, column] == alike
            assert near[row, column] == (alike and abs(starts[row] - starts[column]) <= 100)
            assert nearest[row, column] == (column in closest)
    assert excluded_negatives("all", x) is None


def test_of_equally_near_beats_the_first_is_left_out():
    excluded = excluded_negatives("exclude_nearest", torch.ones(4, 1, 3), num_nearest=1)
    assert excluded.nonzero().tolist() == [[0, 1], [1, 0], [2, 0], [3, 0]]


def test_what_is_needed_is_said():
    with pytest.raises(CheckpointError, match="no starts"):
        excluded_negatives("exclude_neighbors", beats(), parent_ids=torch.zeros(7))


def test_without_any_negative_the_loss_is_0_and_the_order_of_the_beats_does_not_matter():
    views = torch.nn.functional.normalize(torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(3)), dim=2)
    assert nt_xent(views, 0.5, excluded=torch.ones(6, 6, dtype=torch.bool)).loss == 0
    excluded = torch.rand(6, 6, generator=torch.Generator().manual_seed(4)) < 0.3
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = nt_xent(views[order], 0.5, excluded=excluded[order][:, order]).loss
    torch.testing.assert_close(shuffled, nt_xent(views, 0.5, excluded=excluded).loss)
