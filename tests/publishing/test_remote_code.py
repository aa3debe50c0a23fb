"""The two ways of loading, in fresh processes: with the package, and by the folder's own code without it."""

import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification, pipeline

from ecg_transformers import read_record

# Largest difference of one network between two processes: their memory is aligned differently, so are the kernels.
ROUNDING = 1e-5

COMPUTE = """
import json, sys
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification
from transformers import AutoModelForAudioClassification

def compute(encoder_folder, classifier_folder, signal_file, trust):
    signal = load_file(signal_file)["signal"].numpy()
    extractor = AutoFeatureExtractor.from_pretrained(encoder_folder, trust_remote_code=trust)
    inputs = extractor(signal, sampling_rate=500, return_tensors="pt")
    encoder = AutoModel.from_pretrained(encoder_folder, trust_remote_code=trust)
    classifier = AutoModelForSequenceClassification.from_pretrained(classifier_folder, trust_remote_code=trust)
    audio = AutoModelForAudioClassification.from_pretrained(classifier_folder, trust_remote_code=trust)
    with torch.no_grad():
        result = {
            "input_values": inputs["input_values"],
            "pooler_output": encoder(**inputs).pooler_output,
            "logits": classifier(**inputs).logits,
            "audio_logits": audio(**inputs).logits,
        }
    modules = [type(one).__module__ for one in (extractor, encoder, classifier, audio, classifier.config)]
    return result, modules, (extractor, encoder, classifier, inputs)
"""


@pytest.fixture(scope="module")
def signal_file(tmp_path_factory, record_file):
    path = tmp_path_factory.mktemp("signal") / "signal.safetensors"
    save_file({"signal": torch.from_numpy(read_record(record_file).signal)}, path)
    return path


def snippets(folder):
    text = (folder / "README.md").read_text()
    return [part.partition("```")[0] for part in text.split("```python\n")[1:]]


@pytest.fixture(scope="module")
def remote(published, published_classifier, signal_file, in_process, tmp_path_factory):
    """What a process without the package computed, trained and saved there; it ran the card's snippet too."""
    out = tmp_path_factory.mktemp("remote")
    (out / published.folder.name).symlink_to(published.folder)
    np.save(out / "signal.npy", load_file(signal_file)["signal"].numpy())
    modules = in_process(
        COMPUTE
        + f"""
folders = {[str(published.folder), str(published_classifier.folder)]!r}
out, signal_file = {str(out)!r}, {str(signal_file)!r}
result, modules, (extractor, encoder, classifier, inputs) = compute(*folders, signal_file, True)
save_file(result, out + "/computed.safetensors")
classifier.train()
labels = torch.tensor([[1.0, 0, 0, 1, 0]]).expand(len(inputs["input_values"]), -1)
optimizer = torch.optim.SGD(classifier.parameters(), lr=0.5)
loss = classifier(**inputs, labels=labels).loss
loss.backward()
optimizer.step()
classifier.eval().save_pretrained(out + "/trained")
extractor.save_pretrained(out + "/trained")
encoder.save_pretrained(out + "/encoder")
with torch.no_grad():
    save_file({{"logits": classifier(**inputs).logits}}, out + "/trained.safetensors")
try:
    import ecg_transformers
    blocked = False
except ModuleNotFoundError:
    blocked = True
names = {{}}
exec({snippets(published.folder)[1]!r}, names)
print(json.dumps([modules, blocked, loss.item(), list(names["output"].shape), list(names["result"].shape)]))
""",
        package=False,
        cwd=out,
    )
    return out, modules


def test_both_ways_give_the_same_numbers(remote, published, published_classifier, signal_file):
    out, (modules, blocked, *_) = remote
    assert blocked
    assert all(module.startswith("transformers_modules.") for module in modules)
    found = load_file(out / "computed.safetensors")
    signal = load_file(signal_file)["signal"].numpy()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        inputs = AutoFeatureExtractor.from_pretrained(published.folder)(signal, sampling_rate=500, return_tensors="pt")
        with torch.no_grad():
            pooled = AutoModel.from_pretrained(published.folder)(**inputs).pooler_output
            classifier = AutoModelForSequenceClassification.from_pretrained(published_classifier.folder)
            logits = classifier(**inputs).logits
    finally:
        torch.set_num_threads(threads)
    assert type(classifier).__module__ == "ecg_transformers.models.mae_moco.modeling_mae_moco"
    pairs = {"input_values": inputs["input_values"], "pooler_output": pooled, "logits": logits, "audio_logits": logits}
    for name, ours in pairs.items():
        torch.testing.assert_close(found[name], ours, rtol=0, atol=ROUNDING)


