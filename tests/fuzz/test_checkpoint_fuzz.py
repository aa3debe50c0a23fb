"""Damaged and hostile checkpoint files: only our errors or the libraries' own come out, no hang, no gigabytes."""

import json
import random
import resource
import shutil
import signal
import struct
import traceback
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification
from transformers.utils import logging

from ecg_transformers import (
    MaeMocoConfig,
    MaeMocoFeatureExtractor,
    MaeMocoModel,
    Xresnet1dConfig,
    Xresnet1dFeatureExtractor,
    Xresnet1dForSequenceClassification,
)
from ecg_transformers.errors import EcgError
from ecg_transformers.publishing import publish, verify
from ecg_transformers.publishing.inspection import inspect_checkpoint

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WINDOW = {"sampling_rate": 100, "window_size": 1000, "patch_size": 25}
VALUES = (
    None, True, "x", "a" * 1000, -1, 0, 1, 7, 10**12, 2**70, 0.5, -0.5, 1e308, float("nan"), float("inf"), [], [[]],
    [None], [-1, 1e308], ["I"] * 3, {}, {"a": {"b": 1}},
)  # fmt: skip
SECONDS = 20
# A mistake of ours, even where a library's frame raises it.
NEVER = (IndexError, MemoryError, RecursionError, TimeoutError)


def tiny_transformer():
    """An encoder with attention."""
    return MaeMocoModel(MaeMocoConfig(**SIZES, **WINDOW)), MaeMocoFeatureExtractor(**WINDOW)


def tiny_convolutions():
    """A classifier whose head has layers, behind convolutions."""
    labels = {"id2label": {0: "NORM", 1: "MI"}, "label2id": {"NORM": 0, "MI": 1}}
    config = Xresnet1dConfig(stem_sizes=(4, 8), depths=(1, 1), width=4, head_hidden_sizes=(6,), **labels)
    return Xresnet1dForSequenceClassification(config), Xresnet1dFeatureExtractor()


BOTH_KINDS = pytest.mark.parametrize("checkpoint", [tiny_transformer, tiny_convolutions], indirect=True)


@pytest.fixture(scope="module")
def checkpoint(request, tmp_path_factory, data_dir):
    """A tiny published checkpoint."""
    folder = tmp_path_factory.mktemp("fuzz")
    torch.manual_seed(0)
    for part in getattr(request, "param", tiny_transformer)():
        part.save_pretrained(folder / "run")
    record = data_dir / "ptbxl" / "00001_lr"
    return publish(folder / "run", output_dir=folder / "tiny", golden_record=record, clean_process=False).folder


