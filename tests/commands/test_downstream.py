"""Options of finetune.py and score.py: declared once, read, named when they have no effect, listed by --help."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from ecg_transformers.commands.benchmark_options import BenchmarkArguments
from ecg_transformers.commands.command_line import field_types
from ecg_transformers.commands.downstream import (
    FineTuneArguments,
    ScoreArguments,
    read_arguments,
    unused_settings,
)
from ecg_transformers.commands.help import TRAINER_ARGUMENTS, command_help, type_text
from ecg_transformers.commands.open_corpus import open_corpus
from ecg_transformers.commands.options import declared_options
from ecg_transformers.commands.pretraining_options import PretrainingArguments
from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.errors import ArgumentsError
from ecg_transformers.evaluation.modes import MODES
from ecg_transformers.evaluation.outcomes import recorded
from ecg_transformers.evaluation.settings import TRAINING_DEFAULTS, LearningSettings
from ecg_transformers.signals.leads import STANDARD_LEADS
from ecg_transformers.trainer.arguments import EcgTrainingArguments

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
NEEDED = ["--model", "m", "--output_dir", "o"]


def test_several_corpora_with_commas_are_one(corpus_folder, tmp_path):
    folders, signal = [corpus_folder, tmp_path / "b"], np.ones((12, 1), np.float32) * np.arange(200)
    row = CorpusRecord(signal, 100, STANDARD_LEADS, record_id=1, name="r", patient_id=1, fold=1, labels=())
    write_corpus([row], folders[1], {"name": "b"})
    corpus = open_corpus(read("--corpus", ",".join(map(str, folders))), print)
    assert (corpus.name, len(corpus)) == ("tiny+b", 161)
    with pytest.raises(ArgumentsError, match="several with a comma between them"):
        open_corpus(read("--corpus", f"{corpus_folder},"), print)


def read(*words, kind=FineTuneArguments):
    return read_arguments([*NEEDED, *words], kind)


def test_every_option_reaches_the_object_that_uses_it():
    read_now = read(
        *("--pooling", "max", "--layer", "2", "--one_cycle", "--learning_rate", "1e-3", "--folds", "9"),
        *("--train_folds", "1-3", "--unit", "patient", "--mode", "fine_tune", "--window_seconds", "2"),
        *("--scratch", '{"learning_rate": "1e-2", "one_cycle": "true"}'),
    )
    learning = read_now.learning
    assert (learning.pooling, learning.layer, learning.one_cycle) == ("max", 2, True)
    assert learning.training == {"learning_rate": 1e-3}
    assert read("--layer", "1,2,3").learning.layer == [1, 2, 3]
    assert learning.scratch == {"learning_rate": 1e-2, "one_cycle": True}
    assert (read_now.protocol.train_folds, read_now.protocol.evaluate_folds) == ([1, 2, 3], [9])
    assert (read_now.report.unit, read_now.mode, read_now.window_seconds) == ("patient", "fine_tune", 2.0)
    assert read("--evaluate_folds", "9", kind=ScoreArguments).protocol.evaluate_folds == [9]
    assert read(kind=ScoreArguments).model == ["m"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--poling", "max"], "pooling"),
        (["--mode", "linear"], "mode is 'linear'; expected one of linear_probe"),
        (["--pooling", "first"], "pooling is 'first'"),
        (["--scratch", '{"learning_rat": 1}'], "scratch has 'learning_rat'.*learning_rate"),
        (["--scratch", '{"one_cycle": "maybe"}'], "one_cycle is 'maybe'"),
        (["--output_dir="], "--output_dir must be given"),
        (["--model_type", "xresnet1d"], "either --model CHECKPOINT"),
    ],
)
def test_a_mistake_is_named(words, message):
    with pytest.raises(ArgumentsError, match=message):
        read(*words)


def test_no_two_objects_declare_the_same_option():
    for kind in (FineTuneArguments, ScoreArguments):
        names = [entry.name for entry in fields(kind)]
        for part in ("protocol", "learning", "report"):
            names += [entry.name for entry in fields(kind.__dataclass_fields__[part].type)]
        assert len(names) == len(set(names))
        assert all(one.facts["help"].endswith((".", "n")) for one in declared_options(kind).values())


@pytest.mark.parametrize(
    ("mode", "words", "unused"),
    [
        ("linear_probe", ["--choose_epoch", "last", "--layer_decay", "0.5"], ["choose_epoch", "layer_decay"]),
        ("linear_probe", ["--num_train_epochs", "3", "--bf16", "true", "--pooling", "max"], ["num_train_epochs"]),
        ("fine_tune", ["--head_learning_rate", "1", "--one_cycle"], ["head_learning_rate"]),
        ("fine_tune", ["--head_learning_rate", "1", "--head_epochs", "1"], []),
        ("fine_tune", ["--choose_epoch", "last", "--early_stopping_patience", "2"], ["early_stopping_patience"]),
        ("fine_tune", ["--one_cycle", "--warmup_epochs", "1"], ["warmup_epochs"]),
        ("from_scratch", ["--layer_decay", "0.5", "--head_first", "false"], ["layer_decay", "head_first"]),
        (None, ["--pooling", "max", "--train_fraction", "0.1", "--aggregate", "max"], ["train_fraction", "pooling"]),
    ],
)
def test_settings_without_effect_are_named(mode, words, unused):
    found = unused_settings(None if mode is None else MODES[mode], read(*words))
    assert sorted(found) == sorted(unused)


def test_what_is_recorded_follows_from_the_declaration():
    tuned, probed = (recorded(LearningSettings(), MODES[name]) for name in ("fine_tune", "linear_probe"))
    assert {"layer", "aggregate", "seed"} <= probed.keys() & tuned.keys()
    assert "pooling" in recorded(LearningSettings(pooling="max")).keys() - probed.keys()
    assert {"layer_decay", "max_shift_seconds", "scratch"} <= tuned.keys() - probed.keys()
    assert not {"resume", "encode_batch_size", "head_learning_rate", "training"} & (tuned.keys() | probed.keys())


def test_a_recipe_file_is_the_published_benchmark_as_before():
    for name in ("xresnet1d50_ptbxl", "xresnet1d101_ptbxl"):
        arguments = read_arguments([str(CONFIGS / f"{name}.yaml"), "--output_dir", "o"], FineTuneArguments)
        from ecg_transformers.auto import ARCHITECTURES

        config = ARCHITECTURES["xresnet1d"].config(**{"depths": arguments.architecture["depths"]})
        learning = arguments.learning.of_mode(MODES["from_scratch"], config)
        assert learning.training == {
            "per_device_train_batch_size": 128, "num_train_epochs": 50, "learning_rate": 1e-2, "adam_beta2": 0.99,
            "weight_decay": 1e-2, "decay_norms_and_biases": True, "no_decay": [], "max_grad_norm": 0,
            "dataloader_drop_last": True, "bf16": True, "eval_strategy": "steps", "eval_steps": 0.1,
            "save_strategy": "steps", "save_steps": 0.02, "logging_steps": 34,
        }  # fmt: skip
        assert (learning.one_cycle, learning.choose_epoch, learning.max_shift_seconds) == (True, "last", 0)


def test_help_of_finetune_is_what_is_read():
    text = command_help("usage", FineTuneArguments, trainer=TRAINING_DEFAULTS)
    listed = {word.strip("-") for line in text.splitlines() for word in line.split() if word.startswith("--")}
    assert declared_options(FineTuneArguments).keys() <= listed
    assert not {"no_head_first", "architecture", "config", "given", "training"} & listed
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith("  --")}
    assert "Required." in rows["--output_dir"]
    assert "--head_first true|false" in rows["--head_first"]
    assert "(default: 0.9)" in text
    assert "--num_train_epochs NUMBER" in rows["--num_train_epochs"]
    assert "--hidden_size" not in text
    benchmark = " ".join(command_help("usage", BenchmarkArguments).split())
    assert "Label sets of the corpus. (default: all)" in benchmark
    for group in ("Data:", "Labels and folds:", "Classification head:", "Training:", "Report:", "Run:", "Trainer ("):
        assert f"\n{group}" in text


def test_the_arguments_of_the_trainer_in_the_help_are_those_of_its_class():
    kinds, entries = field_types(EcgTrainingArguments), {entry.name: entry for entry in fields(EcgTrainingArguments)}
    for name, (shown, default, text) in TRAINER_ARGUMENTS.items():
        assert default == getattr(entries[name].default, "value", entries[name].default), name
        assert shown == type_text(kinds[name], default), name
        assert text.endswith("."), name


def test_help_of_pretrain_is_short_and_lists_the_family_of_a_config():
    text = command_help("usage", PretrainingArguments, trainer={})
    assert len(text.splitlines()) <= 80
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith("  --")}
    assert "Required." in rows["--corpus"]
    assert "Required." in rows["--output_dir"]
    assert "hidden_size" not in text
    family = command_help("usage", PretrainingArguments, [str(CONFIGS / "mae_moco_tiny.yaml"), "--help"], trainer={})
    assert family.startswith(text)
    assert "MaeMocoConfig" in family
    assert "--mask_ratio" in family
    assert "(mae_moco_tiny.yaml: 48)" in family
    assert "--normalization " in family
    recipe = command_help("usage", FineTuneArguments, [str(CONFIGS / "xresnet1d50_ptbxl.yaml")], trainer={})
    assert "Xresnet1dConfig" in recipe
    assert "--head_hidden_sizes" in recipe


def test_a_yaml_of_settings_for_a_checkpoint_lists_no_family(tmp_path):
    path = tmp_path / "probe.yaml"
    path.write_text(json.dumps({"model": "m", "mode": "linear_probe"}))
    assert "Architecture (" not in command_help("usage", FineTuneArguments, [str(path)])


@pytest.mark.parametrize("config", ["mae_moco_tiny", "moco_v3_tiny", "xresnet1d50_ptbxl"])
def test_help_of_a_family_is_whole_and_lists_choices_and_defaults(config):
    kind = FineTuneArguments if config.startswith("xresnet") else PretrainingArguments
    text = " ".join(command_help("usage", kind, [str(CONFIGS / f"{config}.yaml")]).split())
    assert text.count("(") == text.count(")")
    assert "One of record_lead" in text or "One of none, record_lead" in text
    assert "One of error, interpolate, mask_lead." in text or "error|interpolate|mask_lead" in text
    assert "--head_dropout" in text
    if config == "mae_moco_tiny":
        assert (
            "--initializer_range NUMBER Initial standard deviation of tokens and position tables. (default: 0.02)"
            in text
        )


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (PretrainingArguments, "simclr_ptbxl"),
        (PretrainingArguments, "moco_v3_ptbxl"),
        (PretrainingArguments, "w2v_cmsc_rlm_ptbxl"),
        (FineTuneArguments, "xresnet1d50_ptbxl"),
    ],
)
def test_help_of_a_config_names_every_setting_once_with_a_description(kind, config):
    text = command_help("usage", kind, [str(CONFIGS / f"{config}.yaml")], trainer={})
    rows = [row.split("\n\n")[0] for row in text.split("\n  --")[1:]]
    names = [row.split()[0] for row in rows]
    assert len(names) == len(set(names))
    assert not [row for row in rows if not row.partition(" (default:")[0].rstrip(")").count(".")]
    assert not {"thresholds", "label_names", "pretrained_by"} & set(names)


def test_flat_settings_of_a_backbone_are_settings_of_the_recipe(tmp_path):
    recipe = tmp_path / "simclr.yaml"
    recipe.write_text("model_type: simclr\nbackbone_config: {model_type: ecg_vit}\nnum_attention_heads: 2\n")
    arguments = read_arguments([str(recipe), "--corpus", "c", "--output_dir", "o"], FineTuneArguments)
    assert arguments.architecture["num_attention_heads"] == 2
    assert "--num_attention_heads" in command_help("usage", PretrainingArguments, [str(recipe)], trainer={})
