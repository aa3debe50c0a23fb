"""What a checkpoint gives back: every tensor, every buffer, twins, frozen parameters, types.

Transformers builds a model without memory and fills it from the file; whatever the constructor computed is gone then.
"""

from contextlib import contextmanager

import pytest
import torch
import torch.utils.deterministic
from safetensors.torch import load_file, save_file


@contextmanager
def odd_numbers_in_new_memory():
    """NaN, or the largest integer, in every tensor that is allocated without values."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def tensors(model) -> dict[str, torch.Tensor]:
    """All parameters and buffers by name, those that are not saved included."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def trainable(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def assert_same(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert got.keys() == want.keys()
    different = [name for name in want if not torch.equal(got[name], want[name])]
    assert not different


def test_every_tensor_and_buffer_comes_back_whatever_the_memory_held(tester, model_class, tmp_path):
    model = tester.trained(model_class)
    model.save_pretrained(tmp_path)
    for _ in range(2):
        with odd_numbers_in_new_memory():
            loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        assert_same(tensors(loaded), tensors(model))
        assert not loaded.training


def test_the_loss_after_save_and_load_is_the_same(tester, model_class, tmp_path):
    model = tester.trained(model_class)
    model.save_pretrained(tmp_path)
    inputs = tester.inputs_for(model_class)
    with torch.no_grad():
        want = model(**inputs)
        got = model_class.from_pretrained(tmp_path)(**inputs)
    assert want.keys() == got.keys()
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("half", [0, 1])
def test_tensors_missing_from_the_file_are_initialized_and_the_rest_is_kept(tester, model_class, tmp_path, half):
    trained = tester.trained(model_class)
    trained.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    saved = load_file(file)
    kept = {name: value for number, (name, value) in enumerate(sorted(saved.items())) if number % 2 == half}
    save_file(kept, file, metadata={"format": "pt"})
    fresh = tensors(model_class(tester.get_config()))
    with odd_numbers_in_new_memory():
        model, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    loaded = tensors(model)
    assert set(info["missing_keys"]) == saved.keys() - kept.keys()
    for name, value in loaded.items():
        if name in kept:
            assert torch.equal(value, kept[name]), name
            continue
        assert value.isfinite().all(), name
        twin, _, rest = name.partition(".")
        follows = f"{tester.twins.get(twin)}.{rest}"
        if model_class is tester.architecture.pretraining and twin in tester.twins and follows in kept:
            assert torch.equal(value, loaded[follows]), f"{name} did not follow {follows}"
        elif not fresh[name].is_floating_point() or fresh[name].std(unbiased=False) == 0 or name not in saved:
            # A constant, a counter or a table that is never saved: exactly as in a new model.
            assert torch.equal(value, fresh[name]), name
        elif value.numel() >= 64:
            assert value.std().item() == pytest.approx(fresh[name].std().item(), rel=0.5), name


def test_twins_equal_the_online_network_after_loading_an_encoder(tester, tmp_path):
    architecture = tester.architecture
    if not tester.twins:
        pytest.skip("this architecture has no momentum twin")
    tester.trained(architecture.encoder).save_pretrained(tmp_path)
    model, info = architecture.pretraining.from_pretrained(tmp_path, output_loading_info=True)
    encoder = {name for name in model.state_dict() if name.startswith(f"{model.base_model_prefix}.")}
    assert encoder
    assert not encoder & set(info["missing_keys"])
    for twin, online in tester.twins.items():
        assert_same(tensors(getattr(model, twin)), tensors(getattr(model, online)))


def test_twins_of_a_full_checkpoint_keep_their_own_values(tester, tmp_path):
    if not tester.twins:
        pytest.skip("this architecture has no momentum twin")
    tester.trained(tester.architecture.pretraining).save_pretrained(tmp_path)
    model = tester.architecture.pretraining.from_pretrained(tmp_path)
    for twin, online in tester.twins.items():
        ours, theirs = (dict(getattr(model, name).named_parameters()) for name in (twin, online))
        assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_same_parameters_are_trained_after_every_way_of_loading(tester, model_class, tmp_path):
    want = trainable(model_class(tester.get_config()))
    if model_class is tester.architecture.pretraining:
        frozen = tensors(model_class(tester.get_config())).keys() - want
        assert all(any(name.startswith(f"{twin}.") for name in frozen) for twin in tester.twins)
        assert not any(name.split(".")[0] in tester.twins for name in want)
    for source in tester.model_classes:
        folder = tmp_path / source.__name__
        tester.trained(source).save_pretrained(folder)
        assert trainable(model_class.from_pretrained(folder)) == want
    assert trainable(model_class.from_pretrained(tmp_path / model_class.__name__, dtype=torch.bfloat16)) == want