@pytest.fixture
def copy(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(autouse=True)
def quiet():
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(level)
    logging.enable_progress_bar()


@contextmanager
def limits():
    """Stops after some seconds, and fails if the process grew by a gigabyte."""

    def stop(*arguments):
        raise TimeoutError(f"not done within {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "it took a gigabyte"


def outcome(call):
    """`"accepted"`, `"refused"`, or a line naming an error that is neither ours nor a library's."""
    try:
        with limits():
            call()
    except EcgError:
        return "refused"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        if isinstance(error, NEVER) or "ecg_transformers" in frame.filename:
            return f"{type(error).__name__}: {error} at {frame.filename}:{frame.lineno}"
        return "refused"
    return "accepted"


def mutated_values(path, count, seed):
    """(description, text) of JSON files in which one or two fields have other values or are gone."""
    values = json.loads(path.read_text())
    generator = random.Random(seed)
    singles = [(key, value) for key in values for value in VALUES]
    for key, value in generator.sample(singles, min(count, len(singles))):
        yield f"{key}={value!r}", json.dumps(values | {key: value})
    for key in values:
        yield f"without {key}", json.dumps({name: value for name, value in values.items() if name != key})
    for _ in range(count // 4):
        first, second = generator.choice(singles), generator.choice(singles)
        yield f"{first} {second}", json.dumps(values | dict([first, second]))


def mutated_bytes(content, count, seed):
    """(description, bytes) with bytes changed, removed, doubled, cut off."""
    generator = random.Random(seed)
    for number in range(count):
        data = bytearray(content)
        for _ in range(generator.choice((1, 1, 2, 8))):
            place = generator.randrange(min(len(data), 4096))
            kind = generator.randrange(4)
            if kind == 0:
                data[place] = generator.randrange(256)
            elif kind == 1:
                del data[place : place + generator.choice((1, 4, 64))]
            elif kind == 2:
                data[place:place] = data[place : place + 16]
            else:
                del data[place:]
            data = data or bytearray(b"\0")
        yield f"change {number}", bytes(data)


def failures(results):
    found = [f"{label} -> {result}" for label, result in results if result not in ("accepted", "refused")]
    return "\n".join(found[:10])


@BOTH_KINDS
def test_changed_values_in_the_config(copy, checkpoint):
    results = []
    for label, text in mutated_values(checkpoint / "config.json", 60, seed=1):
        (copy / "config.json").write_text(text)
        for call in (
            lambda: AutoModel.from_pretrained(copy, trust_remote_code=False),
            lambda: AutoModelForSequenceClassification.from_pretrained(copy, trust_remote_code=False),
            lambda: inspect_checkpoint(copy),
        ):
            results.append((label, outcome(call)))
    assert not failures(results)
    assert 20 < sum(result == "accepted" for _, result in results) < len(results) * 0.8


def test_changed_values_in_the_preprocessor_file(copy, checkpoint):
    signal_array = np.random.default_rng(0).normal(size=(12, 1000)).astype(np.float32)

    def use():
        extractor = AutoFeatureExtractor.from_pretrained(copy, trust_remote_code=False)
        extractor.describe()
        extractor(signal_array, sampling_rate=100, return_tensors="pt")

    results = []
    for label, text in mutated_values(checkpoint / "preprocessor_config.json", 200, seed=2):
        (copy / "preprocessor_config.json").write_text(text)
        results.append((label, outcome(use)))
    assert not failures(results)
    assert 20 < sum(result == "accepted" for _, result in results) < len(results) * 0.8


@BOTH_KINDS
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "golden.safetensors", "model.safetensors"])
def test_changed_bytes(copy, checkpoint, name):
    results = []
    for label, content in mutated_bytes((checkpoint / name).read_bytes(), 25, seed=len(name)):
        (copy / name).write_bytes(content)
        results.append((label, outcome(lambda: inspect_checkpoint(copy))))
        results.append((label, outcome(lambda: verify(copy, clean_process=False))))
        if name == "model.safetensors":
            results.append((label, outcome(lambda: AutoModel.from_pretrained(copy, trust_remote_code=False))))
    assert not failures(results)
    assert any(result == "refused" for _, result in results)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
        {
            "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        },
        {"a": {"dtype": "F999", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": 5},
        [],
        {"__metadata__": {"format": "tf"}},
        {"__metadata__": {"format": 3}},
    ],
)
@pytest.mark.parametrize("length", [None, 2**62])
def test_hostile_weight_headers(copy, header, length):
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text) if length is None else length) + text + bytes(4)
    (copy / "model.safetensors").write_bytes(content)
    for call in (
        lambda: inspect_checkpoint(copy),
        lambda: AutoModel.from_pretrained(copy, trust_remote_code=False),
    ):
        assert outcome(call) == "refused"


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", '{"a": ' * 5000, "[" * 100_000, '{"auto_map": null}', "\0", "\udcff" + "x", " " * 2**25],
)
def test_files_that_are_no_table_of_values(copy, name, text):
    (copy / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert outcome(lambda: inspect_checkpoint(copy)) == "refused"
    assert outcome(lambda: verify(copy, clean_process=False)) == "refused"


def test_a_pickle_in_place_of_the_weights_is_never_opened(copy):
    (copy / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, copy / "pytorch_model.bin")
    assert outcome(lambda: inspect_checkpoint(copy)) == "refused"
    assert outcome(lambda: publish(copy, "a/b", dry_run=True, clean_process=False)) == "refused"
