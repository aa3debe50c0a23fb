"""Exported checkpoints: the numbers of the model at any batch and window, the contract, and scores without torch."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, pipeline

from ecg_transformers import (
    EcgFeatureExtractor,
    EcgRecord,
    Xresnet1dConfig,
    Xresnet1dFeatureExtractor,
    Xresnet1dForSequenceClassification,
    read_record,
)
from ecg_transformers.cli import main
from ecg_transformers.errors import CheckpointError, EcgError
from ecg_transformers.exporting import export_checkpoint
from ecg_transformers.exporting.example import example_program
from ecg_transformers.exporting.graph import FORMATS, OUTPUTS, TOLERANCE, Signature, largest_difference
from ecg_transformers.signals.beats import detect_r_peaks

from ..conftest import ROOT
from ..testers import tester as families

WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder
class Blocked(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in ("torch", "transformers", "ecg_transformers"):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
sys.meta_path.insert(0, Blocked())
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
CODES = ("NORM", "MI", "STTC")


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    return pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A tiny classifier of overlapping windows, whose preparation resamples, filters and standardizes."""
    folder = tmp_path_factory.mktemp("export") / "tiny"
    tester = families.testers()["xresnet1d"]()
    labels = {"id2label": dict(enumerate(CODES)), "label2id": {code: number for number, code in enumerate(CODES)}}
    fields = tester.config_fields | labels | {"sampling_rate": 100, "window_size": 250, "thresholds": [0.4, None, 0.6]}
    torch.manual_seed(0)
    config = Xresnet1dConfig(**fields, problem_type="multi_label_classification", max_over_windows=["MI"])
    Xresnet1dForSequenceClassification(config).save_pretrained(folder)
    Xresnet1dFeatureExtractor(
        sampling_rate=100, window_size=250, window_stride=200, bandpass=[0.5, 40], normalization="record"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory, onnx):
    folder = tmp_path_factory.mktemp("exported")
    assert main(["export", str(classifier), "--output_dir", str(folder)]) == 0
    return folder


