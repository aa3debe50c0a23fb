"""`training/pretrain.py` as a whole: killed and resumed it is the same run; what it leaves behind; going on."""

import json
import os
import shutil
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from ecg_transformers.errors import CorpusError

from .. import fresh
from ..conftest import CONFIGS, ROOT
from .conftest import small_corpus

SCRIPT = ROOT / "training" / "pretrain.py"
CONFIG = CONFIGS / "mae_moco_tiny.yaml"
# 24 records in folds 1 to 3 make 3 batches of 8: the run crosses epochs, evaluates, and saves in the middle of one.
RUN = ["--max_steps", "14", "--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "20"]
RUN += ["--eval_strategy", "steps", "--eval_steps", "5", "--logging_steps", "3", "--per_device_train_batch_size", "8"]
RUN += ["--train_folds", "1-3", "--validation_folds", "4", "--hidden_size", "16", "--disable_tqdm", "--use_cpu"]
# Dropout draws from the global random state, which a checkpoint must hold too.
RUN += ["--hidden_dropout_prob", "0.1"]


def words(corpus, output, *more):
    return [str(CONFIG), "--corpus", str(corpus), "--output_dir", str(output), *RUN, *more]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """32 synthetic records of 16 patients in 4 folds, 10 s at 100 Hz, with rhythm labels."""
    return small_corpus(tmp_path_factory.mktemp("corpus") / "small")


@pytest.fixture(scope="module")
def straight(pretrain, corpus, tmp_path_factory):
    """Folder of the run that was never interrupted."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    pretrain(words(corpus, folder))
    return folder


def history(folder):
    """Loss history without what the clock says."""
    state = json.loads((folder / "trainer_state.json").read_text())
    clock = ("runtime", "per_second")
    return [{k: v for k, v in entry.items() if not any(word in k for word in clock)} for entry in state["log_history"]]


def assert_same_run(first, second):
    for name in ("model.safetensors", "checkpoint-14/model.safetensors"):
        one, two = load_file(first / name), load_file(second / name)
        assert one.keys() == two.keys()
        for key in one:
            assert torch.equal(one[key], two[key]), key
        assert (first / name).read_bytes() == (second / name).read_bytes()
    for name in ("optimizer.pt", "scheduler.pt"):
        states = [torch.load(folder / "checkpoint-14" / name, weights_only=True) for folder in (first, second)]
        torch.testing.assert_close(*states, rtol=0, atol=0)
    entries = [[entry for entry in history(folder) if "train_loss" not in entry] for folder in (first, second)]
    assert entries[0] == entries[1]


def start(corpus, folder, *more):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return fresh.start([sys.executable, SCRIPT, *words(corpus, folder, *more)], env=environment)


def kill_when(process, condition, patience=120.0):
    until = time.monotonic() + patience
    while not condition():
        assert process.is_alive(), "the run ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.001)
    process.kill()
    process.join()


def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_bit_for_bit(pretrain, corpus, straight, tmp_path):
    run = tmp_path / "run"
    process = start(corpus, run, "--max_seconds", "600")
    kill_when(process, lambda: (run / "checkpoint-4").is_dir() and list(run.glob("checkpoint-*.unfinished")))
    reached = sorted(int(path.name.split("-")[1]) for path in run.glob("checkpoint-*") if path.suffix == "")
    assert 4 in reached
    assert not (run / "model.safetensors").exists()
    pretrain(words(corpus, run, "--resume"))
    assert not list(run.glob("*.unfinished"))
    assert_same_run(straight, run)


@pytest.mark.parametrize("killed", [False, True], ids=["finished", "killed before its end"])
def test_a_run_at_its_last_step_is_not_trained_on(pretrain, corpus, straight, tmp_path, capsys, killed):
    # The last of the 14 steps falls inside an epoch of 3.
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    if killed:
        # The last checkpoint was written, the final folder was not.
        for name in ("model.safetensors", "config.json", "trainer_state.json", "loss.png"):
            (run / name).unlink()
    resumed = pretrain(words(corpus, run, "--resume"))
    assert resumed.trainer.state.global_step == 14
    assert not [path.name for path in run.glob("checkpoint-15*")]
    assert_same_run(straight, run)
    assert not [entry for entry in history(run) if "train_loss" in entry]
    assert "14 of 14 steps" in capsys.readouterr().out
    before, after = (json.loads((folder / "run.json").read_text()) for folder in (straight, run))
    for name in ("steps", "records_seen", "step_seconds", "records_per_second"):
        assert before[name] == after[name], name
    assert after["peak_memory_bytes"] >= before["peak_memory_bytes"]


def test_a_damaged_newest_checkpoint_is_passed_over(pretrain, corpus, straight, tmp_path, caplog, capsys):
    run = tmp_path / "run"
    pretrain(words(corpus, run, "--max_seconds", "0"))
    assert [path.name for path in run.glob("checkpoint-*")] == ["checkpoint-1"]
    printed = capsys.readouterr().out
    assert "1 of 14 steps" in printed
    assert "unfinished: the time limit ended the training; add --resume" in printed
    pretrain(words(corpus, run, "--resume"))
    for step in (10, 12, 14):
        (run / f"checkpoint-{step}" / "complete.json").unlink()
    (run / "checkpoint-8" / "optimizer.pt").write_bytes(b"cut short")
    caplog.clear()
    pretrain(words(corpus, run, "--resume"))
    (message,) = [text for text in caplog.messages if text.startswith("resuming from")]
    assert "checkpoint-6 (" in message
    assert "checkpoint-14 is incomplete: no marker" in message
    assert "checkpoint-8 is incomplete: optimizer.pt has 9 bytes" in message
    one, two = load_file(straight / "model.safetensors"), load_file(run / "model.safetensors")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_what_a_run_leaves_behind(straight):
    assert {path.name for path in straight.iterdir() if path.is_file()} >= {
        "config.json",
        "loss.png",
        "model.safetensors",
        "preprocessor_config.json",
        "reconstruction.png",
        "run.json",
    }
    record = json.loads((straight / "run.json").read_text())
    assert record["steps"] == record["max_steps"] == 14
    assert record["records_seen"] == 14 * 8
    assert record["records"] == 24
    assert record["validation_records"] == 8
    assert record["train_folds"] == [1, 2, 3]
    assert record["corpus"]["name"] == "small"
    assert len(record["corpus"]["hash"]) == 64
    assert record["settings"]["learning_rate"] == 1e-3
    assert record["hours"] > 0
    assert record["step_seconds"] > 0
    assert record["peak_memory_bytes"] > 1e7
    assert {"torch", "transformers"} <= record["versions"].keys()
    assert str(straight.parent) not in json.dumps(record)
    assert not [path for path in straight.rglob("*") if path.suffix in (".bin", ".pkl")]


def test_the_final_folder_opens_with_the_auto_classes(straight):
    from transformers import AutoFeatureExtractor, AutoModel, AutoModelForPreTraining

    encoder, report = AutoModel.from_pretrained(straight, output_loading_info=True)
    assert not report["missing_keys"]
    whole = AutoModelForPreTraining.from_pretrained(straight)
    assert whole.queue.filled.item() == 14 * 8
    signal = torch.zeros(12, 1000).numpy()
    signal[:, ::70] = 1.0
    batch = AutoFeatureExtractor.from_pretrained(straight)(signal, sampling_rate=100, return_tensors="pt")
    assert encoder(**batch).pooler_output.shape == (1, 16)


def test_going_on_from_a_checkpoint_on_other_data(pretrain, corpus, straight, tmp_path, capsys):
    run = pretrain(
        words(corpus, tmp_path / "on", "--model", str(straight), "--max_steps", "2", "--data_fraction", "0.5")
    )
    assert run.trainer.state.global_step == 2
    assert len(run.data.train) == 12
    assert run.trainer.core_model.config.hidden_size == 16
    record = json.loads((tmp_path / "on" / "run.json").read_text())
    assert record["continued_from"] == "run"
    # On a share of the data the queue holds at most half of the records.
    assert run.trainer.core_model.queue.keys.shape[1] == run.trainer.core_model.config.queue_size == 6
    assert (record["queue_size"], record["data_fraction"], record["budget"]) == (6, 0.5, "steps")
    assert (record["sampling"], record["same_source"]) == ("none", "exclude")
    printed = capsys.readouterr().out
    assert "queue of 6 keys instead of 256 (queue_size): at most half of the 12 records" in printed
    assert "records/s" in printed


@pytest.mark.parametrize("figures", ["none", "failing"])
def test_a_run_ends_well_whatever_its_model_plots(pretrain, corpus, tmp_path, monkeypatch, caplog, figures):
    from ecg_transformers import MaeMocoForPreTraining

    def fail(self, outputs, example, plots):
        raise ValueError("no patches here")

    if figures == "none":
        monkeypatch.delattr(MaeMocoForPreTraining, "figures")
    else:
        monkeypatch.setattr(MaeMocoForPreTraining, "figures", fail)
    run = tmp_path / "run"
    pretrain(words(corpus, run, "--max_steps", "3", "--save_strategy", "no"))
    assert {path.name for path in run.glob("*.png")} == {"loss.png"}
    assert json.loads((run / "run.json").read_text())["steps"] == 3
    assert (run / "model.safetensors").is_file()
    messages = [entry.getMessage() for entry in caplog.records if entry.name == "ecg_transformers.commands.plots"]
    assert [text for text in messages if "no patches here" in text] == messages
    assert len(messages) == (figures == "failing")


def test_one_task_alone_leaves_no_reconstruction(pretrain, corpus, tmp_path):
    run = tmp_path / "run"
    pretrain(words(corpus, run, "--max_steps", "3", "--save_strategy", "no", "--reconstruction_weight", "0"))
    assert {path.name for path in run.glob("*.png")} == {"loss.png"}


def test_probe_curve_speed_and_tensorboard(pretrain, corpus, tmp_path, capsys):
    output = tmp_path / "run"
    more = ["--max_steps", "5", "--probe_labels", "rhythm", "--probe_steps", "3", "--report_to", "tensorboard"]
    pretrain(words(corpus, output, *more, "--bf16", "--save_strategy", "no"))
    probes = json.loads((output / "probe.json").read_text())["probes"]
    assert [entry["step"] for entry in probes] == [0, 3, 5]
    assert all(0 <= entry["macro_auroc"] <= 1 for entry in probes)
    printed = capsys.readouterr().out
    assert "peak memory" in printed
    assert "the full run of 12 steps (4.0 epochs of 24 records) takes about" in printed
    assert list(output.rglob("events.out.tfevents.*"))


def test_compile_compiles_each_block(pretrain, corpus, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: compiled.append(self))
    pretrain(words(corpus, tmp_path / "run", "--max_steps", "1", "--compile", "--save_strategy", "no"))
    # Two of the encoder, two of its twin, one of the decoder.
    assert len(compiled) == 5


def test_help_names_every_kind_of_setting(pretrain, capsys):
    pretrain([str(CONFIG), "--help"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("--learning_rate", "--probe_labels", "mask_ratio", "normalization_std"))


def test_resuming_with_another_width_is_refused_in_one_line(pretrain, corpus, straight, tmp_path):
    from ecg_transformers.errors import CheckpointError

    run = tmp_path / "run"
    shutil.copytree(straight, run)
    with pytest.raises(CheckpointError, match=r"of shape .*16.*this run has .*32.*settings of the interrupted run"):
        pretrain([*words(corpus, run, "--resume"), "--hidden_size", "32"])


def test_a_second_start_in_the_same_folder_is_refused(pretrain, corpus, straight):
    from ecg_transformers.errors import CheckpointError

    with pytest.raises(CheckpointError, match="--resume"):
        pretrain(words(corpus, straight))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--validation_folds", "3"], "overlap"),
        (["--train_folds", "9"], "no fold 9"),
        (["--per_device_train_batch_size", "100"], "do not fill one batch"),
        (["--probe_labels", "rythm"], "rhythm"),
        (["--validation_folds", "none"], "validation_folds"),
        (
            ["--per_device_train_batch_size", "1", "--queue_size", "0", "--sampling", "srcl"],
            "no candidate to choose from",
        ),
    ],
)
def test_data_that_do_not_fit_are_explained(pretrain, corpus, tmp_path, more, message):
    from ecg_transformers.errors import EcgError

    with pytest.raises(EcgError, match=message):
        pretrain(words(corpus, tmp_path / "run", *more))


def test_several_corpora_are_pretrained_on_as_one(pretrain, corpus, tmp_path, capsys):
    other = small_corpus(tmp_path / "other", folds=False)
    output = tmp_path / "run"
    more = ["--train_folds", "none", "--validation_folds", "none", "--max_steps", "3", "--save_strategy", "no"]
    run = pretrain(words(corpus, output, "--corpus", str(corpus), str(other), *more, "--probe_labels", "rhythm"))
    # Folds 1 and 2 of the first train, 3 validates, 4 is its test fold; of the other one patient in 16 validates.
    train, validation = run.data.train, run.data.validation
    assert (len(train), len(validation)) == (16 + 30, 8 + 2)
    assert not set(train.patient_ids.tolist()) & set(validation.patient_ids.tolist())
    record = json.loads((output / "run.json").read_text())
    assert record["corpus"]["name"] == "small+other"
    assert [(one["name"], one["records"]) for one in record["corpus"]["corpora"]] == [("small", 32), ("other", 32)]
    assert record["test_records_left_out"] == {"small": 8}
    assert record["patients"] == 8 + 15
    assert str(tmp_path) not in json.dumps(record)
    assert "8 records of the test folds of small are left out" in capsys.readouterr().out


def test_corpora_of_the_yaml_file_are_a_path_or_a_list(pretrain, corpus, tmp_path):
    import yaml

    other = small_corpus(tmp_path / "other")
    for name, value in (("one", str(corpus)), ("two", [str(corpus), str(other)])):
        config = tmp_path / f"{name}.yaml"
        config.write_text(yaml.safe_dump({**yaml.safe_load(CONFIG.read_text()), "corpus": value}))
        run = pretrain(
            [str(config), "--output_dir", str(tmp_path / name), *RUN, "--max_steps", "1", "--save_steps", "9"]
        )
        assert len(run.data.train) == (24 if name == "one" else 48)


@pytest.mark.parametrize("folds", [True, False])
def test_folds_and_labels_of_a_configuration_that_a_corpus_does_not_have_are_not_used(
    folds, pretrain, tmp_path, caplog
):
    """The configurations for PTB-XL name its folds and its labels; recordings of one's own have neither."""
    own = small_corpus(tmp_path / "own", folds=folds)
    config = tmp_path / "ptbxl.yaml"
    config.write_text(CONFIG.read_text() + "\ntrain_folds: 1-8\nvalidation_folds: 9\nprobe_labels: superclass\n")
    common = [str(config), "--corpus", str(own), "--max_steps", "1", "--per_device_train_batch_size", "8", "--use_cpu"]
    common += ["--hidden_size", "16", "--disable_tqdm"]
    run = pretrain([*common, "--output_dir", str(tmp_path / "run")])
    assert "not used from the configuration, because" in caplog.text
    assert "no such folds or labels: train_folds, validation_folds, probe_labels." in caplog.text
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["train_folds"], record["validation_folds"]) == (None, None)
    # The last of a corpus's own folds is its test fold.
    assert len(run.data.train) + len(run.data.validation) == (24 if folds else 32)
    assert not (tmp_path / "run" / "probe.json").exists()
    named = ["--train_folds", "11-12", "--validation_folds", "13"]
    with pytest.raises(CorpusError, match="has no fold 11, 12"):
        pretrain([*common, "--output_dir", str(tmp_path / "named"), *named])
