"""The one table of architectures: every class is there under its name and opens through the stock auto classes."""

import importlib
import sys
from dataclasses import replace

import pytest
import transformers
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

import ecg_transformers
from ecg_transformers.auto import ARCHITECTURES, CLASS_KINDS, Architecture, register, register_architecture
from ecg_transformers.configuration import EcgBaseConfig
from ecg_transformers.errors import ArgumentsError, CheckpointError
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.modeling import EcgForSequenceClassification, EcgPreTrainedModel, Encoder

from ..testers.tester import ROWS, find_tester, missing_tester, rows_with_tester
from ..toys import TOYS

MODEL_AUTO_CLASSES = [
    (auto_class, kind)
    for kind, facts in CLASS_KINDS.items()
    for auto_class in facts.auto_classes
    if kind not in ("config", "feature_extractor")
]


@pytest.fixture(params=rows_with_tester())
def architecture(request) -> Architecture:
    return ROWS[request.param]


def small_config(architecture: Architecture) -> EcgBaseConfig:
    return find_tester(architecture)().get_config(num_labels=4)


@pytest.mark.parametrize("row", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_family_has_all_that_its_row_names_and_a_tester(row):
    """Says what a contributor still has to add."""
    for kind in row.kinds:
        assert row.find(kind) is not None
    message = missing_tester(row)
    assert message is None, message


def test_what_a_family_lacks_is_named():
    row = Architecture("no_such_family", "NoSuchFamily")
    assert "tests/testers/no_such_family.py with the class NoSuchFamilyTester" in str(missing_tester(row))
    with pytest.raises(ModuleNotFoundError, match=r"ecg_transformers\.models\.no_such_family"):
        _ = row.config
    row = replace(ARCHITECTURES["xresnet1d"], heads=("encoder", "anomaly_detection"))
    with pytest.raises(CheckpointError, match=r"modeling_xresnet1d defines no class Xresnet1dForAnomalyDetection"):
        _ = row.anomaly_detection
    assert "has no class YresnetTester" in str(missing_tester(replace(row, prefix="Yresnet")))


def test_the_key_is_the_model_type_of_the_config_and_the_folder(architecture):
    assert ROWS[architecture.model_type] is architecture
    assert architecture.config.model_type == architecture.model_type
    assert architecture.config.__module__.split(".")[-2] == architecture.model_type


def test_the_classes_are_the_shared_kinds(architecture):
    assert issubclass(architecture.config, EcgBaseConfig)
    assert issubclass(architecture.feature_extractor, EcgFeatureExtractor)
    assert architecture.feature_extractor is not EcgFeatureExtractor
    assert issubclass(architecture.encoder, Encoder)
    for model_class in architecture.models.values():
        assert issubclass(model_class, EcgPreTrainedModel)
        assert model_class.config_class is architecture.config
    if architecture.classifier is not None:
        assert issubclass(architecture.classifier, EcgForSequenceClassification)
        assert architecture.classifier.encoder_class is architecture.encoder


def test_heads_keep_their_encoder_under_the_base_model_prefix(architecture):
    for kind, model_class in architecture.models.items():
        if kind != "encoder":
            head = model_class(small_config(architecture))
            assert type(getattr(head, head.base_model_prefix)) is architecture.encoder
            assert head.base_model is getattr(head, head.base_model_prefix)


def test_pretraining_names_the_class_that_runs_it(architecture):
    if architecture.pretraining is not None:
        assert issubclass(architecture.trainer_class, transformers.Trainer)


@pytest.mark.parametrize("row", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_the_package_offers_every_class_by_name(row):
    for kind in CLASS_KINDS:
        public = row.class_name(kind)
        if kind in row.kinds:
            assert getattr(ecg_transformers, public) is row.find(kind)
            assert public in ecg_transformers.__all__
            assert public in dir(ecg_transformers)
        else:
            assert public not in ecg_transformers.__all__
            with pytest.raises(AttributeError):
                getattr(ecg_transformers, public)


@pytest.mark.parametrize(("auto_class", "kind"), MODEL_AUTO_CLASSES)
def test_every_checkpoint_opens_with_every_auto_class(architecture, auto_class, kind, tmp_path):
    auto_class, config = getattr(transformers, auto_class), small_config(architecture)
    want = architecture.find(kind)
    if want is None:
        # The auto class says which families it knows.
        with pytest.raises(ValueError, match=architecture.config.__name__):
            auto_class.from_config(config)
        return
    assert type(auto_class.from_config(config)) is want
    for name, model_class in architecture.models.items():
        folder = tmp_path / name
        model_class(config).save_pretrained(folder)
        assert type(auto_class.from_pretrained(folder)) is want


def test_config_and_extractor_open_with_their_auto_classes(architecture, tmp_path):
    config = small_config(architecture)
    config.save_pretrained(tmp_path)
    architecture.feature_extractor().save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is architecture.config
    assert loaded.to_dict() == {**config.to_dict(), "_name_or_path": str(tmp_path)}
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is architecture.feature_extractor


@pytest.mark.parametrize("row", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_config_and_extractor_defaults_describe_the_same_signal(row):
    config, extractor = row.config(), row.feature_extractor()
    for name in ("sampling_rate", "window_size", "num_leads"):
        assert getattr(config, name) == getattr(extractor, name)
    assert list(config.lead_names) == list(extractor.lead_names)
    if extractor.patch_size is not None:
        assert config.patch_size == extractor.patch_size


def test_registering_twice_changes_nothing(architecture):
    register([architecture])
    assert AutoConfig.for_model(architecture.model_type).model_type == architecture.model_type
    assert type(AutoModel.from_config(small_config(architecture))) is architecture.encoder


@pytest.mark.parametrize("heads", [("encoder",), ("encoder", "pretraining")])
def test_the_package_imports_with_a_family_that_lacks_heads(heads, monkeypatch):
    row = replace(TOYS["toy_autoencoder"], heads=heads)
    monkeypatch.setitem(ARCHITECTURES, row.model_type, row)
    package = importlib.reload(sys.modules["ecg_transformers"])
    try:
        assert package.ToyAutoencoderModel is row.encoder
        assert ("ToyAutoencoderForPreTraining" in package.__all__) == ("pretraining" in heads)
        assert "ToyAutoencoderForSequenceClassification" not in package.__all__
        assert row.classifier is None
    finally:
        monkeypatch.undo()
        importlib.reload(package)


def test_a_family_from_elsewhere_joins_the_table(monkeypatch):
    monkeypatch.setattr("ecg_transformers.auto.ARCHITECTURES", dict(ARCHITECTURES))
    row = TOYS["toy_simclr"]
    assert row.config.__module__ == "tests.toys.toy_simclr.configuration_toy_simclr"
    register_architecture(row)
    assert sys.modules["ecg_transformers.auto"].ARCHITECTURES["toy_simclr"] is row
    assert type(AutoConfig.for_model("toy_simclr")) is row.config


def test_every_public_name_can_be_had():
    for name in ecg_transformers.__all__:
        assert getattr(ecg_transformers, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="MaeMokoModel"):
        _ = ecg_transformers.MaeMokoModel
    with pytest.raises(ImportError, match="MaeMokoModel"):
        from ecg_transformers import MaeMokoModel  # noqa: F401


def test_an_unknown_kind_of_head_is_refused_by_name():
    with pytest.raises(ArgumentsError, match=r"'clasifier'.*Did you mean classifier"):
        Architecture("no_such_family", "NoSuchFamily", heads=("encoder", "clasifier"))
