"""The supervised recipes on the real corpus: every label set trains an epoch (`-m slow`, about 12 minutes)."""

import subprocess
import sys

import pytest

from ..conftest import CONFIGS, script

# Labels of each set.
LABEL_SETS = {"all": 71, "diagnostic": 44, "subclass": 23, "superclass": 5, "form": 19, "rhythm": 12}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(shared, tmp_path_factory):
    """PTB-XL, folds 1-9, at 100 Hz."""
    folder = tmp_path_factory.mktemp("ptbxl")
    command = [sys.executable, str(shared / "data" / "unpack.py"), str(folder), "ptbxl"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    prepared = folder / "prepared"
    words = f"ptbxl --source {folder / 'ptb-xl'} --output {prepared} --sampling_rate 100 --num_proc 2"
    script("prepare").main(words.split())
    return prepared


@pytest.mark.parametrize("recipe", ["xresnet1d50_ptbxl", "xresnet1d101_ptbxl"])
@pytest.mark.parametrize("labels", LABEL_SETS)
def test_an_epoch_on_every_label_set(labels, recipe, corpus, tmp_path):
    words = f"--corpus {corpus} --labels {labels} --output_dir {tmp_path} --num_train_epochs 1 --eval_strategy no"
    entries = script("finetune").main(
        [str(CONFIGS / f"{recipe}.yaml"), *words.split(), "--disable_tqdm", "true", "--resamples", "100"]
    )
    first = entries[0]
    assert (first["labels"], len(first["label_codes"])) == (labels, LABEL_SETS[labels])
    assert first["records"] + first["records_without_label"] == 2183
    assert first["train_folds"] == list(range(1, 9))
    # One epoch with a rate that rises and falls within it is little (form: 56 steps): more than chance over all labels,
    # and clearly so where a label has positives enough to be judged.
    assert first["low"] > 0.5
    frequent = next(entry for entry in entries if entry["min_positives"] == 10)
    assert frequent["value"] > 0.6