def without_torch(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_signal(record, silence):
    """A recording whose leads are all 0 in its second half, or in the middle third of three times its length."""
    signal = np.tile(record.signal, (1, 3)) if silence == "a gap" else record.signal.copy()
    parts = {"nowhere": 0, "the second half": 2, "a gap": 3}[silence]
    if parts:
        samples = signal.shape[1] // parts
        signal[:, samples : 2 * samples] = 0
    return EcgRecord(signal, record.sampling_rate, leads=record.leads)


SILENCES = ("nowhere", "the second half", "a gap")


@pytest.mark.parametrize("silence", SILENCES)
def test_a_recording_gets_the_scores_of_the_pipeline_without_torch(silence, exported, classifier, data_dir, tmp_path):
    record = without_signal(read_record(data_dir / "ptbxl" / "00001_hr"), silence)
    np.save(tmp_path / "record.npy", record.signal)
    script = exported / "score_recording.py"
    lines = without_torch(script, tmp_path / "record.npy", record.sampling_rate, ",".join(record.leads)).splitlines()
    found = {code: float(value) for code, value in map(str.split, lines)}
    wanted = {one["label"]: one["score"] for one in pipeline("ecg-classification", model=str(classifier))(record)}
    assert found == pytest.approx(wanted, abs=1e-4)
    assert len(set(found.values())) == len(CODES)


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_script_without_its_arguments_says_how_to_call_it(arguments, exported):
    called = subprocess.run(
        [sys.executable, exported / "score_recording.py", *arguments], capture_output=True, text=True
    )
    assert "Scores of a recording from tiny" in called.stderr
    assert "score_recording.py RECORDING.npy SAMPLING_RATE" in called.stderr
    assert "Traceback" not in called.stderr


def test_the_contract_has_inputs_labels_and_preprocessing(exported):
    contract = json.loads((exported / "contract.json").read_text())
    assert contract["inputs"]["input_values"] == {"type": "float32", "shape": ["batch", 12, "samples"]}
    assert "attention_mask" not in contract["inputs"]
    assert [(one["code"], one["threshold"], one["over_windows"]) for one in contract["labels"]] == [
        ("NORM", 0.4, "mean"), ("MI", None, "max"), ("STTC", 0.6, "mean"),
    ]  # fmt: skip
    assert contract["activation"] == "sigmoid"
    assert contract["preprocessing"]["bandpass"] == [0.5, 40.0]


def test_wrong_shapes_are_errors_of_the_runtime(exported, onnx):
    session = onnx.InferenceSession(exported / "model.onnx")
    masks = {"lead_mask": np.ones((2, 12), np.int64)}
    with pytest.raises(
        Exception, match=r"invalid dimensions for input: input_values.*\n.*index: 1 Got: 11 Expected: 12"
    ):
        session.run(None, {"input_values": np.zeros((2, 11, 250), np.float32), **masks})
    assert [axis.shape for axis in session.get_inputs()] == [["batch", 12, "samples"], ["batch", 12]]


def test_a_checkpoint_becomes_a_program_of_torch_export(classifier, tmp_path, capsys):
    assert main(["export", str(classifier), "--output_dir", str(tmp_path), "--format", "torch"]) == 0
    assert "lead_mask (batch, 12)" in capsys.readouterr().out
    program = torch.export.load(tmp_path / "model.pt2").module()
    model = Xresnet1dForSequenceClassification.from_pretrained(classifier)
    windows, lead_mask = torch.randn(5, 12, 333), torch.ones(5, 12, dtype=torch.int64)
    with torch.no_grad():
        torch.testing.assert_close(program(windows, lead_mask)[0], model(windows).logits, rtol=1e-5, atol=1e-6)
    assert not (tmp_path / "score_recording.py").exists()


def test_an_export_that_differs_is_refused_and_leaves_no_file(classifier, tmp_path, monkeypatch):
    def write(path, model, signature):
        path.write_bytes(b"graph")
        return lambda inputs: (model(**inputs).logits + 1e-3,)

    monkeypatch.setitem(FORMATS, "torch", ("model.pt2", write))
    with pytest.raises(CheckpointError, match="torch differs from the model by"):
        export_checkpoint(classifier, tmp_path, format="torch")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_checkpoint_is_one_line(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--output_dir", str(tmp_path / "out")]) == 2
    assert "has no config.json" in capsys.readouterr().err


CONTRACTS = {
    "resampled": {"normalization": "record_lead"},
    "padded": {"normalization": "record_lead", "allow_short": True, "window_size": 400},
    "padded_and_little_left": {"normalization": "record", "allow_short": True, "window_size": 470},
    "constants": {"normalization": "constants", "normalization_std": [0.2] * 12},
    "constants_with_mean": {
        "normalization": "constants", "normalization_std": [0.2] * 12, "normalization_mean": [0.01] * 12,
    },
    "range": {"normalization": "minmax_lead", "bandpass": [0.5, 40], "fir_taps": 101},
    "notch": {"sampling_rate": 250, "window_size": 900, "notch": 50, "bandpass": [None, 40], "normalization": "record"},
    "causal": {"bandpass": [0.5, None], "zero_phase": False, "normalization": "none"},
    "unusual_rate": {"sampling_rate": 257.3, "window_size": 1000, "flat_lead": "keep", "window_stride": 700},
    "beats": {"window_mode": "beats", "samples_before": 100, "samples_after": 200, "reference": "record_median_beat"},
}  # fmt: skip


def write_program(folder, contract, inputs):
    """The functions of the program for an encoder with this contract."""
    facts = {"preprocessing": asdict(contract), "inputs": inputs, "outputs": ["pooler_output"]}
    (folder / "contract.json").write_text(json.dumps(facts))
    program = example_program(facts, "encoder")
    assert max(map(len, program.splitlines())) <= 120
    (folder / "score_recording.py").write_text(program)
    return runpy.run_path(str(folder / "score_recording.py"))


def assert_prepares_alike(prepare, extractor, record, masks=("attention_mask", "lead_mask")):
    peaks = {"peaks": np.arange(50, 5000, 400)} if extractor.contract.window_mode == "beats" else {}
    wanted = extractor(record, return_tensors="np", return_patches=False, **peaks)
    # The pipelines leave these windows out.
    heard = wanted["lead_mask"].any(axis=1) & wanted["input_values"].any(axis=(1, 2))
    wanted = {name: values[heard] for name, values in wanted.items()}
    found = prepare(record.signal, record.sampling_rate, list(record.leads), **peaks)
    scale = np.abs(wanted["input_values"]).max()
    np.testing.assert_allclose(found["input_values"], wanted["input_values"], atol=2e-5 * scale)
    for mask in masks:
        np.testing.assert_array_equal(found[mask], wanted[mask])


INPUTS = {
    "input_values": {"type": "float32"}, "attention_mask": {"type": "int64"}, "lead_mask": {"type": "int64"},
}  # fmt: skip


@pytest.mark.parametrize("silence", SILENCES)
@pytest.mark.parametrize("name", CONTRACTS)
def test_the_example_prepares_a_recording_as_the_extractor_does(name, silence, data_dir, tmp_path, onnx):
    extractor = EcgFeatureExtractor(**{"sampling_rate": 100, "window_size": 300, **CONTRACTS[name]})
    record = without_signal(read_record(data_dir / "ptbxl" / "00001_hr"), silence)
    record.signal[4] = 0.25  # a flat lead
    assert_prepares_alike(write_program(tmp_path, extractor.contract, INPUTS)["prepare"], extractor, record)


def marked(signal):
    """A sample that the recorder marks as missing."""
    signal = signal.copy()
    signal[2, 700] = -32.768
    return signal


REFUSED = {
    "microvolts": (lambda signal: np.round(1000 * signal).astype(np.int16), "microvolts. Divide by 1000"),
    "volts": (lambda signal: signal / 1000, "volts. Multiply by 1000"),
    "marks": (marked, "differ by more than 25 mV"),
    "gaps": (lambda signal: np.where(np.arange(5000) == 7, np.nan, signal), "missing samples"),
    "no signal": (np.zeros_like, "no signal in any lead"),
    "too few leads": (lambda signal: signal[:11], "11 leads, and 12 names"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_example_refuses_what_the_extractor_refuses(case, data_dir, tmp_path, onnx):
    change, message = REFUSED[case]
    extractor = EcgFeatureExtractor(sampling_rate=100, window_size=300)
    record = read_record(data_dir / "ptbxl" / "00001_hr")
    signal, prepare = change(record.signal), write_program(tmp_path, extractor.contract, INPUTS)["prepare"]
    with pytest.raises(EcgError):
        extractor(signal, sampling_rate=500, leads=list(record.leads))
    with pytest.raises(SystemExit, match=message):
        prepare(signal, 500, list(record.leads))


def test_the_example_refuses_more_names_than_leads_and_missing_leads(data_dir, tmp_path, onnx):
    record = read_record(data_dir / "ptbxl" / "00001_hr")
    contract = EcgFeatureExtractor(sampling_rate=100, window_size=300).contract
    prepare = write_program(tmp_path, contract, INPUTS)["prepare"]
    with pytest.raises(SystemExit, match="12 leads, and 13 names"):
        prepare(record.signal, 500, [*record.leads, "V7"])
    with pytest.raises(SystemExit, match="lacks V5, V6"):
        prepare(record.signal, 500, [*record.leads[:10], "V7", "V8"])


def test_the_example_takes_any_values_where_the_contract_does(data_dir, tmp_path, onnx):
    record = read_record(data_dir / "ptbxl" / "00001_hr")
    extractor = EcgFeatureExtractor(sampling_rate=100, window_size=300, implausible_amplitude="accept")
    record = EcgRecord(1000 * record.signal, 500, leads=record.leads)
    assert_prepares_alike(write_program(tmp_path, extractor.contract, INPUTS)["prepare"], extractor, record)


@pytest.mark.parametrize(
    "changes",
    [
        {"resampling": "linear"},
        {"used_leads": ["I"]},
        {"order": ["leads", "units", "resample", "filter", "normalize", "window", "pad"]},
    ],
)
def test_a_contract_with_a_step_that_the_example_does_not_know_has_none(changes):
    facts = {"preprocessing": asdict(EcgFeatureExtractor(**changes).contract), "inputs": {}, "outputs": []}
    assert example_program(facts, "encoder") is None


@pytest.fixture
def quick_onnx(monkeypatch):
    """The format without its graph: the example and the contract are written as with it."""

    def write(path, model, signature):
        return lambda inputs: tuple(model(**inputs)[name] for name in signature.outputs)

    monkeypatch.setitem(FORMATS, "onnx", ("model.onnx", write))


def test_without_an_example_none_of_another_checkpoint_is_left(quick_onnx, classifier, tmp_path, capsys):
    folder = tmp_path / "changed"
    shutil.copytree(classifier, folder)
    facts = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(facts | {"resampling": "linear"}))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "score_recording.py").write_text("of another checkpoint")
    assert main(["export", str(folder), "--output_dir", str(tmp_path / "out")]) == 0
    assert "no example" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["contract.json"]


SHIPPED = sorted(path.name for path in (ROOT / "hub").iterdir() if (path / "config.json").exists())


@pytest.mark.parametrize("name", SHIPPED)
def test_the_example_of_every_shipped_checkpoint_has_sixty_lines_at_most(name, data_dir, tmp_path, quick_onnx, onnx):
    example = export_checkpoint(ROOT / "hub" / name, tmp_path).example
    lines = example.read_text().splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120
    record = read_record(data_dir / "ptbxl" / "00001_hr")
    extractor = AutoFeatureExtractor.from_pretrained(ROOT / "hub" / name)
    if extractor.contract.lead_names == ["MLII"]:
        record = EcgRecord(record.signal[1:2], record.sampling_rate, leads=["MLII"])
    masks = json.loads((tmp_path / "contract.json").read_text())["inputs"].keys() - {"input_values"}
    assert_prepares_alike(runpy.run_path(str(example))["prepare"], extractor, record, masks)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("format", FORMATS)
def test_every_shipped_checkpoint_is_exported_with_equal_outputs(name, format, tmp_path, onnx):
    assert export_checkpoint(ROOT / "hub" / name, tmp_path, format=format).difference <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_the_example_of_every_shipped_checkpoint_gives_the_numbers_of_the_pipeline(name, data_dir, tmp_path, onnx):
    example = export_checkpoint(ROOT / "hub" / name, tmp_path).example
    record = read_record(data_dir / ("mitdb/100" if name.startswith("beatgan") else "ptbxl/00001_hr"))
    task, options, more = "ecg-feature-extraction", {}, []
    if name.startswith("beatgan"):
        task, more = "ecg-anomaly-detection", [tmp_path / "peaks.npy"]
    elif "Classification" in (ROOT / "hub" / name / "config.json").read_text(encoding="utf-8"):
        task = "ecg-classification"
    pipe = pipeline(task, model=str(ROOT / "hub" / name))
    for silence in SILENCES:
        silenced = without_signal(record, silence)
        np.save(tmp_path / "record.npy", silenced.signal)
        if more:
            # Peaks as if there were a signal throughout, so that some beats have none.
            peaks, samples = detect_r_peaks(record), record.num_samples
            options = {"peaks": np.concatenate([peaks + start for start in range(0, silenced.num_samples, samples)])}
            np.save(more[0], options["peaks"])
        found = pipe(silenced, **options)
        printed = without_torch(example, tmp_path / "record.npy", record.sampling_rate, ",".join(record.leads), *more)
        lines = [line.split() for line in printed.splitlines()]
        if task == "ecg-classification":
            assert {code: float(value) for code, value in lines} == pytest.approx(
                {one["label"]: one["score"] for one in found}, abs=1e-4
            )
            continue
        if more:
            found = [row["score"] for row in found if np.isfinite(row["score"])]
        np.testing.assert_allclose([float(value) for _, value in lines], found, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", families.testers())
def test_every_head_of_every_family_is_exported_with_equal_outputs(name, format, tmp_path, onnx):
    tester = families.testers()[name]()
    file, write = FORMATS[format]
    for head in OUTPUTS.keys() & set(tester.architecture.heads):
        model = tester.trained(tester.architecture.find(head))
        signature = Signature.of(model, head)
        assert largest_difference(write(tmp_path / file, model, signature), model, signature) <= TOLERANCE, head
