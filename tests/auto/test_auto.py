"""The one table of architectures: every class is there under its name and opens through the stock auto classes."""

import importlib

import pytest
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
)

import ecg_transformers
from ecg_transformers.auto import ARCHITECTURES, Architecture, register
from ecg_transformers.configuration import EcgConfig
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.modeling import EcgForSequenceClassification, EcgPreTrainedModel

MODEL_CLASSES = {
    AutoModel: "model",
    AutoModelForPreTraining: "pretraining",
    AutoModelForSequenceClassification: "classifier",
    AutoModelForAudioClassification: "classifier",
}
# Small values for the sizes of each architecture.
SMALL = {
    "mae_moco": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "decoder_hidden_size": 16,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 16,
        "queue_size": 16,
    },
    "xresnet1d": {"stem_sizes": [4, 8], "depths": [1, 1], "width": 4},
}


@pytest.fixture(params=ARCHITECTURES.values(), ids=lambda architecture: architecture.model_type)
def architecture(request) -> Architecture:
    return request.param


def small_config(architecture: Architecture) -> EcgConfig:
    return architecture.config(**SMALL[architecture.model_type], num_labels=4)


def kinds(architecture: Architecture) -> list[str]:
    """Names of the model classes that the architecture has."""
    return [kind for kind in ("model", "pretraining", "classifier") if getattr(architecture, kind) is not None]


def test_the_key_is_the_model_type_of_the_config_and_the_folder(architecture):
    assert ARCHITECTURES[architecture.model_type] is architecture
    assert architecture.config.model_type == architecture.model_type
    assert architecture.config.__module__.split(".")[-2] == architecture.model_type


def test_the_classes_are_the_shared_kinds(architecture):
    assert issubclass(architecture.config, EcgConfig)
    assert issubclass(architecture.feature_extractor, EcgFeatureExtractor)
    assert architecture.feature_extractor is not EcgFeatureExtractor
    assert issubclass(architecture.classifier, EcgForSequenceClassification)
    for kind in kinds(architecture):
        model_class = getattr(architecture, kind)
        assert issubclass(model_class, EcgPreTrainedModel)
        assert model_class.config_class is architecture.config
    assert architecture.classifier.encoder_class is architecture.model


def test_heads_keep_their_encoder_under_the_base_model_prefix(architecture):
    for kind in kinds(architecture)[1:]:
        head = getattr(architecture, kind)(small_config(architecture))
        assert type(getattr(head, head.base_model_prefix)) is architecture.model
    assert head.base_model is getattr(head, head.base_model_prefix)


def test_the_package_offers_every_class_by_name(architecture):
    names = {
        "Config": "config",
        "FeatureExtractor": "feature_extractor",
        "Model": "model",
        "ForPreTraining": "pretraining",
        "ForSequenceClassification": "classifier",
    }
    if architecture.pretraining is None:
        del names["ForPreTraining"]
        assert f"{architecture.prefix}ForPreTraining" not in ecg_transformers.__all__
        with pytest.raises(AttributeError):
            getattr(ecg_transformers, f"{architecture.prefix}ForPreTraining")
    for name, attribute in names.items():
        public = f"{architecture.prefix}{name}"
        assert getattr(ecg_transformers, public) is getattr(architecture, attribute)
        assert public in ecg_transformers.__all__
        assert public in dir(ecg_transformers)


@pytest.mark.parametrize("auto_class", MODEL_CLASSES, ids=lambda auto_class: auto_class.__name__)
def test_every_checkpoint_opens_with_every_auto_class(architecture, auto_class, tmp_path):
    config = small_config(architecture)
    want = getattr(architecture, MODEL_CLASSES[auto_class])
    if want is None:
        # A supervised network is a stranger to AutoModelForPreTraining, which says which it knows.
        with pytest.raises(ValueError, match=architecture.config.__name__):
            auto_class.from_config(config)
        return
    assert type(auto_class.from_config(config)) is want
    for kind in kinds(architecture):
        folder = tmp_path / kind
        getattr(architecture, kind)(config).save_pretrained(folder)
        assert type(auto_class.from_pretrained(folder)) is want


def test_config_and_extractor_open_with_their_auto_classes(architecture, tmp_path):
    config = small_config(architecture)
    config.save_pretrained(tmp_path)
    architecture.feature_extractor().save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is architecture.config
    assert loaded.to_dict() == {**config.to_dict(), "_name_or_path": str(tmp_path)}
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is architecture.feature_extractor


def test_config_and_extractor_defaults_describe_the_same_signal(architecture):
    config, extractor = architecture.config(), architecture.feature_extractor()
    for name in ("sampling_rate", "window_size", "num_leads"):
        assert getattr(config, name) == getattr(extractor, name)
    assert list(config.lead_names) == list(extractor.lead_names)
    if extractor.patch_size is not None:
        assert config.patch_size == extractor.patch_size


def test_registering_twice_changes_nothing(architecture):
    register()
    assert AutoConfig.for_model(architecture.model_type).model_type == architecture.model_type
    assert type(AutoModel.from_config(small_config(architecture))) is architecture.model


def test_every_public_name_can_be_had():
    for name in ecg_transformers.__all__:
        assert getattr(ecg_transformers, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="MaeMokoModel"):
        _ = ecg_transformers.MaeMokoModel
    with pytest.raises(ImportError, match="MaeMokoModel"):
        from ecg_transformers import MaeMokoModel  # noqa: F401


def test_the_table_alone_loads_no_architecture():
    # The table is data: a broken architecture must not break the others.
    missing = Architecture("no_such_family", "NoSuchFamily")
    with pytest.raises(ModuleNotFoundError, match="no_such_family"):
        _ = missing.config
    assert importlib.import_module("ecg_transformers.auto").ARCHITECTURES is ARCHITECTURES
