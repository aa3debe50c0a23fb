"""Gradients: all trainable parameters and no others, the same under gradient checkpointing."""

import pytest
import torch

from ecg_transformers.augmentations.row_generator import RowGenerator


def with_loss(tester):
    """Classes whose output has a loss: not the encoder, nor what scores without labels."""
    without = (tester.architecture.encoder, tester.architecture.anomaly_detection)
    return [kind for kind in tester.model_classes if kind not in without]


def gradients(tester, model_class, checkpointing: dict | None = None, **config_fields) -> dict[str, torch.Tensor]:
    model = tester.trained(model_class, **config_fields).train()
    if checkpointing is not None:
        model.gradient_checkpointing_enable(checkpointing)
        assert model.is_gradient_checkpointing
    torch.manual_seed(5)
    model(**tester.inputs_for(model_class)).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_every_trainable_parameter_gets_a_gradient_and_no_frozen_one(tester):
    for model_class in with_loss(tester):
        model = tester.trained(model_class).train()
        model(**tester.inputs_for(model_class)).loss.backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
            else:
                assert parameter.grad is None, name


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(tester, use_reentrant):
    for model_class in with_loss(tester):
        if not model_class(tester.get_config()).supports_gradient_checkpointing:
            with pytest.raises(ValueError, match="checkpointing"):
                gradients(tester, model_class, {"use_reentrant": use_reentrant})
            continue
        plain = gradients(tester, model_class)
        saving = gradients(tester, model_class, {"use_reentrant": use_reentrant})
        assert plain.keys() == saving.keys()
        for name, value in plain.items():
            torch.testing.assert_close(saving[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_gradient_checkpointing_updates_running_state_once(tester, pretraining):
    if not pretraining(tester.get_config()).supports_gradient_checkpointing:
        pytest.skip("this architecture has no gradient checkpointing; that it is refused is tested above")
    buffers = []
    for checkpointing in (False, True):
        model = tester.trained(pretraining).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model(**tester.inputs_for(pretraining)).loss.backward()
        buffers.append(dict(model.named_buffers()))
    for name, value in buffers[0].items():
        torch.testing.assert_close(buffers[1][name], value, msg=name)


def test_evaluation_changes_no_state(tester, model_class):
    model = tester.trained(model_class)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = tester.inputs_for(model_class)
    with torch.no_grad():
        first, second = (model(**inputs)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_trainer_is_told_that_losses_are_means(tester, model_class):
    assert model_class.accepts_loss_kwargs is False


def test_draws_of_one_generator_repeat_and_forward_draws_its_own_otherwise(tester, pretraining):
    model = tester.trained(pretraining)
    x = tester.input_values()
    draws = [model.draw(RowGenerator(len(x), seed=3)) for _ in range(2)]
    assert draws[0].keys() == draws[1].keys()
    assert all(torch.equal(draws[0][name], draws[1][name]) for name in draws[0])
    with torch.no_grad():
        explicit = [model(x, **model.apply_draws({"input_values": x}, draw)).loss for draw in draws]
        torch.testing.assert_close(explicit[0], explicit[1], rtol=1e-5, atol=1e-5)
        torch.manual_seed(4)
        own = model(x).loss
        alike = torch.allclose(own, model(x).loss, rtol=1e-5, atol=1e-5)
        assert alike != tester.draws_change_the_loss
        torch.manual_seed(4)
        torch.testing.assert_close(model(x).loss, own, rtol=1e-5, atol=1e-5)
