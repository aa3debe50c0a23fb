"""Official checkpoints of ecg-selfsupervised and the PTB-XL benchmark: converted networks compute what theirs do."""

import sys
import types
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForPreTraining, AutoModelForSequenceClassification

from ecg_transformers.cli import main
from ecg_transformers.commands.convert import CONVERTERS, convert_checkpoint
from ecg_transformers.conversion import read_tensors
from ecg_transformers.errors import ArgumentsError, CheckpointError

from .official_networks import KEYS, batch_norm_mlp, cpc, linear, norm, signals, synthetic, xresnet
from .recorded import assert_near_largest

KINDS = {
    "simclr": "simclr", "byol": "byol", "swav": "swav", "cpc_pretraining": "cpc", "cpc_conv_pretraining": "cpc",
    "cpc_finetuned_hidden512": "cpc", "cpc_linear_evaluation": "cpc", "benchmark_xresnet1d50": "xresnet",
}  # fmt: skip
LABELS = [f"L{number}" for number in range(71)]


@pytest.fixture(scope="module")
def states():
    """The tensors of all eight official checkpoints."""
    return {kind: synthetic(kind) for kind in KEYS}


class Callback:
    """An object of a class that the reader does not have."""


@pytest.fixture(scope="module", autouse=True)
def foreign():
    """The package that official files refer to; it is gone when they are read."""
    module = types.ModuleType("clinical_ts.callbacks")
    module.Callback = Callback
    Callback.__module__, Callback.__qualname__ = "clinical_ts.callbacks", "Callback"
    sys.modules |= {"clinical_ts": types.ModuleType("clinical_ts"), "clinical_ts.callbacks": module}
    yield
    for name in ("clinical_ts", "clinical_ts.callbacks"):
        sys.modules.pop(name, None)


def write(folder: Path, kind: str, tensors) -> Path:
    """A file as Lightning or fastai writes it."""
    if kind.startswith("benchmark"):
        whole = {"model": tensors, "opt": {"state": {}, "param_groups": [{"lr": 0.01}]}}
    else:
        callback = Callback()
        callback.best = 0.5
        whole = {"state_dict": tensors, "epoch": 3, "callbacks": {"x": callback}}
    torch.save(whole, folder / "official.ckpt")
    return folder / "official.ckpt"


@pytest.fixture
def converted(states, tmp_path):
    """Convert one of the eight, with options of the command line; returns folder and tensors."""

    def convert(kind, *words):
        file = write(tmp_path, kind, states[kind])
        assert main(["convert", f"ecg-selfsupervised-{KINDS[kind]}", str(file), str(tmp_path / "out"), *words]) == 0
        return tmp_path / "out", states[kind]

    return convert


@torch.no_grad()
def test_simclr(converted, capsys):
    folder, state = converted("simclr")
    assert "8 tensors" not in capsys.readouterr().err
    model = AutoModelForPreTraining.from_pretrained(folder).double().eval()
    ours, official = signals()
    features = xresnet(state, "encoder.features.", official)
    projected = linear(state, "projection.model.3", linear(state, "projection.model.1", features).relu())
    output = model(ours, views=torch.stack([ours, ours], dim=1))
    assert_near_largest(output.projections[:, 0], normalize(projected, dim=1))
    encoder = AutoModel.from_pretrained(folder).double().eval()
    assert_near_largest(encoder(ours).pooler_output, features)
    assert AutoFeatureExtractor.from_pretrained(folder).normalization == "none"
    published = encoder.published_model()
    assert (published.config.model_type, published.config.stem_bias) == ("xresnet1d", True)


@torch.no_grad()
def test_byol(converted):
    folder, state = converted("byol")
    model = AutoModelForPreTraining.from_pretrained(folder).double().eval()
    ours, official = signals()
    output = model(ours, views=torch.stack([ours, ours], dim=1))
    projected = {}
    for arm in ("online", "target"):
        features = xresnet(state, f"{arm}_network.encoder.features.", official)
        projected[arm] = batch_norm_mlp(state, f"{arm}_network.projector.model", features)
    predicted = batch_norm_mlp(state, "online_network.predictor.model", projected["online"])
    assert_near_largest(output.predictions[:, 0], predicted)
    assert_near_largest(output.targets[:, 1], projected["target"])


