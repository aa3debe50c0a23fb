"""Patch masks: counts, order, and the way back."""

import torch

from ecg_transformers.objectives.masking import random_patch_mask, restore_patches, select_patches


def test_smallest_noise_stays_visible_in_the_order_of_its_noise():
    mask = random_patch_mask(torch.tensor([[0.9, 0.1, 0.5, 0.3]]), 0.5)
    assert mask.ids_keep.tolist() == [[1, 3]]
    assert mask.patch_mask.tolist() == [[1, 0, 1, 0]]


def test_restoring_puts_every_visible_token_back_in_its_place():
    sequence = torch.randn(3, 8, 5)
    mask = random_patch_mask(torch.rand(3, 8), 0.75)
    token = torch.full((1, 1, 5), 7.0)
    restored = restore_patches(select_patches(sequence, mask.ids_keep), token, mask.ids_restore)
    expected = torch.where(mask.patch_mask[:, :, None].bool(), token, sequence)
    assert torch.equal(restored, expected)


def test_rounding_of_the_count_is_that_of_the_published_code():
    assert random_patch_mask(torch.rand(2, 10), 0.9).ids_keep.shape == (2, 0)
    assert random_patch_mask(torch.rand(2, 7), 0.75).ids_keep.shape == (2, 1)
