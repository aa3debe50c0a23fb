"""Files of fairseq-signals and ECG-FM: the converted models give what the published code gave; the rest is refused."""

import argparse
import os

import numpy as np
import pytest
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    pipeline,
)

from ecg_transformers import EcgWav2vec2ForPatientIdentification
from ecg_transformers.cli import main
from ecg_transformers.commands.convert import convert_checkpoint, read_labels
from ecg_transformers.errors import ArgumentsError, CheckpointError

from .test_ecg_wav2vec2_fixtures import load, near, read_json, rule_inputs, rule_tensor, sample_mask

OLD_SPELLING = {
    f"conv_pos.pos_conv.0.parametrizations.weight.original{number}": f"conv_pos.pos_conv.0.weight_{letter}"
    for number, letter in enumerate("gv")
}
NOT_DOWNSTREAM = ("mask_emb", "quantizer.", "project_q.", "final_proj.")


def write_official(path, tensors, *, settings=None, **changes):
    """A file of the structure of the published ones; tensors of the optimizer and logged metrics are in it."""
    model = {"_name": "wav2vec2_cmsc", "encoder_attention_heads": 4, "conv_feature_layers": "[(16, 2, 2)] * 4"}
    content = {
        "args": None,
        "cfg": {"common": {"fp16": False}, "task": {"normalize": False}, "model": model | (settings or {})},
        "model": tensors,
        "criterion": None,
        "optimizer_history": [{"optimizer_name": "FairseqAdam", "num_updates": 1234}],
        "task_state": {},
        "extra_state": {"metrics": {"loss": np.float64(1.5), "count": np.int64(3)}, "train_iterator": {"epoch": 2}},
        "last_optimizer_state": {"state": {0: {"step": 7, "exp_avg": torch.zeros(5)}}, "param_groups": [{"lr": 1e-5}]},
    }
    torch.save({**content, **changes}, path)
    return path


def downstream(head):
    """The recorded weights as a fine-tuned file has them: below `encoder.`, with a head."""
    kept = {name: value for name, value in load("weights").items() if not name.startswith(NOT_DOWNSTREAM)}
    return {f"encoder.{name}": value for name, value in kept.items()} | head


def classifier_head():
    return {f"proj.{kind}": load("finetune")[f"classifier.proj.{kind}"] for kind in ("weight", "bias")}


