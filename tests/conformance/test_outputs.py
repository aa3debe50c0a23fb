"""Outputs that every registered class must give: attention kernels, masks, tuples, the extractor's whole batch."""

import numpy as np
import pytest
import torch

from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import SignalError
from ecg_transformers.modeling import Encoder


def run(model, inputs, **keywords):
    with torch.no_grad():
        return model(**inputs, **keywords)


def needs_attention(tester) -> None:
    if not tester.has_attentions:
        pytest.skip("this architecture has no attention")


def test_eager_and_fused_attention_agree(tester, model_class):
    needs_attention(tester)
    model = tester.trained(model_class)
    inputs = tester.inputs_for(model_class)
    outputs = {}
    for kernel in ("eager", "sdpa"):
        model.set_attn_implementation(kernel)
        outputs[kernel] = run(model, inputs)
    for name, value in outputs["eager"].items():
        torch.testing.assert_close(outputs["sdpa"][name], value, rtol=1e-5, atol=1e-5, msg=name)


def test_attention_weights_are_distributions_over_tokens_with_signal(tester, model_class):
    needs_attention(tester)
    model = tester.trained(model_class)
    model.set_attn_implementation("eager")
    inputs = tester.inputs_for(model_class)
    attentions = run(model, inputs, output_attentions=True).attentions
    assert [tuple(weights.shape) for weights in attentions] == tester.attention_shapes
    for weights in attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3]))
        if tester.takes_attention_mask:
            absent = ~model.base_model.token_mask(inputs["attention_mask"])
            assert absent.any()
            assert weights.permute(0, 3, 1, 2)[absent].max() == 0


def test_hidden_states_begin_with_the_tokens_and_have_one_entry_per_layer(tester, model_class):
    model = tester.trained(model_class)
    states = run(model, tester.inputs_for(model_class), output_hidden_states=True).hidden_states
    assert [tuple(state.shape) for state in states] == [
        (tester.batch_size, *shape) for shape in tester.hidden_state_shapes
    ]


def test_the_encoder_gives_one_vector_per_token_and_per_record(tester):
    model = tester.trained(tester.architecture.encoder)
    output = run(model, tester.signal_inputs())
    assert output.last_hidden_state.shape == (tester.batch_size, tester.seq_length, tester.hidden_size)
    assert output.pooler_output.shape == (tester.batch_size, model.config.pooled_size)


def test_tuples_hold_the_same_values_as_named_outputs(tester, model_class):
    model = tester.trained(model_class)
    if tester.has_attentions:
        model.set_attn_implementation("eager")
    inputs = tester.inputs_for(model_class)
    for keywords in (
        {},
        {"output_hidden_states": True, **({"output_attentions": True} if tester.has_attentions else {})},
    ):
        named = run(model, inputs, **keywords)
        plain = run(model, inputs, return_dict=False, **keywords)
        assert isinstance(plain, tuple)
        assert len(plain) == len(named)
        for number, (name, value) in enumerate(named.items()):
            values = zip(value, plain[number], strict=True) if isinstance(value, tuple) else [(value, plain[number])]
            for found, expected in values:
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=name)
            assert value is named[number]


def test_padding_changes_nothing_or_is_refused(tester):
    model = tester.trained(tester.architecture.encoder)
    inputs = tester.signal_inputs()
    if not tester.takes_attention_mask:
        mask = torch.ones(tester.batch_size, tester.input_shape[1], dtype=torch.long)
        whole = run(model, inputs, attention_mask=mask).pooler_output
        torch.testing.assert_close(whole, run(model, inputs).pooler_output, rtol=1e-5, atol=1e-5)
        mask[1, -1] = 0
        # A method that makes views of whole windows gets no mask here, although its backbone may take one.
        if type(getattr(model, "backbone", model)).token_mask is Encoder.token_mask:
            with pytest.raises(SignalError, match="takes no padding"):
                run(model, inputs, attention_mask=mask)
        return
    other = {**inputs, "input_values": inputs["input_values"].masked_fill(inputs["attention_mask"][:, None] == 0, 7.0)}
    assert not torch.equal(other["input_values"], inputs["input_values"])
    torch.testing.assert_close(run(model, other).pooler_output, run(model, inputs).pooler_output, rtol=1e-6, atol=1e-6)


