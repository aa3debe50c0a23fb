"""Checkpoints of fairseq-signals and ECG-FM: pretraining, classifiers, ArcFace (github.com/Jwoo5/fairseq-signals)."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from ...conversion import Converted, OfficialState, OutputLabels, Source, read_checkpoint
from ...errors import CheckpointError
from ...modeling import EcgPreTrainedModel
from ...signals.leads import STANDARD_LEADS
from .configuration_ecg_wav2vec2 import EcgWav2vec2Config
from .feature_extraction_ecg_wav2vec2 import EcgWav2vec2FeatureExtractor
from .modeling_ecg_wav2vec2 import EcgWav2vec2ForPatientIdentification, EcgWav2vec2ForSequenceClassification
from .pretraining_ecg_wav2vec2 import EcgWav2vec2ForPreTraining

__all__ = ["convert_fairseq_signals"]

# Official names to ours, applied one after the other; those of the encoder get the prefix of the model.
_ENCODER = (
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"^feature_extractor\.conv_layers\.0\.2\.", "feature_extractor.conv_layers.0.layer_norm."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^conv_pos\.pos_conv\.0\.weight_g$", "position_embedding.conv.parametrizations.weight.original0"),
    (r"^conv_pos\.pos_conv\.0\.weight_v$", "position_embedding.conv.parametrizations.weight.original1"),
    (r"^conv_pos\.pos_conv\.0\.(bias|parametrizations\.weight\.original[01])$", r"position_embedding.conv.\1"),
    (r"^encoder\.layer_norm\.", "layernorm."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.q_proj\.", r"encoder.layer.\1.attention.query."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.k_proj\.", r"encoder.layer.\1.attention.key."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.v_proj\.", r"encoder.layer.\1.attention.value."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"encoder.layer.\1.attention.output."),
    (r"^encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"encoder.layer.\1.layernorm_before."),
    (r"^encoder\.layers\.(\d+)\.final_layer_norm\.", r"encoder.layer.\1.layernorm_after."),
    (r"^encoder\.layers\.(\d+)\.fc1\.", r"encoder.layer.\1.intermediate.dense."),
    (r"^encoder\.layers\.(\d+)\.fc2\.", r"encoder.layer.\1.output.dense."),
)
_PRETRAINING = (
    (r"^mask_emb$", "mask_embedding"),
    (r"^quantizer\.vars$", "quantizer.codevectors"),
    (r"^quantizer\.weight_proj\.", "quantizer.weight_proj."),
    (r"^project_q\.", "project_q."),
    (r"^final_proj\.", "project_hid."),
)
_CLASSIFIER = ((r"^proj\.", "classifier."),)
_ARCFACE = ((r"^kernel$", "arcface.kernel"),)

# Parts of names of the state of 2022, which has other layers (epsilon 1e-6) too.
_OF_2022 = ("self_attn.W_", "self_attn.linear", "norm_layer1", "pos_ffn.", "encoder.pos_conv.")

# Settings of `cfg.model` that are no shapes, by our names; the defaults are the published ones.
_SETTINGS: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "dropout": ("hidden_dropout_prob", (int, float)),
    "attention_dropout": ("attention_probs_dropout_prob", (int, float)),
    "activation_dropout": ("activation_dropout_prob", (int, float)),
    "dropout_input": ("feat_proj_dropout", (int, float)),
    "dropout_features": ("feat_quantizer_dropout", (int, float)),
    "feature_grad_mult": ("feature_grad_mult", (int, float)),
    "layer_norm_first": ("norm_first", bool),
    "mask_prob": ("mask_time_prob", (int, float)),
    "mask_length": ("mask_time_length", int),
    "logit_temp": ("temperature", (int, float)),
    "num_negatives": ("num_negatives", int),
}

_SOURCE = Source(
    project="fairseq-signals (its published checkpoints are those of ECG-FM)",
    homepage="https://github.com/Jwoo5/fairseq-signals, https://github.com/bowang-lab/ECG-FM",
    license="mit",
    weights_license="MIT, as the published files of ECG-FM state; ask the author of any other file",
    citation="Oh J, Chung H, Kwon J, Hong D, Choi E. Lead-agnostic Self-supervised Learning for Local and Global "
    "Representations of Electrocardiogram. CHIL 2022 (arXiv:2203.06889). McKeen K, Oliva L, Masood S, Toma A, Rubin B, "
    "Wang B. ECG-FM: An Open Electrocardiogram Foundation Model. 2024 (arXiv:2408.05178).",
    tags=("wav2vec2", "self-supervised"),
    limits="The conversion was proved on files of the same structure and on recorded values of the published code; it "
    "was not tried on the published files.",
)


def convert_fairseq_signals(
    path: str | Path,
    *,
    outputs: OutputLabels | None = None,
    lead_names: Sequence[str] | None = None,
    preparation: Literal["ecg_fm", "millivolts"] = "ecg_fm",
) -> Converted:
    """Convert a checkpoint of Wav2Vec 2.0 with CMSC: pretraining, classifier or ArcFace.

    Sizes follow from the tensors; heads of attention, strides and dropouts are those of the settings in the file.

    Args:
        path: The file, written since 2023.
        outputs: Labels of the outputs of a classifier, which the file does not name.
        lead_names: Leads of the file in its order, where they are not the twelve standard leads.
        preparation: `"ecg_fm"`: each lead of the whole recording is standardized before windows are cut;
            `"millivolts"`: none, as in the examples of fairseq-signals.

    Raises:
        CheckpointError: The file is of another structure or age, or is a classifier without given labels.
    """
    tensors, others = read_checkpoint(path, known_packages=("argparse.Namespace",))
    if others.get("args") is not None:
        raise CheckpointError(f"{path} holds args, settings of the form before 2021; expected cfg in their place.")
    if found := next((name for name in tensors for part in _OF_2022 if part in name), None):
        raise CheckpointError(
            f"{path} has {found}, a name of the code of 2022, whose layers differ; expected a file of 2023 or later."
        )
    settings = _model_settings(others.get("cfg"))
    prefix = "encoder." if any(name.startswith("encoder.feature_extractor.") for name in tensors) else ""
    state = OfficialState({name.removeprefix(prefix): value for name, value in tensors.items()}, str(path))
    fields, notes = _fields(state, settings, lead_names)
    model, head = _model(state, fields, outputs, settings, notes, whole=not prefix)
    state.load_into(model, _renamed(state, head))
    extractor = _extractor(fields, preparation)
    notes.append(f"preparation {preparation}: " + _PREPARATIONS[preparation])
    if updates := _updates(others):
        notes.append(f"the file states {updates:,} updates of its training")
    return Converted(model, extractor, notes, _SOURCE)


_PREPARATIONS = {
    "ecg_fm": "each lead of a whole recording is standardized before windows are cut",
    "millivolts": "no normalization",
}


def _model_settings(cfg: Any) -> dict[str, Any]:
    """The settings of the model, those of a pretrained model inside first overridden by the file's own."""
    found: dict[str, Any] = {}
    model = cfg.get("model") if isinstance(cfg, Mapping) else None
    while isinstance(model, Mapping):
        found = {**model, **found}
        inner = model.get("w2v_args", model.get("model"))
        model = inner.get("model", inner) if isinstance(inner, Mapping) else None
    return found


