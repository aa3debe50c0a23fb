"""Transformers' own common tests on every registered configuration, model and feature extractor."""

import json
import tempfile
import unittest
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import torch
from transformers import AutoModelForSequenceClassification
from transformers.models.auto import modeling_auto

from ecg_transformers.auto import ARCHITECTURES, Architecture

from ..testers.tester import find_tester, rows_with_tester
from .library_suite import load_library_suite

suite = load_library_suite()


_set_all_spellings = suite.modeling.set_config_for_less_flaky_test


def _set_known_fields(config):
    """Do what the library's function of that name does, for fields that the configuration has.

    The library sets every spelling of "epsilon"; our configurations refuse a near miss of a field when they are loaded.
    """
    wanted = SimpleNamespace()
    _set_all_spellings(wanted)
    for name, value in vars(wanted).items():
        if hasattr(config, name):
            setattr(config, name, value)


_as_text = torch.Tensor.__format__


def _as_shape(tensor, specification):
    """Put the shape of a tensor into a message: some tests write one for each comparison, whether it fails or not."""
    if specification or tensor.ndim == 0:
        return _as_text(tensor, specification)
    return f"a tensor of shape {tuple(tensor.shape)}"


_compare_kernels = suite.modeling._test_eager_matches_sdpa_inference


def _compare_kernels_without_padding(test, name, dtype, padding_side, use_attention_mask, *rest):
    """Do what the library's function of that name does, for models that refuse padding: without a mask that hides."""
    tester = test.model_tester
    if use_attention_mask and not tester.takes_attention_mask:
        test.skipTest(f"{test.architecture.model_type} takes no padding")
    if use_attention_mask and padding_side == "left" and not tester.takes_left_padding:
        test.skipTest(f"{test.architecture.model_type} takes padding at the right only, as the extractor gives it")
    _compare_kernels(test, name, dtype, padding_side, use_attention_mask, *rest)