def test_what_was_trained_by_remote_code_opens_again_by_remote_code(remote, signal_file, in_process, tmp_path):
    out, _ = remote
    moved = tmp_path / "moved"
    shutil.move(out / "trained", moved)
    modules = in_process(
        COMPUTE
        + f"""
result, modules, _ = compute({str(moved)!r}, {str(moved)!r}, {str(signal_file)!r}, True)
save_file(result, {str(tmp_path / "again.safetensors")!r})
AutoModel.from_pretrained({str(out / "encoder")!r}, trust_remote_code=True)
print(json.dumps(modules))
""",
        package=False,
    )
    assert all(module.startswith("transformers_modules.") for module in modules)
    found = load_file(tmp_path / "again.safetensors")["logits"]
    trained = load_file(out / "trained.safetensors")["logits"]
    # Another process, other memory: the same network to rounding, not to the bit.
    torch.testing.assert_close(found, trained, rtol=0, atol=ROUNDING)
    assert (found - load_file(out / "computed.safetensors")["logits"]).abs().max() > 100 * ROUNDING
    # With the package the same folder opens too.
    assert AutoModelForSequenceClassification.from_pretrained(moved).config.id2label[1] == "MI"


def test_a_published_checkpoint_saved_by_the_package_promises_no_code(published, tmp_path):
    model = AutoModel.from_pretrained(published.folder)
    extractor = AutoFeatureExtractor.from_pretrained(published.folder)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    for name in ("config.json", "preprocessor_config.json"):
        assert "auto_map" not in (tmp_path / name).read_text(), name
    again = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(again.layernorm.weight, model.layernorm.weight)
    assert AutoFeatureExtractor.from_pretrained(tmp_path).contract_hash() == extractor.contract_hash()


def test_the_snippets_of_the_card_run_as_printed(remote, published, record_file, tmp_path, monkeypatch):
    first, second = snippets(published.folder)
    assert f'from_pretrained("{published.folder.name}")' in first
    assert f'from_pretrained("{published.folder.name}", trust_remote_code=True)' in second
    (tmp_path / published.folder.name).symlink_to(published.folder)
    for suffix in (".hea", ".dat"):
        shutil.copyfile(record_file.with_suffix(suffix), tmp_path / record_file.with_suffix(suffix).name)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(first.replace("my_record", record_file.name), names)
    assert names["embedding"].shape == (1, 32)
    # The second one, without the package, ran in the other process.
    assert remote[1][3:] == [[1, 32], [32]]


@pytest.mark.parametrize("words", ["", '"audio-classification", '])
def test_the_snippet_of_the_hub_classifies_without_the_package(words, published_classifier, signal_file, in_process):
    """What the Hub shows for a `pipeline_tag`, and the task found by the folder itself."""
    folder = str(published_classifier.folder)
    module, found, refusal = in_process(
        f"""
import json
from safetensors.torch import load_file
from transformers import pipeline

classify = pipeline({words}model={folder!r}, trust_remote_code=True)
signal = load_file({str(signal_file)!r})["signal"].numpy()
found = classify(signal, sampling_rate=500)
assert classify([signal, signal], sampling_rate=500, top_k=1)[1] == found[:1]
try:
    classify("recording.hea")
except ValueError as error:
    refusal = str(error)
print(json.dumps([type(classify).__module__, found, refusal]))
""",
        package=False,
    )
    assert module.startswith("transformers_modules.")
    signal = load_file(signal_file)["signal"].numpy()
    ours = pipeline("ecg-classification", model=folder, device="cpu")(signal, sampling_rate=500)
    assert [one["label"] for one in found] == [one["label"] for one in ours]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in ours], abs=ROUNDING)
    assert [one["positive"] for one in found] == [one["positive"] for one in ours]
    assert "install the package ecg_transformers" in refusal


def test_the_card_takes_the_task_of_the_pipeline_and_shows_no_widget(published, published_classifier):
    for publication, task in ((published, "feature-extraction"), (published_classifier, "audio-classification")):
        card = ModelCard.load(publication.folder / "README.md")
        config = json.loads((publication.folder / "config.json").read_text())
        assert card.data.pipeline_tag == task
        assert list(config["custom_pipelines"]) == [task]
        assert card.data.inference is False
