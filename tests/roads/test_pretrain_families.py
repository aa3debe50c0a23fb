"""`training/pretrain.py` with the recipes of further architectures: started, interrupted and resumed bit for bit."""

import shutil

import pytest
import torch

from ..conftest import CONFIGS
from .conftest import small_corpus

# 24 records in folds 1 to 3 make 3 batches of 8; the run is interrupted in the middle of an epoch.
RUN = "--max_steps 8 --save_strategy steps --save_steps 4 --eval_strategy steps --eval_steps 5"
RUN += " --logging_steps 3 --per_device_train_batch_size 8 --train_folds 1-3 --validation_folds 4 --disable_tqdm"
RUN += " --use_cpu --load_best_model_at_end false"
# What makes a published recipe small enough; its optimization, objective and signal stay.
SMALL = "--hidden_size 16 --num_hidden_layers 2 --num_attention_heads 2 --intermediate_size 32"
SMALL_DECODER = "--decoder_hidden_size 16 --decoder_num_attention_heads 2 --decoder_intermediate_size 32"
SMALL_CONVOLUTIONS = "--depths 1,1,1,1 --width 8 --stem_sizes 8,8,16 --projector_hidden_size 16"
# The queue of SwAV starts, fills and is used within the run.
SMALL_SWAV = "--num_prototypes 20 --num_crops 3 --queue_size 12 --queue_start_epoch 1 --freeze_prototypes_epochs 0.5"
SMALL_CPC = "--encoder_sizes 8,8,8,8 --encoder_strides 2,2,2,2 --hidden_size 8 --num_negatives 8"
SMALL_W2V = f"{SMALL} --conv_dim 8,8,8 --num_conv_pos_embeddings 8 --num_conv_pos_embedding_groups 4"
SMALL_W2V += " --codevector_size 8 --num_codevectors_per_group 6 --projection_size 8 --num_negatives 9"
RECIPES = {
    "mae_moco_published": (f"{SMALL} {SMALL_DECODER} --queue_size 96", {"reconstruction.png"}),
    "mae_nextclip_tiny": ("", {"reconstruction.png", "nextclip.png"}),
    "mae_nextclip_published": (f"{SMALL} {SMALL_DECODER}", {"reconstruction.png", "nextclip.png"}),
    "moco_v3_tiny": ("", set()),
    "moco_v3_published": (f"{SMALL} --projector_hidden_size 32 --projection_size 16", set()),
    "cpc_ptbxl": (f"{SMALL_CPC} --probe_labels rhythm", {"probe.json"}),
    "cpc_published": (f"{SMALL_CPC} --negatives batch", set()),
    "byol_ptbxl": (f"{SMALL_CONVOLUTIONS} --predictor_hidden_size 16 --probe_labels rhythm", {"probe.json"}),
    "byol_published": (f"{SMALL_CONVOLUTIONS} --predictor_hidden_size 16 --published_schedule epoch", set()),
    "swav_ptbxl": (f"{SMALL_CONVOLUTIONS} {SMALL_SWAV} --probe_labels rhythm", {"probe.json"}),
    "swav_published": (f"{SMALL_CONVOLUTIONS} {SMALL_SWAV} --official_quirks true", set()),
    "w2v_cmsc_rlm_ptbxl": (f"{SMALL_W2V} --probe_labels rhythm", {"probe.json"}),
    # Every dropout on; a micro-batch in two parts.
    "w2v_cmsc_rlm_published": (
        f"{SMALL_W2V} --conv_kernel 2,2,2 --conv_stride 2,2,2 --sampling_rate 100 --window_size 500"
        " --per_device_train_batch_size 4",
        set(),
    ),
    "simclr_ptbxl": (f"{SMALL_CONVOLUTIONS} --probe_labels rhythm", {"probe.json"}),
    "simclr_published": (f"{SMALL_CONVOLUTIONS} --positives patient --published_schedule epoch", set()),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """32 synthetic records of 16 patients in 4 folds, 10 s at 100 Hz."""
    return small_corpus(tmp_path_factory.mktemp("corpus") / "small")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_starts_and_resumes_bit_for_bit(recipe, pretrain, corpus, tmp_path):
    more, plots = RECIPES[recipe]

    def words(folder, *extra):
        common = [str(CONFIGS / f"{recipe}.yaml"), "--corpus", str(corpus), "--output_dir", str(tmp_path / folder)]
        return [*common, *RUN.split(), *more.split(), *extra]

    pretrain(words("straight"))
    # A run that was killed after its first checkpoint.
    shutil.copytree(tmp_path / "straight" / "checkpoint-4", tmp_path / "resumed" / "checkpoint-4")
    pretrain(words("resumed", "--resume"))
    straight, resumed = (tmp_path / folder / "checkpoint-8" for folder in ("straight", "resumed"))
    assert (straight / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    states = [torch.load(folder / "optimizer.pt", weights_only=True)["state"] for folder in (straight, resumed)]
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert {*plots, "loss.png"} <= {path.name for path in (tmp_path / "straight").iterdir()}