class _ModelTests(suite.modeling.ModelTesterMixin):
    """The library's model tests, fitted to models that take signals."""

    architecture: Architecture
    pipeline_model_mapping: ClassVar[dict[str, Any]] = {}
    test_resize_embeddings = False
    test_resize_position_embeddings = False
    # The exporter tests are not in the source distribution; test_export.py of this folder has its own.
    test_torch_exportable = False
    # Without this switch the library skips its check of _init_weights for files without a recent copyright line.
    test_can_init_all_missing_weights_before_2023 = True
    # Up to 5.17 this test wants a gradient on the frozen twin too; test_training.py of this folder checks that every
    # trainable parameter has one, and no other.
    test_all_params_have_gradient = False

    def setUp(self):
        # The mixins find out what a class is for from the library's static name tables.
        architecture = self.architecture
        tables = (
            (modeling_auto.MODEL_MAPPING_NAMES, architecture.encoder),
            # Like a backbone it has no loss.
            (modeling_auto.MODEL_FOR_BACKBONE_MAPPING_NAMES, architecture.anomaly_detection),
            (modeling_auto.MODEL_FOR_PRETRAINING_MAPPING_NAMES, architecture.pretraining),
            (modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, architecture.classifier),
            (modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES, architecture.classifier),
        )
        for table, model_class in tables:
            if model_class is not None:
                self._enter(mock.patch.dict(table, {architecture.model_type: model_class.__name__}))
        self._enter(mock.patch.object(suite.modeling, "set_config_for_less_flaky_test", _set_known_fields))
        compare = "_test_eager_matches_sdpa_inference"
        self._enter(mock.patch.object(suite.modeling, compare, _compare_kernels_without_padding))
        self._enter(mock.patch.object(torch.Tensor, "__format__", _as_shape))
        self.model_tester = find_tester(architecture)(self)
        self.all_model_classes = self.model_tester.model_classes
        self.has_attentions = self.model_tester.has_attentions
        fields = self.model_tester.config_fields
        if "backbone_config" in fields:
            # As a file has them: fields of the backbone in its own entry, all of them.
            whole = json.loads(architecture.config(**fields).to_json_string())
            fields = {name: whole[name] for name in fields if name in whole}
        self.config_tester = suite.configuration.ConfigTester(
            self,
            config_class=architecture.config,
            has_text_modality=False,
            common_properties=["num_leads", "sampling_rate", "window_size", "hidden_size"],
            **fields,
        )

    @contextmanager
    def subTest(self, msg=None, **parameters):
        """Name the case in the error: there is one for each tensor, and a report of each takes longer than it."""
        try:
            yield
        except Exception as error:
            error.add_note(f"{msg or ''} {parameters or ''}")
            raise

    def _enter(self, patch):
        patch.start()
        self.addCleanup(patch.stop)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if model_class is self.architecture.pretraining:
            signal = inputs["input_values"]
            inputs.update(self.model_tester.pretraining_draws(self.model_tester.get_config(), signal))
        elif return_labels and model_class is self.architecture.patient_identification:
            # The library's tables do not know of patients.
            inputs["labels"] = torch.zeros(len(inputs["input_values"]), dtype=torch.long)
        return inputs

    def test_config(self):
        self.config_tester.run_common_tests()

    def test_hidden_states_output(self):
        """The stock test wants one length and width for all; here each layer has its own where they differ."""
        wanted = [(self.model_tester.batch_size, *shape) for shape in self.model_tester.hidden_state_shapes]
        for model_class in self.all_model_classes:
            for asked in ("argument", "config"):
                config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
                config.output_hidden_states = asked == "config"
                keywords = {"output_hidden_states": True} if asked == "argument" else {}
                model = model_class(config).eval()
                with torch.no_grad():
                    states = model(**self._prepare_for_class(inputs, model_class), **keywords).hidden_states
                assert [tuple(state.shape) for state in states] == wanted

    def test_attention_outputs(self):
        """The stock test wants one number of tokens and heads for all blocks; here each may have its own."""
        if not self.has_attentions:
            self.skipTest("this architecture has no attention")
        for model_class in self.all_model_classes:
            for asked in ("argument", "config"):
                config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
                config.output_attentions = asked == "config"
                keywords = {"output_attentions": True} if asked == "argument" else {}
                model = model_class._from_config(config, attn_implementation="eager").eval()
                with torch.no_grad():
                    attentions = model(**self._prepare_for_class(inputs, model_class), **keywords).attentions
                assert [tuple(weights.shape) for weights in attentions] == self.model_tester.attention_shapes

    def test_model_get_set_embeddings(self):
        """The stock test wants a token table; here the input meets a layer of its own, and no output table exists."""
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            assert isinstance(model.get_input_embeddings(), torch.nn.Module)
            assert model.get_output_embeddings() is None

    def test_load_with_mismatched_shapes(self):
        """The stock test changes the vocabulary; here the number of labels does not fit."""
        if self.architecture.classifier is None:
            self.skipTest(f"{self.architecture.model_type} has no classifier")
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        with tempfile.TemporaryDirectory() as folder:
            self.architecture.classifier(config).save_pretrained(folder)
            with self.assertRaises(RuntimeError):
                AutoModelForSequenceClassification.from_pretrained(folder, num_labels=42)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder, num_labels=42, ignore_mismatched_sizes=True, output_loading_info=True
            )
        assert {name.split(".")[0] for name, *_ in info["mismatched_keys"]} == {"classifier"}
        assert not info["missing_keys"]
        assert model(**inputs).logits.shape == (self.model_tester.batch_size, 42)


class _FeatureExtractorTests(suite.feature_extraction.FeatureExtractionSavingTestMixin):
    """The library's saving tests for feature extractors."""

    architecture: Architecture

    def setUp(self):
        self.feature_extraction_class = self.architecture.feature_extractor
        self.feat_extract_dict = find_tester(self.architecture).feature_extractor_fields


for _architecture in (row for name, row in rows_with_tester().items() if name in ARCHITECTURES):
    for _kind, _tests in (("Model", _ModelTests), ("FeatureExtractor", _FeatureExtractorTests)):
        _name = f"{_architecture.prefix}{_kind}Test"
        globals()[_name] = type(
            _name, (_tests, unittest.TestCase), {"architecture": _architecture, "__module__": __name__}
        )
