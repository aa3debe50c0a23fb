"""`ecg-transformers`: checkpoints and recordings in words, plots, labels, embeddings, conversion, and its errors."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ecg_transformers import (
    EcgRecord,
    MaeMocoConfig,
    MaeMocoFeatureExtractor,
    MaeMocoForSequenceClassification,
    read_record,
)
from ecg_transformers.cli import _columns, describe_record, main
from ecg_transformers.errors import CheckpointError
from ecg_transformers.inference.loading import checkpoint_errors
from ecg_transformers.publishing import publish

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WINDOW = {"sampling_rate": 100, "window_size": 1000, "patch_size": 25}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, data_dir):
    """A tiny published classifier."""
    folder = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    labels = {"id2label": {0: "NORM", 1: "AFIB"}, "label2id": {"NORM": 0, "AFIB": 1}}
    config = MaeMocoConfig(**SIZES, **WINDOW, **labels, label_names=["normal", "atrial fibrillation"])
    MaeMocoForSequenceClassification(config).save_pretrained(folder / "run")
    MaeMocoFeatureExtractor(**WINDOW).save_pretrained(folder / "run")
    record = data_dir / "ptbxl" / "00001_lr"
    return publish(folder / "run", output_dir=folder / "tiny", golden_record=record, clean_process=False).folder


def test_a_checkpoint_is_said_in_words_and_its_golden_recording_is_run(checkpoint, capsys):
    assert main(["inspect", str(checkpoint)]) == 0
    text = capsys.readouterr().out
    for part in (
        "MaeMocoForSequenceClassification (mae_moco)",
        "stored as BF16",
        "12 leads, 1000 samples at 100 Hz",
        "NORM (normal), AFIB (atrial fibrillation)",
        "1. leads",
        "apache-2.0",
        "Not a medical device",
        "equal: record 00001_lr",
    ):
        assert part in text


def test_a_changed_weight_fails_the_golden_check(checkpoint, tmp_path, capsys):
    shutil.copytree(checkpoint, tmp_path / "copy")
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    name = next(name for name in weights if name.endswith("cls_token"))
    weights[name] = weights[name] + 1
    save_file(weights, tmp_path / "copy" / "model.safetensors", metadata={"format": "pt"})
    assert main(["inspect", str(tmp_path / "copy")]) == 1
    assert "DIFFERENT: record 00001_lr, input_values differ by 0.0e+00" in capsys.readouterr().out


def test_a_checkpoint_of_a_run_has_no_golden_recording(checkpoint, capsys):
    assert main(["inspect", str(checkpoint.parent / "run")]) == 0
    assert "only published checkpoints have one" in capsys.readouterr().out


def test_config_and_preprocessor_that_differ_are_an_error(checkpoint, tmp_path, capsys):
    shutil.copytree(checkpoint, tmp_path / "copy")
    path = tmp_path / "copy" / "preprocessor_config.json"
    values = json.loads(path.read_text())
    values["lead_names"] = values["lead_names"][::-1]
    path.write_text(json.dumps(values))
    assert main(["inspect", str(tmp_path / "copy")]) == 2
    assert "CheckpointError: lead_names is" in capsys.readouterr().err


def test_a_depth_beyond_the_weights_is_found_before_it_is_built(checkpoint, tmp_path, capsys):
    shutil.copytree(checkpoint, tmp_path / "copy")
    path = tmp_path / "copy" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 10**9}))
    assert main(["inspect", str(tmp_path / "copy")]) == 2
    assert "num_hidden_layers is 1,000,000,000" in capsys.readouterr().err


def test_a_width_that_is_not_that_of_the_weights_is_found_before_it_is_built(checkpoint, tmp_path, capsys):
    shutil.copytree(checkpoint, tmp_path / "copy")
    path = tmp_path / "copy" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_size": 100_000}))
    assert main(["inspect", str(tmp_path / "copy")]) == 2
    assert "config and weights are not of the same model" in capsys.readouterr().err


def test_a_recording_is_said_in_words(data_dir, capsys):
    assert main(["inspect", str(data_dir / "mitdb" / "100")]) == 0
    text = capsys.readouterr().out
    for part in ("MLII, V5 (2)", "360 Hz", "30 s, 10,800 samples", "age 69", "marks: + A N", "no unit"):
        assert part in text


def test_what_a_checkpoint_would_do_to_a_recording(checkpoint, data_dir, capsys):
    assert main(["inspect", str(data_dir / "ptbxl" / "00001_hr"), "--model", str(checkpoint)]) == 0
    assert "resampled 500 -> 100 Hz" in capsys.readouterr().out


def test_what_a_file_does_not_say_is_given_by_options(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.full((2, 500), 1000.0))
    assert main(["inspect", str(tmp_path / "a.npy")]) == 2
    assert "sampling" in capsys.readouterr().err
    words = ["inspect", str(tmp_path / "a.npy"), "--sampling_rate", "250", "--units", "uV", "--leads", "I,II"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "I, II (2)" in text
    assert "2 s, 500 samples" in text
    assert "1.000 to 1.000" in text
    assert "flat         I, II" in text


def test_labels_missing_samples_and_notes_are_listed():
    record = EcgRecord(
        [[0.0, np.nan, 1.0]], 250, name="x", labels=("AFIB",), patient_id=7, sex="female", notes=("repaired",)
    )
    text = describe_record(record)
    for part in ("1 without names", "AFIB", "id 7, female", "0.000 to 1.000, 1 missing", "repaired"):
        assert part in text


@pytest.mark.parametrize("what", ["nothing", "no/such/record.hea"])
def test_what_is_not_there_is_one_clear_line(what, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", what]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ecg-transformers: RecordFileError:")
    assert error.count("\n") == 1


def test_a_folder_that_is_no_checkpoint_and_a_foreign_model_are_refused(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 2
    assert "without config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert main(["inspect", str(tmp_path)]) == 2
    assert "'bert'" in capsys.readouterr().err


def test_help_shows_how_it_is_used(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "ecg-transformers inspect hub/mae-moco-ecg" in text
    assert "ecg-transformers embed" not in text
    assert "--sampling_rate" in text


def test_a_plot_in_another_format_is_refused(data_dir, tmp_path, capsys):
    page = tmp_path / "page.gif"
    assert main(["plot", str(data_dir / "ptbxl" / "00001_lr"), "--output", str(page)]) == 2
    assert "ends in .png, .pdf, .svg" in capsys.readouterr().err
    assert not page.exists()


def test_without_network_architectures_are_still_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.HfApi.list_models", lambda *args, **options: 1 / 0)
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert "xresnet1d" in text
    assert "not listed: ecg-transformers is no folder" in text
    assert main(["list", "somebody"]) == 2


def test_without_network_the_hub_is_asked_once_and_what_is_local_is_listed_first(tmp_path, monkeypatch, capsys):
    asked = []

    def request(*arguments, **options):
        asked.append(capsys.readouterr().out)
        raise ConnectionError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: SimpleNamespace(head=request))
    assert main(["list"]) == 0
    assert "architectures:" in asked[0]
    assert "no network" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match=r"absent cannot be opened: no such folder, and .* reached: no network"):
        with checkpoint_errors("nobody/absent"):
            raise AssertionError("the client is not called")
    assert len(asked) == 2


def test_the_columns_of_a_list_are_aligned():
    assert _columns([("a", "long text", ""), ("longer", "b", "c")]) == ["a       long text", "longer  b          c"]
    assert _columns([]) == []


def test_a_recording_is_plotted(data_dir, tmp_path, capsys):
    page = tmp_path / "page.svg"
    assert main(["plot", str(data_dir / "ptbxl" / "00001_lr"), "--output", str(page), "--layout", "12x1"]) == 0
    assert capsys.readouterr().out == f"-> {page}\n"
    assert b"<svg" in page.read_bytes()[:1000]


def test_one_recording_is_classified_on_the_screen_and_a_folder_into_a_table(checkpoint, data_dir, tmp_path, capsys):
    run = str(checkpoint.parent / "run")
    assert main(["classify", run, str(data_dir / "ptbxl" / "00001_lr")]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert {line.split()[0] for line in lines} == {"NORM", "AFIB"}
    assert any(line.endswith("atrial fibrillation") for line in lines)
    assert "Loading weights" not in captured.err
    table = tmp_path / "labels.parquet"
    assert main(["classify", run, str(data_dir / "ptbxl"), "--output", str(table)]) == 0
    assert str(table) in capsys.readouterr().out
    # The same once more is there already; another job is not overwritten by accident.
    assert main(["classify", run, str(data_dir / "ptbxl"), "--output", str(table)]) == 0
    assert main(["classify", run, str(data_dir / "ptbxl"), "--output", str(table), "--aggregate", "max"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_batch_of_no_window_is_refused(checkpoint, data_dir, tmp_path, capsys):
    words = ["embed", str(checkpoint.parent / "run"), str(data_dir / "ptbxl"), "--output", str(tmp_path / "e.csv")]
    assert main([*words, "--batch_size", "0"]) == 2
    assert "batch_size is 0; expected" in capsys.readouterr().err


def test_embeddings_and_how_many_were_refused(checkpoint, data_dir, tmp_path, capsys):
    run, table = str(checkpoint.parent / "run"), tmp_path / "embeddings.parquet"
    good, bad = str(data_dir / "ptbxl" / "00001_lr"), tmp_path / "bad.csv"
    bad.write_text("I,II\nx,y\n")
    assert main(["embed", run, good, str(bad), "--output", str(table)]) == 1
    printed = capsys.readouterr().out
    assert "bad.csv, line 2: 'x' in column 'I' is no number" in printed
    assert "refused: 1 of 2 records" in printed
    assert "2 records, 1 rows" in printed
    (tmp_path / "bare.csv").write_text("I,II\n" + "0.1,0.2\n" * 99)
    assert main(["embed", run, good, str(tmp_path / "bare.csv"), "--output", str(tmp_path / "more.csv")]) == 1
    assert "Set --sampling_rate and --units" in capsys.readouterr().out
    assert "bad.csv" in table.with_suffix(".refused.csv").read_text()


def test_unusual_recordings_by_options(checkpoint, data_dir, tmp_path, capsys):
    run, two = str(checkpoint.parent / "run"), tmp_path / "two.csv"
    record = read_record(data_dir / "ptbxl" / "00001_lr")
    values = record.select(["I", "II"]).signal.T
    np.savetxt(two, values, delimiter=";", header="ECG (mV);II (mV)", comments="")
    two.write_text(two.read_text().replace(".", ","))
    words = ["classify", run, str(two), "--sampling_rate", "100", "--decimal", ","]
    assert main(words) == 2
    assert "missing: I" in capsys.readouterr().err
    assert main([*words, "--treat_as", "ECG=I"]) == 2
    error = capsys.readouterr().err
    assert "--derive_leads" in error, error
    assert "--missing_leads mask" in error
    assert main([*words, "--treat_as", "ECG=I", "--derive_leads", "--missing_leads", "mask"]) == 0
    assert main(["inspect", *words[2:], "--model", run, "--treat_as", "ECG=I", "--missing_leads", "mask"]) == 0
    assert "ECG" in capsys.readouterr().out
    assert main([*words, "--treat_as", "ECG"]) == 2
    assert "treat_as is 'ECG'; expected" in capsys.readouterr().err


def broken_files(folder, record):
    """Recordings that need an option, by the option that a message should advise."""
    from ecg_transformers.signals.wfdb.write import write_wfdb

    signal, names = record.signal, ",".join(record.leads)
    marked = signal.copy()
    marked[7, 300:310] = -32.768
    np.savetxt(folder / "marked.csv", marked.T, delimiter=",", header=names, comments="")
    np.savez(folder / "several.npz", one=signal, two=2 * signal, sampling_rate=100)
    np.savez(folder / "records.npz", signal=np.stack([signal, signal]), sampling_rate=100)
    whole = write_wfdb(EcgRecord(signal, 100, record.leads, name="cut"), folder).with_suffix(".dat")
    whole.write_bytes(whole.read_bytes()[:-2400])
    return {
        "marked.csv": "--missing_value -32.768",
        "several.npz": "--key",
        "records.npz": "--index",
        "cut": "--allow_truncated",
    }


@pytest.mark.parametrize("command", ["classify", "embed"])
def test_the_advice_of_a_message_works_where_it_is_printed(command, checkpoint, data_dir, tmp_path, capsys):
    record, run = read_record(data_dir / "ptbxl" / "00001_lr"), str(checkpoint.parent / "run")
    for name, advice in broken_files(tmp_path, record).items():
        words = [command, run, str(tmp_path / name), "--output", str(tmp_path / f"{name}.csv")]
        if name.endswith(".csv"):
            words += ["--sampling_rate", "100"]
        assert main(words) == 2
        assert advice in capsys.readouterr().err, name
        more = {"--key": "one", "--index": "1", "--missing_value -32.768": "--nan_policy mask_lead"}
        assert main([*words, *advice.split(), *more.get(advice, "").split()]) == 0, (name, capsys.readouterr().out)
        capsys.readouterr()


def test_recordings_are_converted_to_wfdb(data_dir, tmp_path, capsys):
    from ecg_transformers import read_record

    source, out = data_dir / "ptbxl" / "00002_lr.csv", tmp_path / "out"
    assert main(["convert", "wfdb", str(source), str(out), "--sampling_rate", "100"]) == 0
    assert capsys.readouterr().out == f"1 recordings -> {out}\n"
    before, after = read_record(source, sampling_rate=100), read_record(out / "00002_lr")
    np.testing.assert_allclose(before.signal, after.signal, atol=5.1e-4)
    assert main(["convert", "wfdb", str(source), str(out), "--sampling_rate", "100"]) == 1
    assert "exists; choose another folder" in capsys.readouterr().err


def test_the_list_has_families_corpora_formats_and_checkpoints(checkpoint, capsys):
    assert main(["list", str(checkpoint.parent)]) == 0
    text = capsys.readouterr().out
    assert "mae_moco encoder, pretraining, classifier" in " ".join(text.split())
    assert "ptbxl, mitdb" in text
    assert "wfdb, numpy" in text
    assert f"{checkpoint.as_posix()} MaeMocoForSequenceClassification, 12 leads, 100 Hz, 10 s" in " ".join(text.split())


@pytest.mark.parametrize("command", ["classify", "embed"])
def test_a_checkpoint_that_is_not_there_is_one_line(command, tmp_path, capsys):
    assert main([command, str(tmp_path / "absent"), "x.csv"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ecg-transformers: CheckpointError: ")
    assert error.count("\n") == 1


def test_an_interruption_says_how_to_continue(checkpoint, data_dir, tmp_path, capsys, monkeypatch):
    from ecg_transformers.pipelines import EcgFeatureExtractionPipeline

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(EcgFeatureExtractionPipeline, "to_table", interrupt)
    words = ["embed", str(checkpoint.parent / "run"), str(data_dir / "ptbxl"), "--output", str(tmp_path / "e.csv")]
    assert main(words) == 130
    assert "The same command continues" in capsys.readouterr().err