def _fields(
    state: OfficialState, settings: Mapping[str, Any], lead_names: Sequence[str] | None
) -> tuple[dict[str, Any], list[str]]:
    """The fields of the config: sizes of the tensors, settings of the file."""
    notes: list[str] = []
    convolutions: list[list[int]] = []
    while state.has(f"feature_extractor.conv_layers.{len(convolutions)}.0.weight"):
        convolutions.append(_shape(state, f"feature_extractor.conv_layers.{len(convolutions)}.0.weight", 3))
    if not convolutions:
        state.shape("feature_extractor.conv_layers.0.0.weight")
    width = _shape(state, "encoder.layer_norm.weight", 1)[0]
    feed_forward = _shape(state, "encoder.layers.0.fc1.weight", 2)[0]
    layers = {name.partition(".")[0] for name in state.names("encoder.layers.")}
    direction = next(
        (name for name in state.names("conv_pos.pos_conv.0.") if name.endswith(("original1", "weight_v"))), "original1"
    )
    position = _shape(state, f"conv_pos.pos_conv.0.{direction}", 3)
    leads = convolutions[0][1]
    names = list(STANDARD_LEADS if lead_names is None else lead_names)
    if len(names) != leads:
        raise CheckpointError(
            f"{state.source} takes {leads} leads, {len(names)} are named. Pass their names (--leads)."
        )
    fields: dict[str, Any] = {
        "num_leads": leads,
        "lead_names": names,
        "conv_dim": [shape[0] for shape in convolutions],
        "conv_kernel": [shape[2] for shape in convolutions],
        "conv_bias": state.has("feature_extractor.conv_layers.0.0.bias"),
        "hidden_size": width,
        "num_hidden_layers": len(layers),
        "intermediate_size": feed_forward,
        "num_conv_pos_embeddings": position[2],
        "num_conv_pos_embedding_groups": width // position[1],
        "license": _SOURCE.license,
    }
    fields["conv_stride"] = _strides(settings, convolutions, notes)
    fields["num_attention_heads"] = _heads(settings, width, notes, state.source)
    for official, (ours, kind) in _SETTINGS.items():
        if isinstance(settings.get(official), kind):
            fields[ours] = settings[official]
    return fields, notes


