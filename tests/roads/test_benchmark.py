"""`training/benchmark.py` as a user types it: killed and gone on with, listed, with a run that fails, its files."""

import json
import math
import shutil

import pytest

from ecg_transformers.errors import ArgumentsError

from ..conftest import CONFIGS, script
from .conftest import make_checkpoint, synthetic_corpus

RECIPE = """
model_type: xresnet1d
sampling_rate: 50
window_size: 100
window_stride: 50
block: basic
depths: [1, 1, 1, 1]
stem_sizes: [4, 4, 8]
width: 8
choose_epoch: last
num_train_epochs: 2
per_device_train_batch_size: 16
learning_rate: 1e-2
one_cycle: true
bf16: false
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus of 200 synthetic records, a recipe, a checkpoint, and the settings of a benchmark of the two."""
    folder = tmp_path_factory.mktemp("benchmark")
    corpus = synthetic_corpus(folder / "synthetic", records=200)
    (folder / "tiny_net.yaml").write_text(RECIPE)
    make_checkpoint(folder / "tiny-ecg")
    settings = {
        "corpus": str(corpus),
        "systems": [
            {"name": "net", "config": str(folder / "tiny_net.yaml")},
            {"name": "probe", "model": str(folder / "tiny-ecg"), "mode": "linear_probe", "no_baseline": True},
        ],
        "seeds": [0, 1],
        "resamples": 50,
        "disable_tqdm": True,
    }
    (folder / "benchmark.yaml").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """A benchmark that was killed in its third run and gone on with.

    Returns:
        Its folder, what each call printed, how many finished runs stayed untouched, steps of training after the kill.
    """
    out = tmp_path_factory.mktemp("finished")
    words = [str(folder / "benchmark.yaml"), "--output_dir", str(out)]
    printed = {}
    with pytest.MonkeyPatch.context() as patch:
        said = []
        main = said_by(patch, said)
        printed["listed before"] = call(main, [*words, "--dry_run"], said)
        with pytest.MonkeyPatch.context() as killing:
            kill_at_step(killing, 40)
            with pytest.raises(KeyboardInterrupt):
                main(words)
        printed["killed"] = taken(said)
        kept = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/results.json")}
        printed["listed between"] = call(main, [*words, "--dry_run"], said)
        with pytest.MonkeyPatch.context() as counting:
            steps = kill_at_step(counting, None)
            printed["gone on"] = call(main, words, said)
        again = {path: path.stat().st_mtime_ns for path in kept}
        printed["again"] = call(main, words, said)
    return out, printed, kept == again and len(kept), len(steps)


def said_by(patch, said):
    module = script("benchmark")
    patch.setattr(module, "print", lambda line, **_: said.append(line), raising=False)
    return module.main


def call(main, words, said):
    """What a call printed, and its exit status."""
    status = main(words)
    return f"{taken(said)}\nexit {status}"


def taken(said):
    text = "\n".join(said)
    said.clear()
    return text