@torch.no_grad()
def test_swav(converted):
    folder, state = converted("swav")
    model = AutoModelForPreTraining.from_pretrained(folder).double().eval()
    ours, official = signals()
    output = model(ours, views=ours[:, None].expand(-1, 6, -1, -1))
    features = xresnet(state, "model.features.", official)
    embeddings = normalize(batch_norm_mlp(state, "model.projection_head", features), dim=1)
    assert_near_largest(output.embeddings[:, 0], embeddings)
    assert torch.equal(model.prototypes.weight, state["model.prototypes.weight"].double())
    assert not model.queue.embeddings.any()


@torch.no_grad()
@pytest.mark.parametrize(("kind", "stride"), [("cpc_pretraining", 1), ("cpc_conv_pretraining", 2)])
def test_cpc_pretraining(kind, stride, converted):
    folder, state = converted(kind)
    model = AutoModelForPreTraining.from_pretrained(folder).double().eval()
    assert model.config.encoder_strides == [stride] * 4
    ours, official = signals()
    latents, context = cpc(state, official, [stride] * 4)
    states = model.cpc(ours, output_hidden_states=True).hidden_states
    assert_near_largest(states[0], latents)
    assert_near_largest(states[-1], context)
    assert_near_largest(model.projection[0](states[-1]), linear(state, "model_cpc.proj", context))
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert (extractor.sampling_rate, extractor.window_size, extractor.normalization) == (100, 1000, "constants")
    assert extractor.normalization_std[6] == pytest.approx(0.23374124)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["cpc_finetuned_hidden512", "cpc_linear_evaluation"])