def _shape(state: OfficialState, name: str, rank: int) -> list[int]:
    """The shape of a tensor from which sizes follow."""
    shape = state.shape(name)
    if len(shape) != rank or 0 in shape:
        raise CheckpointError(f"{state.source}: {name} is {shape}; expected {rank} dimension{'s' if rank > 1 else ''}.")
    return shape


def _heads(settings: Mapping[str, Any], width: int, notes: list[str], source: str) -> int:
    heads = settings.get("encoder_attention_heads")
    if isinstance(heads, int):
        return heads
    if width % 64:
        raise CheckpointError(
            f"{source} states no encoder_attention_heads, and its width {width} is no multiple of 64."
        )
    notes.append(f"the file states no number of attention heads: {width // 64}, of 64 values each")
    return width // 64


def _strides(settings: Mapping[str, Any], convolutions: Sequence[Sequence[int]], notes: list[str]) -> list[int]:
    """Strides of the convolutions, which no tensor shows: `[(256, 2, 2)] * 4` in the settings, else 2."""
    text = str(settings.get("conv_feature_layers", ""))
    stated = []
    for group, count in re.findall(r"\[([^\[\]]*)\]\s*(?:\*\s*(\d+))?", text):
        triples = re.findall(r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)", group)
        stated += [[int(number) for number in triple] for triple in triples] * int(count or 1)
    if [one[:2] for one in stated] == [[shape[0], shape[2]] for shape in convolutions]:
        return [one[2] for one in stated]
    notes.append("the file states no strides of these convolutions: 2 each, as published")
    return [2] * len(convolutions)


