"""Readers, corpora and architectures of others: files named by `--import`, packages with an entry point."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from ecg_transformers import auto, corpora
from ecg_transformers.cli import main
from ecg_transformers.commands.entry import arguments_of
from ecg_transformers.commands.settings import read_settings
from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.errors import ArgumentsError
from ecg_transformers.signals.formats import readers

from .conftest import script

TABLES = (auto.ARCHITECTURES, corpora.CORPORA)
# One file of a user: a format, a corpus of it, and a network.
MINE = """
import numpy as np
import torch
from torch import nn
from ecg_transformers import Architecture, EcgRecord, register_architecture, register_corpus, register_reader
from ecg_transformers.configuration import EcgConfig
from ecg_transformers.corpora.definition import CorpusDefinition, LabelSet, RecordSource
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.modeling import EcgModelOutput, EcgPreTrainedModel, Encoder


def read_mine(path):
    numbers = np.frombuffer(path.read_bytes()[4:], "<f4").reshape(12, -1)
    return EcgRecord(numbers, 100, "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6".split(), name=path.stem)


def find(source, sampling_rate):
    files = sorted(source.glob("*.mine"))
    return source, [
        RecordSource(file.name, file.stem, number, labels=("AB"[number % 2],)) for number, file in enumerate(files)
    ]


def read(root, record):
    row = CorpusRecord.from_ecg_record(read_mine(root / record.path), record_id=record.record_id)
    row.labels = record.labels
    return row


class MineConfig(EcgConfig):
    model_type = "mine"
    hidden_size: int = 8
    window_size: int = 500
    sampling_rate: int = 100


class MineFeatureExtractor(EcgFeatureExtractor):
    def __init__(self, sampling_rate=100, window_size=500, **kwargs):
        super().__init__(sampling_rate=sampling_rate, window_size=window_size, **kwargs)


class MineModel(Encoder, EcgPreTrainedModel):
    config_class = MineConfig


register_reader("mine", lambda path, head: head.startswith(b"MINE"), read_mine)
register_corpus(
    CorpusDefinition(
        "mine", "recordings of mine", "1", "CC0", "", "", "own", find, read, storage="float32",
        label_sets=lambda codes: {"all": LabelSet(("A", "B"), ("first", "second"), "own")},
    )
)
register_architecture(Architecture("mine", "Mine", heads=("encoder",), package="MODULE"))
"""


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    """What a test registers ends with it."""
    monkeypatch.setattr(readers, "_READERS", [*readers._READERS])
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = [set(table) for table in TABLES]
    yield
    for table, names in zip(TABLES, before, strict=True):
        for name in set(table) - names:
            del table[name]


@pytest.fixture
def mine(tmp_path):
    """The file of a user, and a folder of recordings in the format that it reads."""
    name = f"mine_{os.path.basename(tmp_path)}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MINE.replace("MODULE", name))
    (tmp_path / "ecgs").mkdir()
    generator = np.random.default_rng(0)
    for number in range(4):
        signal = generator.normal(scale=0.3, size=(12, 1000)).astype("<f4")
        (tmp_path / "ecgs" / f"r{number}.mine").write_bytes(b"MINE" + signal.tobytes())
    return tmp_path / f"{name}.py"


def test_a_corpus_of_a_format_of_a_users_file_is_prepared(mine, tmp_path, capsys):
    script("prepare").main(
        ["mine", "--import", str(mine), "--source", str(tmp_path / "ecgs"), "--output", str(tmp_path / "out")]
    )
    assert "recordings of mine" in capsys.readouterr().out
    corpus = load_corpus(tmp_path / "out")
    assert corpus.label_matrix().values.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


def test_the_command_knows_what_a_users_file_registers(mine, tmp_path, capsys):
    assert main(["list", f"--import={mine}", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert ["mine", "encoder"] in [line.split() for line in listed.splitlines()]
    assert ", mine" in listed
    assert "mine, wfdb" in listed
    assert main(["inspect", str(tmp_path / "ecgs" / "r0.mine"), "--import", str(mine)]) == 0
    assert "10 s, 1,000 samples" in capsys.readouterr().out


def test_a_configuration_may_name_an_architecture_of_a_users_file(tmp_path):
    file = tmp_path / "toys_of_mine.py"
    file.write_text(
        "from ecg_transformers import Architecture, register_architecture\n"
        "row = Architecture('toy_autoencoder', 'ToyAutoencoder', heads=('encoder', 'pretraining'),\n"
        "                   package='tests.toys.toy_autoencoder')\n"
        "register_architecture(row)\n"
    )
    config = tmp_path / "toy.yaml"
    config.write_text("model_type: toy_autoencoder\n")
    words = arguments_of([str(config), "--corpus", "c", "--import", str(file), "--output_dir", str(tmp_path / "run")])
    assert "--import" not in words
    assert read_settings(words).config.model_type == "toy_autoencoder"


def test_one_file_may_hold_all_classes_of_a_family(mine):
    arguments_of(["--import", str(mine)])
    row = auto.ARCHITECTURES["mine"]
    assert row.config.__name__ == "MineConfig"
    assert row.encoder.config_class is row.config
    assert row.module_name("encoder") == row.module_name("feature_extractor") == mine.stem


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--import"], "no value"),
        (["--import", "nowhere.py"], "nowhere.py, which does not exist"),
        (["--import", "json.py"], "json is the name of another module"),
    ],
)
def test_an_import_that_cannot_be_is_explained(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("")
    with pytest.raises(ArgumentsError, match=message):
        arguments_of(words)


def test_every_script_and_the_command_name_the_option(capsys):
    for name in ("pretrain", "finetune", "score", "benchmark"):
        script(name).main(["--help"])
        assert "--import FILE|MODULE" in capsys.readouterr().out
    for run in (script("prepare").main, script("publish").main, lambda words: main(["plot", *words])):
        with pytest.raises(SystemExit):
            run(["--help"])
        assert "--import FILE|MODULE" in capsys.readouterr().out


def test_installed_packages_join_by_an_entry_point(tmp_path):
    (tmp_path / "their_ecg.py").write_text(
        "from ecg_transformers import register_reader\n"
        "def register():\n    register_reader('theirs', lambda path, head: False, None)\n"
    )
    info = tmp_path / "their_ecg-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-ecg\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[ecg_transformers.extensions]\ntheirs = their_ecg:register\nbroken = their_ecg:no_such_function\n"
    )
    code = (
        "import json, ecg_transformers, sys\nfrom ecg_transformers.signals.formats.readers import reader_names\n"
        "print(json.dumps([reader_names(), 'torch' in sys.modules]))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    names, torch_is_there = json.loads(finished.stdout)
    assert names[0] == "theirs"
    assert not torch_is_there
    assert "the extension broken (their_ecg:no_such_function) could not be loaded: AttributeError" in finished.stderr
