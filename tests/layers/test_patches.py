"""Patches and back, and the two embeddings."""

import torch
from torch.nn import functional

from ecg_transformers.features.steps import patchify, unpatchify
from ecg_transformers.layers.patches import LinearPatchEmbedding


def test_layout_is_sample_major_lead_fastest():
    x = torch.arange(2 * 3 * 50.0).reshape(2, 3, 50)
    patches = patchify(x, 25)
    for patch in range(2):
        for sample in (0, 7, 24):
            for lead in range(3):
                assert torch.equal(patches[:, patch, sample * 3 + lead], x[:, lead, 25 * patch + sample])
    assert torch.equal(unpatchify(patches, 3), x)


def test_linear_embedding_equals_the_strided_convolution():
    embedding = LinearPatchEmbedding(3, 25, 8).double()
    x = torch.randn(2, 3, 100).double()
    expected = functional.conv1d(x, embedding.weight, embedding.bias, stride=25).transpose(1, 2)
    torch.testing.assert_close(embedding(patchify(x, 25)), expected, rtol=0, atol=1e-12)