def _model(
    state: OfficialState,
    fields: dict[str, Any],
    outputs: OutputLabels | None,
    settings: Mapping[str, Any],
    notes: list[str],
    *,
    whole: bool,
) -> tuple[EcgPreTrainedModel, tuple[tuple[str, str], ...]]:
    """Our model for these tensors, and the names of its parts other than the encoder."""
    if whole:
        return EcgWav2vec2ForPreTraining(EcgWav2vec2Config(**fields, **_quantizer_fields(state))), _PRETRAINING
    if state.has("kernel"):
        for name in ("scale", "margin"):
            value = settings.get(name)
            if isinstance(value, int | float):
                fields[f"arcface_{name}"] = value
            else:
                notes.append(
                    f"the file states no {name} of ArcFace, which only further training uses: the published one"
                )
        return EcgWav2vec2ForPatientIdentification(
            EcgWav2vec2Config(**fields, num_patients=_shape(state, "kernel", 2)[0])
        ), _ARCFACE
    count = _shape(state, "proj.weight", 2)[0]
    if outputs is None:
        raise CheckpointError(
            f"{state.source} is a classifier of {count} labels, whose names and order are not in the file. Pass "
            "--labels ecg_fm (17), --labels challenge2021 (26), or --labels FILE with one code a line."
        )
    if len(outputs.codes) != count:
        raise CheckpointError(f"{state.source} has {count} outputs, but {len(outputs.codes)} labels were given.")
    codes = dict(enumerate(outputs.codes))
    config = EcgWav2vec2Config(
        **fields,
        id2label=codes,
        label2id={code: number for number, code in codes.items()},
        label_names=list(outputs.names or outputs.codes),
        label_system=outputs.system,
        max_over_windows=list(outputs.max_over_windows) or None,
        problem_type="multi_label_classification",
    )
    return EcgWav2vec2ForSequenceClassification(config), _CLASSIFIER


def _quantizer_fields(state: OfficialState) -> dict[str, Any]:
    """Sizes of the parts that only pretraining has."""
    rows, size = _shape(state, "quantizer.weight_proj.weight", 2)[0], _shape(state, "quantizer.vars", 3)[2]
    groups, rest = divmod(_shape(state, "project_q.weight", 2)[1], size)
    if rest or rows % groups:
        raise CheckpointError(
            f"{state.source}: quantizer.vars has codes of {size} values and quantizer.weight_proj.weight {rows} rows; "
            f"expected groups of codes that fill the {groups * size + rest} inputs of project_q.weight."
        )
    return {
        "num_codevector_groups": groups,
        "num_codevectors_per_group": rows // groups,
        "codevector_size": groups * size,
        "projection_size": _shape(state, "final_proj.weight", 2)[0],
    }


def _renamed(state: OfficialState, head: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """The tensors under our names; one that no part of the model takes is left in the state."""
    tensors = {}
    for name in list(state.tensors):
        ours = _our_name(name, head)
        if ours is not None:
            tensors[ours] = state.take(name)
    return tensors


def _our_name(name: str, head: Sequence[tuple[str, str]]) -> str | None:
    for prefix, rules in (("ecg_wav2vec2.", _ENCODER), ("", head)):
        for pattern, replacement in rules:
            found, count = re.subn(pattern, replacement, name)
            if count:
                return prefix + found
    return None


def _extractor(fields: Mapping[str, Any], preparation: str) -> EcgWav2vec2FeatureExtractor:
    """The preparation that the model was trained with; both resample linearly."""
    if preparation not in _PREPARATIONS:
        raise CheckpointError(f"preparation is {preparation!r}; expected one of {', '.join(_PREPARATIONS)}.")
    options: dict[str, Any] = {"lead_names": fields["lead_names"], "resampling": "linear", "flat_lead": "keep"}
    if preparation == "ecg_fm":
        options |= {
            "normalization": "record_lead",
            "order": ["leads", "units", "resample", "filter", "normalize", "window", "pad"],
        }
    return EcgWav2vec2FeatureExtractor(**options)


def _updates(others: Mapping[str, Any]) -> int | None:
    """Number of updates of the last optimizer."""
    history = others.get("optimizer_history")
    last = history[-1] if isinstance(history, list) and history else None
    updates = last.get("num_updates") if isinstance(last, Mapping) else None
    return updates if isinstance(updates, int) else None
