"""`torch.export` of every encoder: one graph for a fixed batch, one for any batch, the numbers of the eager model."""

import pytest
import torch
from torch.export import Dim

from ecg_transformers.exporting.graph import recurrent_layers

from ..testers.tester import testers


def forward_pass(tester):
    """What makes its graph: the code of the encoder, and of its backbone."""
    return tester.architecture.encoder.forward, tester.config_fields.get("backbone_config", {}).get("model_type")


@pytest.fixture(autouse=True)
def one_of_each_backbone(tester):
    """Families that train any backbone have one forward pass: each backbone is exported once."""
    alike = [make for make in testers().values() if forward_pass(make()) == forward_pass(tester)]
    if forward_pass(tester)[1] and alike[0] is not type(tester):
        pytest.skip(f"exported as {alike[0].__name__}")


def exported(tester, kernel: str, dynamic_shapes=None):
    if kernel == "sdpa" and not tester.has_attentions:
        pytest.skip("this architecture has no attention: there is no other kernel")
    model = tester.trained(tester.architecture.encoder)
    if tester.has_attentions:
        model.set_attn_implementation(kernel)
    inputs = tester.signal_inputs()
    program = torch.export.export(model, (), inputs, dynamic_shapes=dynamic_shapes, strict=False)
    return model, inputs, program.module()


def assert_equal_outputs(model, run, inputs) -> None:
    with torch.no_grad():
        want, got = model(**inputs), run(**inputs)
    for name in ("last_hidden_state", "pooler_output"):
        torch.testing.assert_close(got[name], want[name], rtol=1e-5, atol=1e-5, msg=name)


def test_the_encoder_exports_for_a_fixed_batch(tester):
    model, inputs, run = exported(tester, "sdpa" if tester.has_attentions else "eager")
    assert_equal_outputs(model, run, inputs)


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_the_encoder_exports_for_any_batch(tester, kernel):
    batch = torch.export.Dim("batch", min=1, max=512)
    shapes = {name: {0: batch} for name in tester.signal_inputs()}
    model, inputs, run = exported(tester, kernel, shapes)
    assert_equal_outputs(model, run, inputs)
    for size in (1, 9):
        generator = torch.Generator().manual_seed(size)
        other = {
            name: value[:1].expand(size, *value.shape[1:]).contiguous()
            if name == "attention_mask"
            else torch.randn(size, *value.shape[1:], generator=generator)
            for name, value in inputs.items()
        }
        assert_equal_outputs(model, run, other)


def test_the_encoder_exports_for_any_window_with_masks(tester):
    if not tester.takes_any_window:
        pytest.skip("this architecture takes one window length")
    model = tester.trained(tester.architecture.encoder)
    leads, samples = tester.input_shape

    def inputs(batch: int, samples: int, seed: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        masks = {"attention_mask": torch.ones(batch, samples, dtype=torch.long), "lead_mask": torch.ones(batch, leads)}
        masks["lead_mask"][-1, 0] = 0
        return {"input_values": torch.randn(batch, leads, samples, generator=generator), **masks}

    dynamic = {"input_values": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC}, "attention_mask": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}}
    dynamic["lead_mask"] = {0: Dim.DYNAMIC}
    with recurrent_layers(model):
        program = torch.export.export(model, (), inputs(2, samples, 0), dynamic_shapes=dynamic, strict=False)
    run = program.module(check_guards=False)
    for batch, length in ((1, samples), (3, samples + 7), (2, 2 * samples)):
        other = inputs(batch, length, seed=length)
        assert_equal_outputs(model, run, other)