def kill_at_step(patch, number):
    """End the process, as far as a test can, in this step of all trainings together; the steps so far."""
    from ecg_transformers.trainer.fine_tuning import FineTuneTrainer

    steps = []
    real = FineTuneTrainer.training_step

    def step(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == number:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    patch.setattr(FineTuneTrainer, "training_step", step)
    return steps


def test_a_dry_run_lists_what_is_missing_and_does_nothing(finished):
    _, printed, _, _ = finished
    lines = printed["listed before"].splitlines()
    assert lines[0].split() == ["run", "system", "protocol", "labels", "train", "folds", "seed", "state", "folder"]
    assert len(lines) == 6
    assert all(" missing " in line for line in lines[1:5])
    assert lines[-1] == "exit 0"


def test_a_killed_benchmark_goes_on_where_it_was(finished):
    out, printed, kept, steps = finished
    assert "4 runs, 0 done, 4 to do" in printed["killed"]
    assert [line.split()[-2] for line in printed["listed between"].splitlines()[1:5]] == [
        "done", "done", "begun", "missing",
    ]  # fmt: skip
    assert "4 runs, 2 done, 2 to do" in printed["gone on"]
    assert "[1/2] net, from scratch, all, folds 1-8, seed 1; 0:00:00 elapsed, about" in printed["gone on"]
    assert kept == 2
    # The kill came in the second of two epochs: only that one was trained again.
    (entries,) = [json.loads(path.read_text()) for path in out.glob("runs/net_*_seed1_*/results.json")]
    assert steps == math.ceil(entries[0]["train_records"] / 16)
    assert "4 runs, 4 done, 0 to do" in printed["again"]
    assert "[1/" not in printed["again"]
    tables = [printed[when][printed[when].index("Macro AUROC") :] for when in ("gone on", "again")]
    assert tables[0] == tables[1]
    assert (out / "table.csv").is_file()
    assert (out / "table.png").is_file()


def test_a_run_is_what_finetune_does_also_after_a_kill(finished, folder, tmp_path):
    out, _, _, _ = finished
    run = next((out / "runs").glob("net_*_seed1_*"))
    assert not (run / "training").exists()
    words = ["--corpus", str(folder / "synthetic"), "--seed", "1", "--resamples", "50", "--disable_tqdm", "true"]
    entries = script("finetune").main([str(folder / "tiny_net.yaml"), *words, "--output_dir", str(tmp_path)])
    saved = json.loads((run / "results.json").read_text())
    for name in ("value", "low", "high", "records", "train_records", "chosen", "label_codes"):
        assert saved[0][name] == entries[0][name], name
    command = json.loads((run / "settings.json").read_text())["command"]
    assert command.startswith(f"training/finetune.py {folder / 'tiny_net.yaml'} --")
    assert "--seed=1" in command


def test_named_systems_alone_run_and_are_compared(finished, folder, monkeypatch):
    out, _, _, _ = finished
    said = []
    main = said_by(monkeypatch, said)
    settings = json.loads((folder / "benchmark.yaml").read_text())
    settings["systems"][1] |= {"name": "probe, 2", "against": "net"}
    (folder / "against.yaml").write_text(json.dumps(settings))
    words = [str(folder / "against.yaml"), "--output_dir", str(out)]
    printed = call(main, [*words, "--only", "probe, 2", "--dry_run"], said)
    assert [line.split()[1:4] for line in printed.splitlines()[1:3]] == [["probe,", "2", "linear"]] * 2
    assert " net " not in printed
    assert printed.endswith("exit 0")
    with pytest.raises(ArgumentsError, match="only has 'prob'; expected names of systems: 'net', 'probe, 2'"):
        main([*words, "--only", "prob"])


def test_a_failure_is_reported_and_the_others_go_on(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "tiny-ecg", tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no tensors")
    said = []
    main = said_by(monkeypatch, said)
    settings = json.loads((folder / "benchmark.yaml").read_text())
    whole = settings["systems"][1] | {"name": "whole"}
    settings["systems"] = [whole | {"name": "broken", "model": str(tmp_path / "broken")}, whole]
    settings |= {"seeds": [0], "label_efficiency": [1, 2], "output_dir": str(tmp_path / "out")}
    (tmp_path / "benchmark.yaml").write_text(json.dumps(settings))
    printed = call(main, [str(tmp_path / "benchmark.yaml")], said)
    assert printed.endswith("exit 1")
    assert "2 failed" in printed
    assert "failed: broken, linear probe, all, fold 1, seed 0: " in printed
    rows = {tuple(line.split()[:5]) for line in printed[printed.index("Macro AUROC") :].splitlines()}
    assert ("broken", "linear", "probe", "1-2", "failed") in rows
    (log,) = (tmp_path / "out" / "runs").glob("broken_*_folds1_*/error.txt")
    assert "Traceback" in log.read_text()
    assert (tmp_path / "out" / "label_efficiency.png").is_file()
    # Mended, it is another checkpoint and runs; nothing else does.
    shutil.copy(folder / "tiny-ecg" / "model.safetensors", tmp_path / "broken")
    printed = call(main, [str(tmp_path / "benchmark.yaml")], said)
    assert printed.endswith("exit 0")
    assert "4 runs, 2 done, 2 to do" in printed
    assert "another model" in printed


def test_the_shipped_configurations_can_be_read():
    from ecg_transformers.commands.benchmark_plan import read_benchmark

    places = ["--corpus", "c", "--output_dir", "o"]
    arguments, common, _ = read_benchmark([str(CONFIGS / "benchmark_ptbxl.yaml"), *places])
    assert arguments.labels == ["all", "diagnostic", "subclass", "superclass", "form", "rhythm"]
    assert [system["name"] for system in arguments.systems][:2] == ["xresnet1d50", "xresnet1d101"]
    assert common["train_folds"] == "1-8"
    arguments, _, _ = read_benchmark([str(CONFIGS / "label_efficiency_ptbxl.yaml"), *places])
    assert arguments.label_efficiency == [1, 2, 4, 8]
    simclr = str(CONFIGS / "label_efficiency_simclr_ptbxl.yaml")
    arguments, common, _ = read_benchmark([simclr, *places])
    assert arguments.label_efficiency == [0.0115, 1, 2, 4, 8]
    assert common["dataloader_drop_last"] is False
    tries = [system["name"].split(",")[0] for system in arguments.systems]
    assert tries.count("xresnet1d50") == tries.count("SimCLR") == 9


@pytest.mark.parametrize(
    ("plan", "systems", "pretrainings"), [("hybrid", 5, 5), ("sampling", 32, 8), ("sampling_grid", 73, 21)]
)
def test_a_study_of_pretrainings_is_planned_and_listed(plan, systems, pretrainings, folder, tmp_path, monkeypatch):
    from ecg_transformers.commands.benchmark import Benchmark
    from ecg_transformers.commands.benchmark_plan import read_benchmark

    # A study names its recipes from the root of the source tree.
    monkeypatch.chdir(CONFIGS.parents[1])
    words = [f"training/configs/{plan}_ptbxl.yaml", "--corpus", str(folder / "synthetic"), "--labels", "all"]
    words += ["--output_dir", str(tmp_path / "out")]
    said = []
    printed = call(said_by(monkeypatch, said), [*words, "--dry_run"], said)
    assert printed.endswith("exit 0")
    assert len([line for line in printed.splitlines() if " missing " in line]) == systems
    assert not (tmp_path / "out").exists()
    runs = Benchmark(*read_benchmark(words)).runs
    planned = {run.system.pretraining.folder: run.system.pretraining.settings for run in runs}
    assert len(planned) == pretrainings
    assert {settings["probe_labels"] for settings in planned.values()} == {None}
    if plan != "hybrid":
        # One budget for every share of the data.
        assert {settings["max_steps"] for settings in planned.values()} == {5000}


def test_what_the_grid_has_of_the_study_is_not_trained_again(folder, tmp_path, monkeypatch):
    from ecg_transformers.commands.benchmark import Benchmark
    from ecg_transformers.commands.benchmark_plan import read_benchmark

    monkeypatch.chdir(CONFIGS.parents[1])
    words = ["--corpus", str(folder / "synthetic"), "--labels", "all", "--output_dir", str(tmp_path)]
    small, grid = (
        {run.folder.name for run in Benchmark(*read_benchmark([f"training/configs/{name}_ptbxl.yaml", *words])).runs}
        for name in ("sampling", "sampling_grid")
    )
    assert {name for name in small - grid if not name.startswith("without-queue")} == set()


def test_plan_of_the_lead_sets(folder, tmp_path, monkeypatch):
    """Experiments of Oh et al. 2022: five lead sets, with and without lead masking, pretrained on the same leads."""
    from ecg_transformers.commands.benchmark import Benchmark
    from ecg_transformers.commands.benchmark_plan import read_benchmark

    monkeypatch.chdir(CONFIGS.parents[1])
    words = ["--corpus", str(folder / "synthetic"), "--labels", "all", "patients", "--output_dir", str(tmp_path)]
    runs = Benchmark(*read_benchmark(["training/configs/w2v_cmsc_rlm_leads_ptbxl.yaml", *words])).runs
    assert {run.labels for run in runs} == {"all", "patients"}
    pretrained = {run.system.pretraining.folder: run.system.pretraining.settings for run in runs}
    assert len(pretrained) == 8
    of_all = [settings for settings in pretrained.values() if "used_leads" not in settings]
    kinds = {(one.get("lead_mask_prob", 0.5), one.get("cmsc_weight", 1.0)) for one in of_all}
    assert kinds == {(0.5, 1.0), (0.0, 1.0), (0.5, 0.0), (0.0, 0.0)}
    for mode in ("linear_probe", "fine_tune"):
        sizes = [
            len(run.settings.get("leads", range(12)))
            for run in runs
            if run.system.name.startswith("W2V+CMSC+RLM") and (run.system.mode.name, run.labels) == (mode, "all")
        ]
        assert sizes == [12, 6, 3, 2, 1]
    for run in runs:
        if leads := run.system.pretraining.settings.get("used_leads"):
            assert run.settings["leads"] == leads


def test_patients_and_lead_sets_are_rows_and_columns(folder, tmp_path, monkeypatch, capsys):
    settings = json.loads((folder / "benchmark.yaml").read_text()) | {"seeds": [0], "labels": ["all", "patients"]}
    probe = {"model": str(folder / "tiny-ecg"), "mode": "linear_probe"}
    settings["systems"] = [{"name": "all leads", **probe}, {"name": "I, II", "leads": ["I", "II"], **probe}]
    (tmp_path / "leads.yaml").write_text(json.dumps(settings))
    monkeypatch.chdir(tmp_path)
    assert script("benchmark").main([str(tmp_path / "leads.yaml"), "--output_dir", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "Identification accuracy, macro AUROC" in printed
    assert "patients: " in printed
    found = [json.loads(path.read_text())[0] for path in sorted(tmp_path.glob("out/runs/*/results.json"))]
    assert sorted((one["labels"], tuple(one.get("leads", ()))) for one in found) == [
        ("all", ()), ("all", ("I", "II")), ("patients", ()), ("patients", ("I", "II")),
    ]  # fmt: skip


def test_help_names_the_settings(capsys):
    assert script("benchmark").main(["--help"]) == 0
    assert "--label_efficiency" in capsys.readouterr().out


def test_a_supervised_checkpoint_can_be_a_system_and_a_card_takes_the_entries(finished, folder, tmp_path, monkeypatch):
    out, *_ = finished
    (net,) = out.glob("runs/net_*_seed0_*")
    settings = json.loads((folder / "benchmark.yaml").read_text()) | {"seeds": [0]}
    settings["systems"] = [{"name": "tuned", "model": str(net), "mode": "fine_tune", "no_baseline": True}]
    (tmp_path / "tuned.yaml").write_text(json.dumps(settings | {"num_train_epochs": 1}))
    monkeypatch.chdir(tmp_path)
    said = []
    main = said_by(monkeypatch, said)
    words = [str(tmp_path / "tuned.yaml"), "--output_dir", str(tmp_path / "out"), "--card", "tuned-ecg"]
    assert call(main, words, said).endswith("exit 0")
    entries = json.loads((tmp_path / "hub_cards" / "tuned-ecg" / "results.json").read_text())
    assert {(entry["checkpoint"], entry["initialization"]) for entry in entries} == {("tuned", "supervised")}
    assert "1 runs, 1 done, 0 to do" in call(main, words, said)


PRETRAINING = {
    "model_type": "mae_moco", "sampling_rate": 50, "window_size": 100, "patch_size": 10, "hidden_size": 16,
    "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "decoder_hidden_size": 8,
    "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16, "projector_hidden_size": 8,
    "projection_size": 8, "queue_size": 32, "per_device_train_batch_size": 16, "max_steps": 4, "save_steps": 2,
    "train_folds": "1-8", "learning_rate": 1e-3, "disable_tqdm": True,
}  # fmt: skip


def test_a_pretraining_is_made_once_for_all_rows_and_a_failed_one_fails_its_rows_only(folder, tmp_path, monkeypatch):
    from ecg_transformers.commands import benchmark as module

    (tmp_path / "tiny_mae.yaml").write_text(json.dumps(PRETRAINING))
    probe = {"mode": "linear_probe", "no_baseline": True}
    broken = {"config": str(tmp_path / "tiny_mae.yaml"), "per_device_train_batch_size": 4096}
    settings = json.loads((folder / "benchmark.yaml").read_text()) | {"seeds": [0], "output_dir": str(tmp_path / "out")}
    settings["systems"] = [
        probe | {"name": "mae", "pretrain": str(tmp_path / "tiny_mae.yaml")},
        probe | {"name": "max", "pretrain": {"config": str(tmp_path / "tiny_mae.yaml")}, "pooling": "max"},
        probe | {"name": "broken", "pretrain": broken},
    ]
    (tmp_path / "benchmark.yaml").write_text(json.dumps(settings))
    started, killed = [], []

    class Watched(module.PretrainingRun):
        def train(self):
            started.append(str(self.checkpoint or ""))
            if not killed:
                killed.append(True)
                self.trainer.args.max_steps = 2
                super().train()
                raise KeyboardInterrupt
            super().train()

    monkeypatch.setattr(module, "PretrainingRun", Watched)
    said = []
    main = said_by(monkeypatch, said)
    with pytest.raises(KeyboardInterrupt):
        main([str(tmp_path / "benchmark.yaml")])
    printed = call(main, [str(tmp_path / "benchmark.yaml")], said)
    assert printed.endswith("exit 1")
    assert "3 runs, 0 done, 3 to do" in printed
    # Resumed from where it was killed, and made once for the two rows that read it.
    assert len(started) == 2
    assert started[1].endswith("checkpoint-2")
    assert "do not fill one batch of 4096" in printed
    assert printed.count("pretraining tiny_mae in") == 3
    rows = {line.split()[0]: line for line in printed[printed.index("Macro AUROC") :].splitlines() if line.strip()}
    assert "failed" in rows["broken"]
    assert all("[" in rows[name] for name in ("mae", "max"))
    made = [path for path in (tmp_path / "out" / "pretrained").iterdir() if (path / "finished.json").is_file()]
    (entries,) = [json.loads(path.read_text()) for path in (tmp_path / "out" / "runs").glob("mae_*/results.json")]
    assert entries[0]["pretraining"]["records"] > 0
    assert len(made) == 1
    printed = call(main, [str(tmp_path / "benchmark.yaml")], said)
    assert "3 runs, 2 done, 1 to do" in printed
    # Another setting of the pretraining is another pretraining, and so are its rows.
    settings["systems"] = [settings["systems"][0] | {"pretrain": {"config": broken["config"], "max_steps": 3}}]
    (tmp_path / "benchmark.yaml").write_text(json.dumps(settings))
    assert " missing " in call(main, [str(tmp_path / "benchmark.yaml"), "--dry_run"], said)
