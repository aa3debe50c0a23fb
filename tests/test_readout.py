"""What is read of an encoder is declared once; configs, options, pipelines and results follow."""

from dataclasses import fields

import pytest

from ecg_transformers.commands.downstream import FineTuneArguments
from ecg_transformers.commands.options import declared_options
from ecg_transformers.commands.pretraining_options import PretrainingArguments
from ecg_transformers.configuration import EcgConfig
from ecg_transformers.errors import CheckpointError
from ecg_transformers.evaluation.results.entries import READOUT_FIELDS
from ecg_transformers.evaluation.settings import LearningSettings
from ecg_transformers.readout import POOLINGS, FixedPooling, Readout


def test_config_options_and_results_have_the_fields_of_a_readout():
    options, of_config = declared_options(FineTuneArguments), {field.name: field for field in fields(EcgConfig)}
    for field in fields(Readout):
        assert options[field.name].entry.metadata == field.metadata
        assert field.name in of_config
    assert READOUT_FIELDS == ("pooling", "layer")
    assert declared_options(PretrainingArguments)["probe_pooling"].kind == FixedPooling | None


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_is_written_to_a_config_and_read_from_it(name):
    config = EcgConfig()
    Readout(name, [1, -1]).write_to(config)
    assert EcgConfig(**config.to_dict()).pooling == name
    read = LearningSettings(seed=3).with_values_of(config)
    assert (read.pooling, read.layer, read.seed, read.attentive) == (name, [1, -1], 3, name == "attention")


def test_a_config_refuses_an_unknown_pooling_and_names_all():
    with pytest.raises(CheckpointError, match=", ".join(POOLINGS)):
        EcgConfig(pooling="median")