@torch.no_grad()
@pytest.mark.parametrize("renamed", [{}, OLD_SPELLING], ids=["parametrizations", "weight_g"])
def test_a_pretrained_file_in_both_spellings(renamed, tmp_path, capsys):
    tensors = {renamed.get(name, name): value for name, value in load("weights").items()}
    file = write_official(tmp_path / "pretrained.pt", tensors)
    assert main(["convert", str(file), "--output_dir", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "EcgWav2vec2ForPreTraining" in said
    assert "1,234 updates" in said
    encoder, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"]
    source, want, recorded = load("input")["source"], load("inference_eval"), load("padding_eval")
    near(encoder(source).last_hidden_state, want["nopad.x"])
    mask = sample_mask(recorded["input.padding_mask"])
    near(encoder(source, attention_mask=mask).pooler_output, want["pad.pooled"])
    model = AutoModelForPreTraining.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(model.quantizer.codevectors, tensors["quantizer.vars"].view_as(model.quantizer.codevectors))
    assert torch.equal(model.mask_embedding, tensors["mask_emb"])
    config = model.config
    assert (config.num_codevector_groups, config.num_codevectors_per_group) == (2, 8)
    assert (config.codevector_size, config.projection_size, config.num_conv_pos_embeddings) == (16, 16, 128)
    assert (config.conv_stride, config.num_attention_heads, config.license) == ([2] * 4, 4, "mit")


@torch.no_grad()
def test_a_classifier_with_the_classes_of_the_challenge(tmp_path):
    file = write_official(
        tmp_path / "finetuned.pt", downstream(classifier_head()), settings={"activation_dropout": 0.2}
    )
    assert main(["convert", str(file), "--output_dir", str(tmp_path / "out"), "--labels", "challenge2021"]) == 0
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    source, want = load("input")["source"], load("finetune")
    near(model(source).logits, want["classifier.logits"])
    mask = sample_mask(load("padding_eval")["input.padding_mask"])
    near(model(source, attention_mask=mask).logits, want["classifier.logits_padded"])
    official = [code.partition("|")[0] for code in read_json("cinc2021_weights")["codes"]]
    assert list(model.config.id2label.values()) == official
    assert (model.config.label_system, model.config.max_over_windows) == ("challenge2021", None)
    assert model.config.activation_dropout_prob == 0.2
    assert not any(parameter.requires_grad for parameter in model.ecg_wav2vec2.feature_extractor.parameters())


def test_of_five_labels_of_ecg_fm_the_maximum_over_windows_counts(tmp_path):
    head = {
        "proj.weight": torch.randn(17, 32, generator=torch.Generator().manual_seed(0)),
        "proj.bias": torch.zeros(17),
    }
    file = write_official(tmp_path / "finetuned.pt", downstream(head))
    convert_checkpoint("fairseq-signals", file, tmp_path / "out", labels=read_labels("ecg_fm"))
    config = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").config
    assert config.max_columns == [0, 2, 4, 5, 16]
    assert config.label_names[12] == "Bifascicular block"
    classify = pipeline("ecg-classification", model=str(tmp_path / "out"))
    signal = np.random.default_rng(0).normal(size=(12, 5000)) * np.linspace(0.1, 1, 5000)
    windows = classify(signal, sampling_rate=500, windows=True, as_array=True)
    assert windows.shape == (2, 17)
    expected = windows.mean(axis=0)
    expected[config.max_columns] = windows[:, config.max_columns].max(axis=0)
    np.testing.assert_allclose(classify(signal, sampling_rate=500, as_array=True), expected, rtol=1e-6)
    largest = classify(signal, sampling_rate=500, as_array=True, aggregate="max")
    np.testing.assert_allclose(largest, windows.max(axis=0), rtol=1e-6)


@torch.no_grad()
def test_an_arcface_file(tmp_path):
    want = load("finetune")
    file = write_official(
        tmp_path / "arcface.pt", downstream({"kernel": want["arcface.kernel"]}), settings={"scale": 64.0, "margin": 0.5}
    )
    assert main(["convert", "fairseq-signals", str(file), str(tmp_path / "out")]) == 0
    model = EcgWav2vec2ForPatientIdentification.from_pretrained(tmp_path / "out").eval()
    near(model(load("input")["source"]).embeddings, want["arcface.embedding"])
    near(model(load("input")["source"]).logits / 64, want["arcface.cosine"])
    assert model.config.arcface_margin == 0.5


@pytest.mark.parametrize("rate", [257, 500])
def test_records_are_prepared_as_by_ecg_fm_or_left_in_millivolts(rate, tmp_path):
    file = write_official(tmp_path / "pretrained.pt", load("weights"))
    recorded = load("preprocess")
    signal, want = recorded[f"fs{rate}.input"].double().numpy(), recorded[f"fs{rate}.standardised"]
    convert_checkpoint("fairseq-signals", file, tmp_path / "fm")
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "fm")
    batch = extractor(signal, sampling_rate=rate, return_tensors="pt")
    first = min(want.shape[1], 2500)
    near(batch["input_values"][0, :, :first], want[:, :first], atol=1e-5)
    assert main(["convert", str(file), str(tmp_path / "mv"), "--preparation", "millivolts"]) == 0
    assert AutoFeatureExtractor.from_pretrained(tmp_path / "mv").normalization == "none"


def test_the_folder_is_publishable_and_states_its_origin(tmp_path, data_dir):
    from ecg_transformers.publishing import publish

    file = write_official(tmp_path / "finetuned.pt", downstream(classifier_head()))
    assert main(["convert", str(file), "--output_dir", str(tmp_path / "ecg-fm"), "--labels", "challenge2021"]) == 0
    published = publish(
        tmp_path / "ecg-fm", output_dir=tmp_path / "published", golden_record=data_dir / "ptbxl" / "00001_hr",
        clean_process=False,
    )  # fmt: skip
    assert published.folder == tmp_path / "published"
    card = (tmp_path / "published" / "README.md").read_text()
    assert "github.com/Jwoo5/fairseq-signals" in card
    assert "not tried on the published files" in card
    assert "ecg-transformers convert finetuned.pt --output_dir ecg-fm" in card
    assert "MIT" in card
    assert str(tmp_path) not in card


def changed(tensors, **changes):
    return {name: value for name, value in {**tensors, **changes}.items() if value is not None}


REFUSED = {
    "names of 2022": ({"encoder.layers.0.self_attn.W_Q.weight": torch.zeros(32, 32)}, r"self_attn\.W_Q.*2022"),
    "a tensor too many": ({"stranger.weight": torch.zeros(2, 3)}, r"stranger\.weight \[2, 3\]"),
    "a tensor too few": ({"encoder.layers.1.fc2.bias": None}, r"encoder\.layer\.1\.output\.dense\.bias"),
    "no quantizer": ({"quantizer.vars": None}, r"quantizer\.vars"),
    "another shape": ({"encoder.layers.1.fc2.weight": torch.zeros(32, 65)}, r"\[32, 65\]; expected \[32, 64\]"),
    "no finite value": ({"mask_emb": torch.full((32,), float("nan"))}, r"mask_emb \[32\] has values that are not"),
    "another rank": ({"feature_extractor.conv_layers.1.0.weight": torch.zeros(16, 16)}, r"\[16, 16\]; expected 3 dim"),
    "codes that do not fit": ({"quantizer.vars": torch.zeros(1, 16, 7)}, r"codes of 7 values"),
    "codes that are too wide": ({"quantizer.vars": torch.zeros(1, 16, 70)}, r"codes of 70 values"),
    "another number of leads": (
        {"feature_extractor.conv_layers.0.0.weight": torch.zeros(16, 8, 2)}, "takes 8 leads, 12 are named"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_name_and_shape(case, tmp_path):
    changes, message = REFUSED[case]
    file = write_official(tmp_path / "file.pt", changed(load("weights"), **changes))
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint("fairseq-signals", file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_structures_are_refused_with_what_they_hold(tmp_path, capsys):
    weights, out = load("weights"), tmp_path / "out"
    for name, changes, message in (
        ("args", {"args": argparse.Namespace(arch="wav2vec2")}, "holds args"),
        ("keys", {"model": None}, "holds args, cfg"),
    ):
        file = write_official(tmp_path / f"{name}.pt", weights, **changes)
        with pytest.raises(CheckpointError, match=message):
            convert_checkpoint("fairseq-signals", file, out)
    torch.save({"state_dict": weights}, tmp_path / "lightning.ckpt")
    assert main(["convert", str(tmp_path / "lightning.ckpt"), "--output_dir", str(out)]) == 2
    said = capsys.readouterr().err
    assert "holds state_dict" in said
    assert "needs its kind before it: " in said
    (tmp_path / "text.pt").write_text("no archive")
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        convert_checkpoint("fairseq-signals", tmp_path / "text.pt", out)
    settings = {"encoder_attention_heads": None}
    with pytest.raises(CheckpointError, match="width 32 is no multiple of 64"):
        convert_checkpoint("fairseq-signals", write_official(tmp_path / "heads.pt", weights, settings=settings), out)


def test_a_classifier_needs_the_names_of_its_outputs(tmp_path):
    file, out = write_official(tmp_path / "finetuned.pt", downstream(classifier_head())), tmp_path / "out"
    with pytest.raises(CheckpointError, match=r"classifier of 26 labels.*--labels ecg_fm"):
        convert_checkpoint("fairseq-signals", file, out)
    with pytest.raises(CheckpointError, match="26 outputs, but 17 labels"):
        convert_checkpoint("fairseq-signals", file, out, labels=read_labels("ecg_fm"))
    with pytest.raises(ArgumentsError, match="ecg_fm, challenge2021"):
        read_labels("ecg-fm")
    (tmp_path / "own.txt").write_text("".join(f"label {number}\n" for number in range(26)))
    model = convert_checkpoint("fairseq-signals", file, out, labels=read_labels(str(tmp_path / "own.txt"))).model
    assert model.config.id2label[25] == "label 25"


class Stranger:
    """An object whose loading would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("place", ["cfg", "task_state", "last_optimizer_state"])
def test_other_objects_are_refused_and_nothing_is_run(place, tmp_path):
    file = write_official(tmp_path / "file.pt", load("weights"), **{place: {"x": Stranger(tmp_path / "ran")}})
    with pytest.raises(CheckpointError, match=r"system, .*nothing of it was run"):
        convert_checkpoint("fairseq-signals", file, tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


# ---- full size -----------------------------------------------------------------------------------------------------


def official_shapes(width=768, feed_forward=3072, layers=12, channels=256):
    """Names and shapes of the published base model."""
    shapes = {"mask_emb": (width,), "layer_norm.weight": (channels,), "layer_norm.bias": (channels,)}
    shapes |= {"post_extract_proj.weight": (width, channels), "post_extract_proj.bias": (width,)}
    for number in range(4):
        shapes[f"feature_extractor.conv_layers.{number}.0.weight"] = (channels, channels if number else 12, 2)
    shapes |= {f"feature_extractor.conv_layers.0.2.{kind}": (channels,) for kind in ("weight", "bias")}
    position = "conv_pos.pos_conv.0."
    shapes |= {f"{position}bias": (width,), f"{position}parametrizations.weight.original0": (1, 1, 128)}
    shapes[f"{position}parametrizations.weight.original1"] = (width, width // 16, 128)
    shapes |= {f"encoder.layer_norm.{kind}": (width,) for kind in ("weight", "bias")}
    for number in range(layers):
        layer = f"encoder.layers.{number}."
        for name in ("q", "k", "v", "out"):
            shapes |= {
                f"{layer}self_attn.{name}_proj.weight": (width, width),
                f"{layer}self_attn.{name}_proj.bias": (width,),
            }
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes |= {f"{layer}{name}.{kind}": (width,) for kind in ("weight", "bias")}
        shapes |= {f"{layer}fc1.weight": (feed_forward, width), f"{layer}fc1.bias": (feed_forward,)}
        shapes |= {f"{layer}fc2.weight": (width, feed_forward), f"{layer}fc2.bias": (width,)}
    shapes |= {"quantizer.vars": (1, 640, 128), "quantizer.weight_proj.weight": (640, 256)}
    shapes |= {"quantizer.weight_proj.bias": (640,), "project_q.weight": (256, 256), "project_q.bias": (256,)}
    return shapes | {"final_proj.weight": (256, width), "final_proj.bias": (256,)}


@torch.no_grad()
def test_a_file_of_full_size_gives_the_values_of_the_published_code(tmp_path):
    want = read_json("rule_weights_checks")["base"]
    shapes = official_shapes()
    tensors = {name: rule_tensor(name, shapes[name], place) for place, name in enumerate(sorted(shapes))}
    assert sum(value.numel() for value in tensors.values()) == want["params"]
    # No setting is needed: sizes follow from the tensors, heads from the width.
    file = write_official(tmp_path / "mimic_iv_ecg_physionet_pretrained.pt", tensors, cfg={"model": {}})
    del tensors
    model = convert_checkpoint("fairseq-signals", file, tmp_path / "out").model.eval()
    file.unlink()
    assert model.config.num_attention_heads == 12
    inputs = rule_inputs(2500, want["frames"], 100)
    states = model.encoder(inputs["input_values"][0])
    middle = states.last_hidden_state[1, want["frames"] // 2]
    ends = (states.last_hidden_state[0, 0, :6], middle[:6], states.last_hidden_state[1, -1, -6:])
    for place, values in zip(("first", "mid", "last"), ends, strict=True):
        near(values, torch.tensor(want["states_no_mask"][place]), atol=1e-3, rtol=1e-3, name=place)
    output = model(**inputs)
    masked = 2 * want["masked_per_row"]
    assert (output.contrastive_loss * masked).item() == pytest.approx(want["contrastive_sum"], rel=1e-3)
    for ours, theirs in (
        ("diversity_loss", "diversity"), ("feature_penalty_loss", "features_pen"),
        ("prob_perplexity", "prob_perplexity"), ("code_perplexity", "code_perplexity"),
    ):  # fmt: skip
        assert output[ours].item() == pytest.approx(want[theirs], rel=1e-3), ours
    for row in range(2):
        near(output.pooler_output[row, :6], torch.tensor(want["masked_pass"][f"pooled{row}"]), atol=1e-3, rtol=1e-3)