def test_the_encoder_loads_whole_from_every_checkpoint(tester, model_class, tmp_path):
    head = tester.trained(model_class)
    head.save_pretrained(tmp_path)
    encoder, info = tester.architecture.encoder.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    prefix = f"{encoder.base_model_prefix}."
    assert not any(name.startswith(prefix) for name in info["unexpected_keys"])
    assert_same(tensors(encoder), tensors(head.base_model))


def test_a_classifier_takes_the_encoder_of_any_checkpoint_and_nothing_else(tester, classifier, tmp_path):
    for source in tester.model_classes:
        if source is classifier:
            continue
        folder = tmp_path / source.__name__
        pretrained = tester.trained(source)
        pretrained.save_pretrained(folder)
        model, info = classifier.from_pretrained(folder, num_labels=5, output_loading_info=True)
        assert {name.split(".")[0] for name in info["missing_keys"]} <= {"classifier", "pooling"}
        assert not info["mismatched_keys"]
        assert_same(tensors(model.base_model), tensors(pretrained.base_model))
        # What only pretraining needs does not reach a downstream checkpoint.
        model.save_pretrained(folder / "downstream")
        saved = load_file(folder / "downstream" / "model.safetensors")
        assert {name.split(".")[0] for name in saved} == {model.base_model_prefix, "classifier"}


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "cls_mean", "attention"])
def test_a_new_head_on_a_loaded_encoder_starts_like_that_of_a_new_model(tester, classifier, pooling, tmp_path):
    head = {"pooling": pooling, "head_hidden_sizes": [6], "head_batch_norm": True, "num_labels": 5}
    tester.trained(tester.architecture.encoder).save_pretrained(tmp_path)
    fresh = classifier(tester.get_config(**head))
    with odd_numbers_in_new_memory():
        loaded = tensors(classifier.from_pretrained(tmp_path, **head))
    new = {name: value for name, value in tensors(fresh).items() if name.startswith(("classifier.", "pooling."))}
    assert any("running_var" in name for name in new)
    assert any("query" in name for name in new) == (pooling == "attention")
    for name, value in new.items():
        assert loaded[name].isfinite().all(), name
        if value.float().std(unbiased=False) == 0:
            assert torch.equal(loaded[name], value), name
        else:
            assert loaded[name].std().item() == pytest.approx(value.std().item(), rel=0.5), name


def test_bfloat16_weights_load_and_counters_stay_whole_numbers(tester, model_class, tmp_path):
    model = tester.trained(model_class)
    model.save_pretrained(tmp_path)
    small = model_class.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for name, value in tensors(small).items():
        want = tensors(model)[name]
        assert value.dtype == (torch.bfloat16 if want.is_floating_point() else want.dtype), name
        assert value.isfinite().all(), name
    inputs = tester.inputs_for(model_class)
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            signals = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
            output = small(**signals)
            assert all(value.isfinite().all() for value in output.values())
        exact = model(**inputs)
    main = next(name for name, value in exact.items() if value.ndim)
    difference = (output[main].float() - exact[main]).norm() / exact[main].norm()
    assert difference < 0.05


def test_a_rounded_checkpoint_computes_in_float32_where_its_config_says_so(tester, tmp_path):
    """The form in which checkpoints are published: bfloat16 tensors, `"dtype": "float32"` in the config."""
    model = tester.trained(tester.architecture.encoder)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    parameters = dict(model.named_parameters())
    rounded = {name: value.bfloat16() if name in parameters else value for name, value in load_file(file).items()}
    save_file(rounded, file, metadata={"format": "pt"})
    loaded = tester.architecture.encoder.from_pretrained(tmp_path)
    assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters())
    assert_same(loaded.state_dict(), {n: value.float() if n in parameters else value for n, value in rounded.items()})


def test_a_save_drops_the_promise_of_source_files(tester, model_class, tmp_path):
    model = tester.trained(model_class)
    model.config.auto_map = {"AutoModel": "modeling_x.XModel"}
    model.save_pretrained(tmp_path)
    assert "auto_map" not in (tmp_path / "config.json").read_text()
    assert model.config.auto_map == {"AutoModel": "modeling_x.XModel"}
    model_class.from_pretrained(tmp_path)
