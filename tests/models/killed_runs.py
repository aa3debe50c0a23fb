"""Runs of the three BeatGANs that kill themselves, and runs that resume them: `python killed_runs.py FOLDER`.

Each run is a process of its own, forked before torch has computed anything: importing takes longer than all runs.
"""

import gc
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import torch

from ecg_transformers.trainer import EcgTrainingArguments, PretrainingTrainer
from ecg_transformers.trainer import trainer as trainer_module

from .beats import V2, beatgan, beats, si_beatgan, teacher

STEPS, KILLED = 5, 4
# The loss of the discriminator is about 1.5 at first: some steps are won, some are not.
REINITIALIZED = {"reinitialize_below": 1.33}
SYSTEMS = {
    "beatgan": (beatgan, {"warp_probability": 0.5, "warp_samples": 3}),
    "si_beatgan": (si_beatgan, {"feature_distillation_weight": 0.1, "score_distillation_weight": 0.1}),
    "si_beatgan_v2": (si_beatgan, V2),
}
PLACES = ("discriminator", "generator", "saving")


class Beats(torch.utils.data.Dataset):
    """Beats of four recordings."""

    def __init__(self):
        self.beats = beats(80)

    def __len__(self):
        return len(self.beats)

    def __getitem__(self, index):
        return {"input_values": self.beats[index], "parent_ids": index % 4, "starts": 100 * index}


class Dying(PretrainingTrainer):
    """Kills its process in a phase of a step, or when the checkpoint of that step is half written."""

    place = None

    def die_at(self, place):
        if (place, self.place) == (place,) * 2 and self.state.global_step >= KILLED - (place != "saving"):
            os.kill(os.getpid(), signal.SIGKILL)

    def _loss_and_outputs(self, model, inputs):
        result = super()._loss_and_outputs(model, inputs)
        self.die_at(inputs["phase"])
        return result


def run(folder, system, place=None, resume=False):
    """Train one system for five steps, with a checkpoint after every second and the last one."""
    make, fields = SYSTEMS[system]
    model = make(**REINITIALIZED, **fields)
    if system != "beatgan":
        model.set_teacher(teacher())
    arguments = EcgTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=16, max_steps=STEPS, learning_rate=1e-3, adam_beta1=0.5,
        max_grad_norm=0.0, lr_scheduler_type="constant", logging_steps=1, save_strategy="steps", save_steps=2,
        seed=3, use_cpu=True, disable_tqdm=True, report_to="none",
    )  # fmt: skip
    trainer = Dying(model, arguments, train_dataset=Beats())
    trainer.place = place
    seal = trainer_module.seal_checkpoint
    trainer_module.seal_checkpoint = lambda *paths: (trainer.die_at("saving"), seal(*paths))
    trainer.train(resume_from_checkpoint=resume or None)
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    (folder / "logs.json").write_text(json.dumps(logs))


def forked(*arguments, **keywords):
    """Call `run` in a process of its own; returns its exit status, negative = killed by that signal."""
    child = os.fork()
    if not child:
        try:
            torch.set_num_threads(1)
            run(*arguments, **keywords)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder):
    """All runs of all systems, each killed one resumed."""
    gc.freeze()  # the Trainer collects garbage at the end of each run; what is imported is none
    for system in SYSTEMS:
        assert forked(folder / system / "straight", system) == 0
        for place in PLACES:
            assert forked(folder / system / place, system, place) == -signal.SIGKILL
            assert not (folder / system / place / f"checkpoint-{KILLED}").exists()
            assert forked(folder / system / place, system, resume=True) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
