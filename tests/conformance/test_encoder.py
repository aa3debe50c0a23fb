"""The contract of every encoder: token mask, pooling, layers, truncation, groups of parts, windows, leftovers."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from ecg_transformers.errors import CheckpointError
from ecg_transformers.inference.encode import embed_windows
from ecg_transformers.modeling import Encoder
from ecg_transformers.readout import Readout


@pytest.fixture
def encoder(tester) -> Encoder:
    return tester.trained(tester.architecture.encoder)


def layer_modules(encoder) -> list[torch.nn.Module]:
    """The parts that belong to single layers, in order: the last module list of the layer groups."""
    names = [part for group in encoder.layer_groups() for part in group if part.rsplit(".", 1)[-1].isdigit()]
    parent = names[-1].rsplit(".", 1)[0]
    return list(encoder.get_submodule(parent))


def test_the_token_mask_is_none_or_one_flag_per_token(tester, encoder):
    inputs = tester.signal_inputs()
    assert encoder.token_mask(None) is None
    if tester.takes_attention_mask:
        mask = encoder.token_mask(inputs["attention_mask"])
        assert mask.dtype == torch.bool
        assert mask.shape == (tester.batch_size, tester.seq_length)
        assert mask[0].all()
        assert not mask[-1].all()
        assert not encoder.has_cls_token or mask[:, 0].all()


@torch.no_grad()
def test_pool_gives_the_pooler_output(tester, encoder):
    inputs = tester.signal_inputs()
    output = encoder(**inputs)
    pooled = encoder.pool(output.last_hidden_state, encoder.token_mask(inputs.get("attention_mask")))
    assert torch.equal(pooled, output.pooler_output)
    assert pooled.shape[1] == encoder.config.pooled_size


@torch.no_grad()
def test_pool_leaves_out_tokens_without_signal(encoder):
    if encoder.has_cls_token:
        pytest.skip("[CLS] is always there")
    tokens = torch.randn(2, 5, 6)
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    torch.testing.assert_close(encoder.pool(tokens, mask), encoder.pool(tokens[:, :3]))


@torch.no_grad()
def test_layers_are_numbered_like_hidden_states_and_have_the_width_that_is_said(tester, encoder):
    states = encoder(**tester.signal_inputs(), output_hidden_states=True).hidden_states
    assert len(states) == encoder.num_layers + 1 == tester.num_hidden_layers + 1
    for number, state in enumerate(states):
        assert encoder.layer_size(number) == encoder.layer_size(number - len(states)) == state.shape[2]
    assert encoder.layer_numbers([0, -1]) == [0, encoder.num_layers]
    for wrong in (len(states), -len(states) - 1, [], [0, len(states)]):
        with pytest.raises(CheckpointError, match=f"from {-len(states)} to {len(states) - 1}"):
            encoder.layer_numbers(wrong)
    with pytest.raises(CheckpointError, match="twice"):
        encoder.layer_numbers([1, 1 - len(states)])


@torch.no_grad()
def test_an_inner_layer_is_normalized_and_pooled_by_the_encoder_itself(tester, encoder):
    inputs = tester.signal_inputs()
    outputs = encoder(**inputs, output_hidden_states=True)
    mask = encoder.token_mask(inputs.get("attention_mask"))
    for number in range(encoder.num_layers):
        want = encoder.pool(encoder.normalize_layer(outputs.hidden_states[number]), mask)
        torch.testing.assert_close(embed_windows(encoder, inputs, Readout("cls", number)), want)
        if tester.has_attentions:
            plain = torch.nn.LayerNorm(want.shape[-1], eps=1e-6, elementwise_affine=False)
            torch.testing.assert_close(encoder.normalize_layer(outputs.hidden_states[number]),
                                       plain(outputs.hidden_states[number]))  # fmt: skip
    for number in (-1, encoder.num_layers):
        assert torch.equal(embed_windows(encoder, inputs, Readout("cls", number)), outputs.pooler_output)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "cls_mean"])
def test_several_layers_are_joined_in_order(tester, encoder, pooling):
    inputs, layers = tester.signal_inputs(), [-1, 0, 1]
    single = [embed_windows(encoder, inputs, Readout(pooling, layer)) for layer in layers]
    torch.testing.assert_close(embed_windows(encoder, inputs, Readout(pooling, layers)), torch.cat(single, 1))
    assert encoder.make_pooling(Readout(pooling, layers)).output_size == sum(vector.shape[1] for vector in single)
    with pytest.raises(CheckpointError, match="one layer"):
        encoder.make_pooling(Readout("attention", layers))


@torch.no_grad()
def test_layers_above_the_last_one_named_are_not_run(tester, encoder):
    calls = []
    for number, module in enumerate(layer_modules(encoder), start=1):
        module.register_forward_hook(lambda *_, number=number: calls.append(number))
    inputs = tester.signal_inputs()
    for layer, run in ((-1, encoder.num_layers), (1, 1), ([0, 1], 1), (0, 0), (-2, encoder.num_layers - 1)):
        calls.clear()
        embed_windows(encoder, inputs, Readout("cls", layer))
        assert calls == list(range(1, run + 1)), layer


@torch.no_grad()
def test_a_classifier_runs_no_layer_above_the_last_one_it_reads(tester, classifier, tmp_path):
    tester.trained(classifier, layer=[0, 1]).save_pretrained(tmp_path)
    model = classifier.from_pretrained(tmp_path)
    calls = []
    for number, module in enumerate(layer_modules(model.base_model), start=1):
        module.register_forward_hook(lambda *_, number=number: calls.append(number))
    model(**tester.signal_inputs())
    assert calls == [1]


@torch.no_grad()
def test_a_classifier_computes_what_the_encoder_embeds(tester, classifier):
    inputs = tester.signal_inputs()
    for pooling, layer in (("cls", -1), ("mean", 1), ("cls_mean", -2), ("cls", 0), ("max", [1, -1])):
        model = tester.trained(classifier, pooling=pooling, layer=layer)
        want = model.classifier(embed_windows(model.base_model, inputs, Readout(pooling, layer)))
        assert torch.equal(model(**inputs).logits, want)


@torch.no_grad()
def test_a_truncated_encoder_gives_the_features_of_its_last_layer(tester, encoder, tmp_path):
    inputs = tester.signal_inputs()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    for layer in range(1, encoder.num_layers + 1):
        small = encoder.truncate(layer)
        assert small.num_layers == layer
        assert len(small.state_dict()) < len(before) or layer == encoder.num_layers
        small.save_pretrained(tmp_path / str(layer))
        again, info = AutoModel.from_pretrained(tmp_path / str(layer), output_loading_info=True)
        assert type(again) is type(encoder)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        for pooling in ("cls", "mean"):
            want = embed_windows(encoder, inputs, Readout(pooling, layer))
            for model in (small, again):
                got = embed_windows(model, inputs, Readout(pooling))
                torch.testing.assert_close(got, want, rtol=0, atol=1e-6 * want.abs().max().item())
        assert again.config.pooled_size == embed_windows(again, inputs).shape[1]
    assert encoder.num_layers == tester.num_hidden_layers
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    with pytest.raises(CheckpointError, match="no layer would be left"):
        encoder.truncate(0)


def test_layer_groups_name_parts_that_exist_once_each(encoder):
    names = [part for group in encoder.layer_groups() for part in group]
    assert len(names) == len(set(names))
    for name in names:
        encoder.get_submodule(name)
    assert len(layer_modules(encoder)) == encoder.num_layers


@torch.no_grad()
def test_another_window_is_taken_or_refused(tester, encoder):
    samples = 2 * tester.input_shape[1]
    if not tester.resizes_window:
        with pytest.raises(CheckpointError, match=f"windows of {tester.input_shape[1]} samples only; got {samples}"):
            encoder.resize_window(samples)
        return
    encoder.resize_window(samples)
    assert encoder.config.window_size == samples
    output = encoder(torch.randn(2, tester.input_shape[0], samples))
    assert output.pooler_output.isfinite().all()


def test_expected_leftovers_of_a_checkpoint_are_silent_and_others_are_reported(tester, tmp_path):
    for kind, source in tester.architecture.models.items():
        tester.trained(source).save_pretrained(tmp_path / kind)
        for model_class in (tester.architecture.encoder, tester.architecture.classifier):
            if model_class is not None:
                _, info = model_class.from_pretrained(tmp_path / kind, output_loading_info=True)
                assert not info["unexpected_keys"], (kind, model_class)
        file = tmp_path / kind / "model.safetensors"
        save_file({**load_file(file), "stranger.weight": torch.zeros(2)}, file, metadata={"format": "pt"})
        _, info = tester.architecture.encoder.from_pretrained(tmp_path / kind, output_loading_info=True)
        assert info["unexpected_keys"] == {"stranger.weight"}
