"""BeatGAN: its step against the official order of passes, the Trainer against the bare step, scores per second.

    python benchmarks/bench_beatgan.py [--threads 1] [--rounds 5] [--steps 3] [--base_channels 32] [--bf16]

Processor time, the sides taking turns, fastest round. The official order computes the generator twice and the gradients
that it then throws away. Targets: step at most 0.65 of it; Trainer at most 1.05 of the bare step; scoring at most 1.1
of the bare forward pass.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from ecg_transformers import BeatganConfig, BeatganForAnomalyDetection, BeatganForPreTraining
from ecg_transformers.commands.memory import keep_freed_memory
from ecg_transformers.objectives.progress import Progress
from ecg_transformers.trainer import EcgTrainingArguments, PretrainingTrainer
from ecg_transformers.trainer.data import identity_collator

BATCH = 64
ADAM = {"lr": 1e-4, "betas": (0.5, 0.999), "weight_decay": 0.0, "fused": True}


class Beats(torch.utils.data.Dataset):
    """The same beats again and again."""

    def __init__(self, beats: torch.Tensor):
        self.beats = beats

    def __len__(self) -> int:
        return 10_000

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        return {"input_values": self.beats[: len(indices)]}


def official_step(model: BeatganForPreTraining, optimizers: dict[str, torch.optim.Optimizer], x: torch.Tensor) -> None:
    """The passes of the public code, in its order."""
    one, zero = torch.ones(len(x)), torch.zeros(len(x))
    entropy = functional.binary_cross_entropy_with_logits
    optimizers["discriminator"].zero_grad()
    real, _ = model.discriminator(x)
    fake, _ = model.discriminator(model.generate_beats(x).reconstruction)
    (entropy(real, one) + entropy(fake, zero)).backward()
    optimizers["discriminator"].step()
    optimizers["generator"].zero_grad()
    rebuilt = model.generate_beats(x).reconstruction
    _, fake_features = model.discriminator(rebuilt)
    _, real_features = model.discriminator(x)
    loss = functional.mse_loss(rebuilt, x) + functional.mse_loss(fake_features, real_features)
    loss.backward()
    optimizers["generator"].step()


def our_step(model: BeatganForPreTraining, optimizer: torch.optim.Optimizer, x: torch.Tensor, bf16: bool) -> None:
    """What the Trainer does in a step, without the Trainer."""
    handed = {}
    for phase in model.phases:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = model(x, phase=phase, **handed)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        handed = output.handed or {}
    model.after_step(Progress(0, 1, 0.0))


def trained(model: BeatganForPreTraining, x: torch.Tensor, steps: int, bf16: bool) -> PretrainingTrainer:
    arguments = EcgTrainingArguments(
        output_dir="/tmp/bench_beatgan", per_device_train_batch_size=BATCH, max_steps=steps, learning_rate=1e-4,
        adam_beta1=0.5, weight_decay=0.0, max_grad_norm=0.0, lr_scheduler_type="constant", logging_steps=50,
        save_strategy="no", use_cpu=True, disable_tqdm=True, report_to="none", bf16=bf16,
    )  # fmt: skip
    return PretrainingTrainer(model, arguments, train_dataset=Beats(x), data_collator=identity_collator)


def compare(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Fastest processor time of each side (s)."""
    best = dict.fromkeys(sides, float("inf"))
    for number in range(rounds + 1):
        for name, side in sides.items():
            start = time.process_time()
            side()
            if number:  # the first round warms up
                best[name] = min(best[name], time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--base_channels", type=int, default=32)
    parser.add_argument("--bf16", action="store_true", help="our step and the Trainer in bfloat16")
    options = parser.parse_args()
    keep_freed_memory()  # as in the scripts that train
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = torch.rand(BATCH, 1, 320) * 2 - 1
    config = BeatganConfig(base_channels=options.base_channels)
    official, ours = BeatganForPreTraining(config).train(), BeatganForPreTraining(config).train()
    adams = {
        phase: torch.optim.AdamW([p for part in parts for p in official.get_submodule(part).parameters()], **ADAM)
        for phase, parts in official.phases.items()
    }
    adam = torch.optim.AdamW(ours.parameters(), **ADAM)
    # Two lengths, so that the start of a training, about 0.3 s, is not counted.
    short, long = (trained(BeatganForPreTraining(config), x, count * options.steps, options.bf16) for count in (4, 16))
    detector = BeatganForAnomalyDetection(config).eval()
    many = x.repeat(8, 1, 1)

    @torch.inference_mode()
    def bare() -> None:
        for batch in many.split(BATCH):
            detector.decoder(detector.beatgan(batch).pooler_output)

    @torch.inference_mode()
    def scored() -> None:
        for batch in many.split(BATCH):
            detector(batch).score.numpy()

    def repeated(step: Callable[[], object], count: int) -> Callable[[], object]:
        return lambda: [step() for _ in range(count)]

    def bare_step() -> None:
        our_step(ours, adam, x, options.bf16)

    print(f"{options.base_channels} channels, batches of {BATCH}, {options.threads} thread(s), bf16 {options.bf16}")
    steps = compare(
        {"ours": repeated(bare_step, options.steps),
         "official": repeated(lambda: official_step(official, adams, x), options.steps)},
        options.rounds,
    )  # fmt: skip
    report("step", "official order", steps["ours"], steps["official"], options.steps, 0.65)
    runs = compare(
        {"bare": repeated(bare_step, 12 * options.steps), "short": short.train, "long": long.train},
        max(2, options.rounds // 3),
    )
    report("step of the Trainer", "bare step", runs["long"] - runs["short"], runs["bare"], 12 * options.steps, 1.05)
    scores = compare({"ours": scored, "bare": bare}, options.rounds)
    report("scores of 64 beats", "bare forward pass", scores["ours"], scores["bare"], 8, 1.1)
    print(f"{len(many) / scores['ours']:,.0f} beats/s")


def report(name: str, other: str, ours: float, theirs: float, count: int, target: float) -> None:
    print(
        f"{name}: {1000 * ours / count:.1f} ms, {other} {1000 * theirs / count:.1f} ms, ratio {ours / theirs:.2f} "
        f"(target at most {target})"
    )


if __name__ == "__main__":
    main()
