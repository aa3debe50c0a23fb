"""ArcFace against values recorded from the official code, at the ends of the cosine, under autocast."""

import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from ecg_transformers.layers.arcface import ArcFaceHead


@pytest.fixture(scope="module")
def recorded(recorded_metrics):
    return load_file(recorded_metrics.parent / "w2v_cmsc_rlm" / "arcface_unit.safetensors")


@pytest.mark.parametrize(("scale", "margin"), [(192.0, 1.0), (32.0, 0.5)])
def test_logits_loss_and_gradients_are_the_recorded_ones(recorded, scale, margin):
    start = f"s{scale:g}_m{margin}."
    case = {name.removeprefix(start): value for name, value in recorded.items() if name.startswith(start)}
    head = ArcFaceHead(16, 5, scale=scale, margin=margin)
    head.kernel.data.copy_(case["kernel"])
    embeddings = case["embedding"].requires_grad_()
    torch.testing.assert_close(head.cosines(embeddings), case["cosine"], rtol=1e-5, atol=1e-6)
    logits = head(embeddings, case["label"])
    torch.testing.assert_close(logits, case["logits"], rtol=1e-4, atol=1e-5 * scale)
    loss = functional.cross_entropy(logits, case["label"], reduction="sum")
    torch.testing.assert_close(loss, case["loss_sum"], rtol=1e-5, atol=0)
    loss.backward()
    for name, found in (("embedding", embeddings.grad), ("kernel", head.kernel.grad)):
        torch.testing.assert_close(found, case[f"grad_{name}"], rtol=1e-3, atol=1e-4 * float(found.abs().max()))
    own = case["cosine"].gather(1, case["label"][:, None])
    assert (own <= math.cos(math.pi - margin)).any()  # one sample lies where the logit has its other form


def test_the_margin_is_on_the_own_class_in_training_alone():
    torch.manual_seed(0)
    head = ArcFaceHead(4, 3, scale=10.0, margin=0.5)
    torch.nn.init.normal_(head.kernel)
    embeddings, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
    plain, with_margin = head(embeddings), head(embeddings, labels)
    torch.testing.assert_close(plain, 10 * functional.cosine_similarity(embeddings[:, None], head.kernel[None], dim=2))
    own = functional.one_hot(labels, 3).bool()
    assert torch.equal(plain[~own], with_margin[~own])
    assert (with_margin[own] < plain[own]).all()
    angles = (plain[own] / 10).arccos()
    inside = angles + 0.5 < math.pi
    torch.testing.assert_close(with_margin[own][inside], 10 * (angles + 0.5).cos()[inside], rtol=1e-4, atol=1e-4)


def test_gradients_are_finite_where_embedding_and_direction_agree_or_oppose():
    head = ArcFaceHead(3, 2, scale=192.0, margin=1.0)
    head.kernel.data.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    embeddings = torch.tensor([[2.0, 0.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0, 1, 0])
    functional.cross_entropy(head(embeddings, labels), labels).backward()
    assert embeddings.grad.isfinite().all()
    assert head.kernel.grad.isfinite().all()


def test_under_autocast_cosines_stay_in_float32():
    torch.manual_seed(0)
    head = ArcFaceHead(64, 50, scale=192.0, margin=1.0)
    torch.nn.init.normal_(head.kernel)
    embeddings = torch.randn(4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head(embeddings)
    assert torch.equal(found, head(embeddings))