def test_cpc_classifiers(kind, converted, tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    folder, state = converted(kind, "--labels", str(tmp_path / "labels.txt"))
    model = AutoModelForSequenceClassification.from_pretrained(folder).double().eval()
    ours, official = signals()
    tokens = cpc(state, official)[1]
    pooled = torch.cat([tokens.mean(dim=1), tokens.amax(dim=1), tokens[:, -1]], dim=1)
    head = "model_cpc.head"
    if kind == "cpc_linear_evaluation":
        logits = linear(state, f"{head}.1", pooled)
    else:
        hidden = linear(state, f"{head}.3", norm(state, f"{head}.1", pooled)).relu()
        logits = linear(state, f"{head}.7", norm(state, f"{head}.5", hidden))
        assert [module.p for module in model.classifier if isinstance(module, torch.nn.Dropout)] == [0.25, 0.5]
    assert_near_largest(model(ours).logits, logits)
    assert list(model.config.id2label.values()) == LABELS


@torch.no_grad()
def test_the_supervised_benchmark(converted, tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    folder, state = converted("benchmark_xresnet1d50", "--labels", str(tmp_path / "labels.txt"))
    model = AutoModelForSequenceClassification.from_pretrained(folder).double().eval()
    ours, official = signals()
    features = xresnet(state, "", official)
    hidden = linear(state, "8.4", norm(state, "8.2", features)).relu()
    assert_near_largest(model(ours).logits, linear(state, "8.8", norm(state, "8.6", hidden)))
    assert AutoFeatureExtractor.from_pretrained(folder).normalization == "constants"


@torch.no_grad()
@pytest.mark.parametrize("hidden", [False, True])
def test_a_fine_tuned_model_of_the_evaluation_script(hidden, states, tmp_path):
    state = {n.removeprefix("encoder."): v for n, v in states["simclr"].items() if n.startswith("encoder.features.")}
    generator = torch.Generator().manual_seed(2)
    sizes = {"l1": (512, 512), "l2": (71, 512)} if hidden else {"l1": (71, 512)}
    for name, size in sizes.items():
        state |= {f"{name}.weight": torch.randn(size, generator=generator) / 20, f"{name}.bias": torch.ones(size[0])}
    # A bare state dict.
    torch.save(state, tmp_path / "finetuned.pt")
    made = convert_checkpoint(
        "ecg-selfsupervised-xresnet", tmp_path / "finetuned.pt", tmp_path / "out", labels=LABELS
    ).model.double().eval()  # fmt: skip
    ours, official = signals()
    logits = linear(state, "l1", xresnet(state, "features.", official))
    assert_near_largest(made(ours).logits, linear(state, "l2", logits.relu()) if hidden else logits)


def test_without_labels_only_the_encoder_is_converted(converted, capsys):
    folder, state = converted("cpc_finetuned_hidden512")
    said = capsys.readouterr().out
    assert "CpcModel" in said
    assert "the order of its labels is not in the file" in said
    ours, official = signals()
    with torch.no_grad():
        tokens = AutoModel.from_pretrained(folder).double().eval()(ours).last_hidden_state
    assert_near_largest(tokens, cpc(state, official)[1])


def test_the_encoder_of_moco_and_the_bits_of_safetensors(states, tmp_path):
    from safetensors.torch import save_file

    state = {f"encoder_q.{n.removeprefix('encoder.')}": v for n, v in states["simclr"].items()}
    state = {n: v for n, v in state.items() if n.startswith("encoder_q.features.")} | {"queue": torch.zeros(16, 8)}
    save_file({name: value.clone() for name, value in state.items()}, tmp_path / "moco.safetensors")
    made = convert_checkpoint("ecg-selfsupervised-xresnet", tmp_path / "moco.safetensors", tmp_path / "out")
    assert "momentum contrast" in made.notes[0]
    ours, official = signals()
    with torch.no_grad():
        assert_near_largest(
            made.model.double().eval()(ours).pooler_output, xresnet(state, "encoder_q.features.", official)
        )


def changed(states, kind, **changes):
    """A copy with some tensors replaced, or removed where the value is None."""
    state = dict(states[kind])
    for name, value in changes.items():
        if value is None:
            del state[name]
        else:
            state[name] = value
    return state


REFUSALS = {
    "a tensor too many": ("simclr", {"stranger.weight": torch.zeros(2, 3)}, r"stranger\.weight \[2, 3\]"),
    "a tensor too few": ("simclr", {"projection.model.3.bias": None}, r"projector\.2\.bias"),
    "a missing layer": ("simclr", {"projection.model.1.weight": None}, r"projection\.model\.1\.weight"),
    "unequal branches": (
        "simclr", {"encoder.features.4.0.convpath.0.0.0.weight": torch.zeros(64, 64, 1)},
        r"convpath\.0\.0\.0\.weight \[64, 64, 1\] differs",
    ),
    "unequal aliases": ("swav", {"model.model.features.0.0.bias": torch.zeros(32)}, r"model\.model\.features\.0"),
    "a bias that should be there": ("simclr", {"encoder.features.0.0.bias": None}, r"features\.0\.0\.bias is missing"),
    "a bias that should not": ("benchmark_xresnet1d50", {"0.0.bias": torch.zeros(32)}, r"0\.0\.bias is there"),
    "eight leads": ("simclr", {"encoder.features.0.0.weight": torch.zeros(32, 8, 5)}, r"\[32, 8, 5\] has 8 leads"),
    "another shape": ("cpc_pretraining", {"model_cpc.encoder.1.0.weight": torch.zeros(512, 9, 1)}, r"\[512, 9, 1\]"),
    "no finite value": (
        "byol", {"online_network.predictor.model.3.bias": torch.full((16,), float("nan"))},
        r"predictor\.model\.3\.bias \[16\] has values that are not finite",
    ),
    "other kernels": ("cpc_pretraining", {"model_cpc.encoder.0.0.weight": torch.zeros(512, 12, 3)}, "--strides"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_does_not_fit_is_refused_by_name_and_shape(case, states, tmp_path):
    kind, changes, message = REFUSALS[case]
    file = write(tmp_path, kind, changed(states, kind, **changes))
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(f"ecg-selfsupervised-{KINDS[kind]}", file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_network_another_depth_and_contradicting_strides(states, tmp_path):
    online = {n: v for n, v in states["byol"].items() if not n.startswith("target_network.")}
    with pytest.raises(CheckpointError, match="target_network"):
        convert_checkpoint("ecg-selfsupervised-byol", write(tmp_path, "byol", online), tmp_path / "out")
    shallow = {n: v for n, v in states["simclr"].items() if not n.startswith("encoder.features.7.2.")}
    with pytest.raises(CheckpointError, match=r"stages of \[3, 4, 6, 2\]"):
        convert_checkpoint("ecg-selfsupervised-simclr", write(tmp_path, "simclr", shallow), tmp_path / "out")
    file = write(tmp_path, "cpc_pretraining", states["cpc_pretraining"])
    with pytest.raises(CheckpointError, match=r"strides are \[2, 2, 2, 2\]; expected \[1, 1, 1, 1\]"):
        convert_checkpoint("ecg-selfsupervised-cpc", file, tmp_path / "out", strides=[2, 2, 2, 2])
    other = changed(states, "cpc_pretraining", **{"model_cpc.encoder.0.0.weight": torch.zeros(512, 12, 3)})
    file = write(tmp_path, "cpc_pretraining", other)
    model = convert_checkpoint("ecg-selfsupervised-cpc", file, tmp_path / "out", strides=[2, 1, 1, 1]).model
    assert model.config.encoder_strides == [2, 1, 1, 1]


def test_other_leads_are_named_by_the_caller(states, tmp_path):
    narrow = changed(states, "simclr", **{"encoder.features.0.0.weight": torch.ones(32, 2, 5)})
    file = write(tmp_path, "simclr", narrow)
    made = convert_checkpoint("ecg-selfsupervised-simclr", file, tmp_path / "out", lead_names=["II", "V2"])
    assert made.model.config.lead_names == made.extractor.lead_names == ["II", "V2"]
    with pytest.raises(CheckpointError, match="2 leads, but 3 names"):
        convert_checkpoint("ecg-selfsupervised-simclr", file, tmp_path / "no", lead_names=["I", "II", "V2"])


def test_labels_of_another_number_and_wrong_calls_are_refused(states, tmp_path, capsys):
    file = write(tmp_path, "cpc_linear_evaluation", states["cpc_linear_evaluation"])
    with pytest.raises(CheckpointError, match="71 outputs, but 2 labels"):
        convert_checkpoint("ecg-selfsupervised-cpc", file, tmp_path / "out", labels=["A", "B"])
    with pytest.raises(ArgumentsError, match="takes no labels"):
        convert_checkpoint("ecg-selfsupervised-simclr", file, tmp_path / "out", labels=["A"])
    with pytest.raises(ArgumentsError, match=", ".join(CONVERTERS)):
        convert_checkpoint("ecg-selfsupervised-moco", file, tmp_path / "out")
    with pytest.raises(CheckpointError, match="exists"):
        convert_checkpoint("ecg-selfsupervised-cpc", file, tmp_path)
    assert main(["convert", "ecg-selfsupervised-cpc", str(tmp_path / "none.ckpt"), str(tmp_path / "out")]) == 2
    assert "does not exist" in capsys.readouterr().err


class Harm:
    """Runs a command when it is unpickled as usual."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_would_run_something_is_refused_unrun(legacy, states, tmp_path):
    file = tmp_path / "harm.ckpt"
    whole = {"state_dict": states["cpc_pretraining"], "harm": Harm(tmp_path / "harmed")}
    torch.save(whole, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="system"):
        convert_checkpoint("ecg-selfsupervised-cpc", file, tmp_path / "out")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 broken"])
def test_no_checkpoint_at_all(content, tmp_path):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.ckpt"):
        convert_checkpoint("ecg-selfsupervised-cpc", tmp_path / "x.ckpt", tmp_path / "out")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match="no state dict"):
        convert_checkpoint("ecg-selfsupervised-cpc", tmp_path / "list.ckpt", tmp_path / "out")


def test_a_file_of_another_kind_is_refused_without_advice_to_load_it_unprotected(tmp_path):
    (tmp_path / "notes.ckpt").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match=r"expected a file written by torch\.save") as caught:
        read_tensors(tmp_path / "notes.ckpt")
    assert "weights_only" not in str(caught.value)