def test_an_absent_lead_counts_as_zero(tester):
    model = tester.trained(tester.architecture.encoder)
    inputs = tester.signal_inputs()
    lead_mask = torch.ones(tester.batch_size, tester.input_shape[0], dtype=torch.long)
    lead_mask[1, 0] = 0
    silent = inputs["input_values"].clone()
    silent[1, 0] = 0
    expected = run(model, {**inputs, "input_values": silent}).pooler_output
    for given in (lead_mask, lead_mask.bool()):
        masked = run(model, inputs, lead_mask=given).pooler_output
        torch.testing.assert_close(masked, expected, rtol=1e-5, atol=1e-5)


def test_in_evaluation_the_loss_of_a_batch_is_the_mean_over_its_records(tester, classifier):
    model = tester.trained(classifier)
    inputs = tester.inputs_for(classifier)
    rows = range(tester.batch_size)
    losses = [run(model, {name: value[row : row + 1] for name, value in inputs.items()}).loss for row in rows]
    torch.testing.assert_close(torch.stack(losses).mean(), run(model, inputs).loss, rtol=1e-5, atol=1e-6)


def test_in_training_a_record_sees_its_batch_only_through_batchnorm(tester):
    model = tester.trained(tester.architecture.encoder).train()
    inputs = tester.signal_inputs()
    first = {name: value[:2] for name, value in inputs.items()}
    alike = torch.allclose(run(model, inputs).pooler_output[:2], run(model, first).pooler_output, rtol=1e-5, atol=1e-5)
    assert alike == tester.records_are_independent
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    assert bool(norms) != tester.records_are_independent


def test_windows_of_any_length_where_the_architecture_takes_them(tester, model_class):
    model, inputs = tester.trained(model_class), tester.inputs_for(model_class)
    assert model.takes_any_window == tester.takes_any_window
    if not tester.takes_any_window:
        pytest.skip("this architecture takes windows of one length; that others are refused is tested below")
    inputs.pop("attention_mask", None)
    for samples in (tester.shortest_window, tester.input_shape[1] - 1, 3 * tester.input_shape[1]):
        signal = torch.randn(tester.batch_size, tester.input_shape[0], samples)
        if model_class is tester.architecture.pretraining:
            model.resize_window(samples)
            inputs = model.apply_draws({"input_values": signal}, model.draw(RowGenerator(len(signal), seed=0)))
        output = run(model, {**inputs, "input_values": signal})
        assert all(value.isfinite().all() for value in output.values())


def test_a_model_takes_everything_that_its_extractor_gives(tester, model_class):
    extractor = tester.architecture.feature_extractor()
    config = tester.get_config(
        **{name: getattr(extractor, name) for name in ("num_leads", "sampling_rate", "window_size")},
        **({"patch_size": extractor.patch_size} if extractor.patch_size else {}),
    )
    model = model_class(config).eval()
    signal = np.random.default_rng(0).normal(size=(extractor.num_leads, 2 * extractor.window_size + 50))
    peaks = {"peaks": [extractor.samples_before, 500]} if extractor.window_mode == "beats" else {}
    batch = extractor(signal, sampling_rate=extractor.sampling_rate, return_tensors="pt", **peaks)
    assert len(batch["input_values"]) > 1
    assert "record_index" in batch
    output = run(model, batch)
    assert all(value.isfinite().all() for value in output.values())


def test_a_misfit_is_an_error_that_names_both_shapes(tester):
    model = tester.trained(tester.architecture.encoder)
    leads, samples = tester.input_shape
    shapes = [(2, leads + 1, samples), (leads, samples), (2, samples, leads)]
    shapes += [(2, leads, 0)] if tester.takes_any_window else [(2, leads, samples + 1)]
    wanted = "samples" if tester.takes_any_window else f"{samples} samples"
    for shape in shapes:
        with pytest.raises(SignalError, match=rf"{shape[-2]}.*{shape[-1]}.*{leads} leads.*{wanted}"):
            model(torch.zeros(shape))
