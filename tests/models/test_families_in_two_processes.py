"""Families in two real processes: mean loss and gradients are those of the combined batch.

BatchNorm keeps the statistics of its own process, so the models are in evaluation mode; gradients flow as in training.
"""

import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from ecg_transformers import (
    ByolConfig,
    ByolForPreTraining,
    CpcConfig,
    CpcForPreTraining,
    EcgWav2vec2Config,
    EcgWav2vec2ForPreTraining,
    SimclrConfig,
    SimclrForPreTraining,
    SwavConfig,
    SwavForPreTraining,
)
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.objectives.gather import all_gather

from ..testers.ecg_wav2vec2 import EcgWav2vec2Tester
from ..two_processes import run_in_two_processes

SIGNAL = {"sampling_rate": 100, "window_size": 100}
BACKBONE = {"model_type": "xresnet1d", "stem_sizes": [4, 8], "depths": [1, 1], "width": 4}
HEADS = {"backbone_config": BACKBONE, "projector_hidden_size": 12, "projection_size": 6, **SIGNAL}


def simclr():
    return SimclrForPreTraining(SimclrConfig(**HEADS, same_source="exclude"))


def byol():
    return ByolForPreTraining(ByolConfig(**HEADS, predictor_hidden_size=12))


def swav():
    model = SwavForPreTraining(SwavConfig(**HEADS, num_prototypes=7, num_crops=3, queue_size=10))
    rows = torch.randn(10, 2, 6, generator=torch.Generator().manual_seed(3))
    model.queue.push(nn.functional.normalize(rows, dim=2))
    return model


def cpc():
    fields = {"encoder_sizes": [6, 8], "encoder_kernel_sizes": [4, 3], "encoder_strides": [2, 2], "hidden_size": 10}
    return CpcForPreTraining(CpcConfig(**fields, **SIGNAL, offsets=[1, 3], num_negatives=5, negatives="batch"))


def ecg_wav2vec2():
    """Time masks, code probabilities and CMSC span the combined batch; leads are masked in training mode."""
    fields = {"cmsc_weight": 1.0, "num_segments": 2, "feature_grad_mult": 0.5, "cmsc_positives": "patient", **SIGNAL}
    return EcgWav2vec2ForPreTraining(EcgWav2vec2Config(**{**EcgWav2vec2Tester.config_fields, **fields}))


FAMILIES = {"simclr": simclr, "byol": byol, "swav": swav, "cpc": cpc, "ecg_wav2vec2": ecg_wav2vec2}
# Without BatchNorm.
IN_TRAINING_MODE = ("ecg_wav2vec2",)


def loss_and_gradients_of_one_rank(rank, name):
    torch.manual_seed(0)
    model = FAMILIES[name]().double().train(name in IN_TRAINING_MODE)
    alone = copy.deepcopy(model)
    segments = (2,) if getattr(model.config, "num_segments", 1) == 2 else ()
    x = torch.randn(8, *segments, 12, 100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    patients = torch.tensor([0, 0, 1, 2, 3, 0, 4, 4])
    rows = slice(4 * rank, 4 * rank + 4)
    # The combined batch alone: as if there were one process.
    with one_process():
        draws = alone.draw(RowGenerator(8, seed=5))
        whole = alone(x, **alone.apply_draws({"input_values": x}, draws), patient_ids=patients)
        whole.loss.backward()
    draws = model.draw(RowGenerator(4, seed=5, first_row=4 * rank, total_rows=8))
    keywords = model.apply_draws({"input_values": x[rows]}, draws)
    parallel = nn.parallel.DistributedDataParallel(model)
    output = parallel(x[rows], **keywords, patient_ids=patients[rows])
    output.loss.backward()
    mean = all_gather(output.loss.detach()[None]).mean()
    torch.testing.assert_close(mean, whole.loss.detach(), rtol=1e-9, atol=1e-9)
    gradients = {n: p.grad for n, p in alone.named_parameters() if p.requires_grad}
    largest = max(gradient.abs().max() for gradient in gradients.values())
    assert largest > 0
    for parameter, gradient in gradients.items():
        error = (model.get_parameter(parameter).grad - gradient).abs().max()
        assert error <= 1e-6 * largest, parameter


@contextmanager
def one_process():
    """Within it nothing is gathered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.distributed.is_initialized", lambda: False)
        yield


def all_families(rank):
    for name in FAMILIES:
        loss_and_gradients_of_one_rank(rank, name)


def test_two_processes_equal_one():
    run_in_two_processes(all_families)
