"""A pretrained Wav2Vec 2.0 is published and opens by its own code, without the package."""

import torch
from safetensors.torch import load_file

from ecg_transformers import EcgWav2vec2FeatureExtractor, EcgWav2vec2ForPreTraining
from ecg_transformers.publishing import publish

from ..testers.ecg_wav2vec2 import EcgWav2vec2Tester


def test_the_encoder_of_a_pretraining_is_published_and_opens_by_remote_code(record_file, tmp_path):
    torch.manual_seed(0)
    config = EcgWav2vec2Tester().get_config(sampling_rate=100, window_size=500, cmsc_weight=1.0, num_segments=2)
    EcgWav2vec2ForPreTraining(config).save_pretrained(tmp_path / "run")
    EcgWav2vec2FeatureExtractor(sampling_rate=100, window_size=500).save_pretrained(tmp_path / "run")
    done = publish(tmp_path / "run", output_dir=tmp_path / "w2v", golden_record=record_file)
    assert done.verification.golden.passed
    opened = done.verification.opened
    assert {"AutoModel", "AutoModelForSequenceClassification"} <= opened.keys()
    assert all(module.startswith("transformers_modules.") for module in opened.values())
    # What only pretraining needs stays behind.
    names = load_file(done.folder / "model.safetensors").keys()
    assert not any(name.startswith(("quantizer.", "project_", "mask_embedding")) for name in names)
    files = {path.name for path in done.folder.glob("*.py")}
    assert "position_embedding.py" in files or any("position_embedding" in file for file in files)
    assert not any("quantizer" in file or "span_masking" in file for file in files)
