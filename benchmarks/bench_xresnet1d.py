"""xresnet1d50 on 12 x 250: training and evaluation compared with plain PyTorch, `deepecgkit` (PyPI 0.3.0) and MAE-MoCo.

    python benchmarks/bench_xresnet1d.py --corpus path/to/prepared/ptbxl [--threads 1] [--rounds 20] [--cpu_time]
        [--deepecgkit path/to/python] [--only train|evaluate]

Training, a step at batch 128, float32 and bfloat16 autocast. The sides take turns: one step each, round after round.

- plain: the same network out of nn.Conv1d, nn.BatchNorm1d, nn.ReLU, pools and additions, with the weights of ours (that
  both give the same logits is checked); on a batch that lies ready: forward, BCE loss, backward, torch.optim.AdamW.
- ours: the package's model on the same batch, the loss of `FineTuneTrainer`, backward, AdamW. No crops, no logging.
  Both take AdamW's fused form, so that they differ in the network alone.
- Trainer: a whole step of `FineTuneTrainer` in a training under way, from one step's end to the next: random crops out
  of the corpus, loss, backward, AdamW, one-cycle schedule, callbacks. No logging, no checkpoints.
- crops: making such a batch alone (`LabeledWindows.__getitems__`).
- deepecgkit: an epoch of one ready batch by its own `ECGTrainer` with its own `XResNet1dBenchmark`, in a process of its
  own; the interpreter needs `pip install deepecgkit==0.3.0 torch==2.13.0`. Its body is the same network, its head one
  linear layer instead of two, its optimizer Adam; it counts accuracy at each step, and has no bfloat16: the autocast
  around it is put there by this script.

Bar: ours takes at most 1.15 of the time of plain. Ratios are medians over the rounds of that round's ratio, with
quartiles.

Evaluation: the reported fold of the corpus (PTB-XL: fold 9, 2,183 records) from the corpus to one row of probabilities
a record, 7 windows each, by `predict_records`; beside it the same records, one window each, from the corpus to one
vector a record by the MAE-MoCo encoder of the published size (`encode_corpus`); and the feature extractor alone.

--cpu_time counts the processor time of the process instead of the clock's, with one thread: for a machine that is busy.
"""

import argparse
import os
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PrinterCallback, TrainerCallback

from ecg_transformers import Xresnet1dConfig, Xresnet1dFeatureExtractor, Xresnet1dForSequenceClassification
from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.corpora.protocol import Part, Task, chosen_folds
from ecg_transformers.evaluation.classifier import build_classifier, load_extractor
from ecg_transformers.evaluation.fine_tune import training_arguments
from ecg_transformers.inference.encode import CheckpointEncoder, encode_corpus, iterate_windows, predict_records
from ecg_transformers.objectives.class_weights import weighted_losses
from ecg_transformers.readout import Readout
from ecg_transformers.trainer.fine_tuning import FineTuneTrainer, LabeledWindows
from ecg_transformers.trainer.settings import FineTuneSettings

BATCH, LEADS, SAMPLES = 128, 12, 250
WARM_UP = 3
OPTIMIZER = {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 1e-2}
TYPES = {"float32": False, "bfloat16": True}

# Reads "0" or "1" (autocast) from its input, trains on the batch once and answers with the seconds.
DEEPECGKIT = """
import sys, time, torch
from deepecgkit.models.xresnet1d_benchmark import XResNet1dBenchmark
from deepecgkit.training.train import ECGTrainer

batch, leads, samples, labels, threads, cpu_time = (int(word) for word in sys.argv[1:])
torch.set_num_threads(threads)
torch.manual_seed(0)
clock = time.process_time if cpu_time else time.perf_counter
model = XResNet1dBenchmark(leads, labels, expansion=4, layers=[3, 4, 6, 3])
trainer = ECGTrainer(model, {"multi_label": True}, device="cpu")
trainer._setup_optimizer()
ready = [(torch.randn(batch, leads, samples), (torch.rand(batch, labels) < 0.04).float())]
count = sum(parameter.numel() for parameter in model.parameters())
print(f"{count:,} parameters, torch {torch.__version__}", flush=True)
for line in sys.stdin:
    started = clock()
    with torch.autocast("cpu", torch.bfloat16, enabled=line.strip() == "1"):
        trainer._run_epoch(ready)
    print(clock() - started, flush=True)
"""


class PlainBlock(nn.Module):
    """A bottleneck, as anybody would write it."""

    def __init__(self, inputs, width, outputs, kernel, stride):
        super().__init__()
        self.branch = nn.Sequential(
            *conv(inputs, width, 1), nn.ReLU(inplace=True),
            *conv(width, width, kernel, stride), nn.ReLU(inplace=True),
            *conv(width, outputs, 1),
        )  # fmt: skip
        pool = [nn.AvgPool1d(2, ceil_mode=True)] if stride == 2 else []
        self.shortcut = nn.Sequential(*pool, *(conv(inputs, outputs, 1) if inputs != outputs else []))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        """Branch and shortcut added."""
        return self.relu(self.branch(x) + self.shortcut(x))


def conv(inputs, outputs, kernel, stride=1):
    return [nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm1d(outputs)]


class PlainXresnet1d(nn.Module):
    """xresnet1d50 with the benchmark's head, plainly; its parameters stand in the order of ours."""

    def __init__(self, config):
        super().__init__()
        stem, inputs = [], config.num_leads
        for number, size in enumerate(config.stem_sizes):
            stem += [*conv(inputs, size, config.stem_kernel_size, 1 if number else 2), nn.ReLU(inplace=True)]
            inputs = size
        blocks = []
        for stage, depth in enumerate(config.depths):
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(PlainBlock(inputs, config.width, 4 * config.width, config.kernel_size, stride))
                inputs = 4 * config.width
        self.body = nn.Sequential(*stem, nn.MaxPool1d(3, 2, 1), *blocks)
        (hidden,) = config.head_hidden_sizes
        self.head = nn.Sequential(
            nn.BatchNorm1d(2 * inputs), nn.Dropout(config.head_dropout / 2), nn.Linear(2 * inputs, hidden), nn.ReLU(),
            nn.BatchNorm1d(hidden), nn.Dropout(config.head_dropout), nn.Linear(hidden, config.num_labels),
        )  # fmt: skip

    def forward(self, x):
        """Logits."""
        x = self.body(x)
        return self.head(torch.cat([x.amax(-1), x.mean(-1)], dim=1))


class Rounds(TrainerCallback):
    """After each step of a training lets every other side make one; `times` has a row per round, the Trainer first."""

    def __init__(self, sides, clock):
        self.sides, self.clock = sides, clock
        self.times, self.left = [], None

    def on_step_end(self, args, state, control, **kwargs):
        """Stop the clock, let the others run, start it again."""
        step = None if self.left is None else self.clock() - self.left
        others = [seconds() for seconds in self.sides]
        if state.global_step > WARM_UP:
            self.times.append([step, *others])
        self.left = self.clock()


class Deepecgkit:
    """The other package in a process of its own."""

    def __init__(self, python, labels, options):
        numbers = (BATCH, LEADS, SAMPLES, labels, options.threads, int(options.cpu_time))
        self.process = subprocess.Popen(
            [python, "-c", DEEPECGKIT, *map(str, numbers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(options.threads)},
        )  # fmt: skip
        self.introduction = self.process.stdout.readline().strip()
        if not self.introduction:
            raise SystemExit(f"{python} has no deepecgkit 0.3.0: pip install deepecgkit==0.3.0 torch==2.13.0")

    def seconds(self, bf16):
        """Of one step there."""
        print(int(bf16), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def timed(run, clock):
    started = clock()
    run()
    return clock() - started


def xresnet1d50(task):
    torch.manual_seed(0)
    config = Xresnet1dConfig(num_labels=task.num_labels, zero_init_residual=False, pooling="cls")
    config.problem_type = task.problem_type
    return Xresnet1dForSequenceClassification(config)


def plain_twin(model, x):
    """The plain network with the same weights; both must give the same logits."""
    plain = PlainXresnet1d(model.config)
    values = model.state_dict().values()
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    with torch.no_grad():
        ours, theirs = model.eval()(x).logits, plain.eval()(x)
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    if not difference < 1e-5:
        raise SystemExit(f"the plain network gives other logits than ours: they differ by {difference:.1e}")
    return plain


def step_of_ours(model, inputs, kind, bf16):
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), **OPTIMIZER, fused=True)

    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(inputs["input_values"]).logits
        weighted_losses(logits, inputs["labels"], kind).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def step_of_plain(plain, inputs, bf16):
    plain.train()
    optimizer = torch.optim.AdamW(plain.parameters(), **OPTIMIZER, fused=True)
    loss = nn.BCEWithLogitsLoss()

    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = loss(plain(inputs["input_values"]), inputs["labels"])
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def train_in_turn(data, task, bf16, sides, clock, rounds, folder):
    """A training of the Trainer in which the other sides take turns; seconds `(rounds, 1 + sides)`."""
    callback = Rounds(sides, clock)
    arguments = training_arguments(
        folder, max_steps=rounds + WARM_UP, per_device_train_batch_size=BATCH, bf16=bf16, use_cpu=True,
        learning_rate=OPTIMIZER["lr"], adam_beta2=OPTIMIZER["betas"][1], weight_decay=OPTIMIZER["weight_decay"],
        decay_norms_and_biases=True, no_decay=[], max_grad_norm=0, eval_strategy="no", save_strategy="no",
        logging_strategy="no", load_best_model_at_end=False, dataloader_drop_last=True, disable_tqdm=True, seed=0,
    )  # fmt: skip
    settings = FineTuneSettings(choose_epoch="last", one_cycle=True, layer_decay=1.0, max_shift_seconds=0)
    trainer = FineTuneTrainer(
        xresnet1d50(task), settings=settings, args=arguments, train_dataset=data, callbacks=[callback]
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return np.array(callback.times)


def show(names, times, records, baseline):
    """One line a side: median milliseconds and rate, and the median and quartiles of its ratio to the baseline."""
    for name, column in zip(names, times.T, strict=True):
        low, middle, high = np.percentile(column / times[:, baseline], (25, 50, 75))
        median = np.median(column)
        print(f"  {name:<44}{median * 1e3:>9.1f}{records / median:>11,.0f}{middle:>8.3f}  ({low:.3f}-{high:.3f})")


def bench_training(part, task, clock, options):
    data = LabeledWindows(part, Xresnet1dFeatureExtractor(), seed=0)
    inputs = data.__getitems__(range(BATCH))
    order = np.random.default_rng(0).permutation(len(data))[:BATCH]
    other = Deepecgkit(options.deepecgkit, task.num_labels, options) if options.deepecgkit else None
    print(
        f"training step, batch {BATCH}, {LEADS} x {SAMPLES}, {task.num_labels} labels; "
        "ratio: time over that of plain PyTorch"
    )
    print(f"  {sum(p.numel() for p in xresnet1d50(task).parameters()):,} parameters, torch {torch.__version__}")
    print(f"  deepecgkit: {other.introduction if other else 'left out; see --deepecgkit in --help'}")
    for name, bf16 in TYPES.items():
        model = xresnet1d50(task)
        runs = {
            "plain": step_of_plain(plain_twin(model, inputs["input_values"]), inputs, bf16),
            "ours": step_of_ours(model, inputs, task.problem_type, bf16),
            "crops of a batch": partial(data.__getitems__, order),
        }
        sides = {side: partial(timed, run, clock) for side, run in runs.items()}
        if other:
            sides["deepecgkit" + (" under autocast" if bf16 else "")] = partial(other.seconds, bf16)
        with tempfile.TemporaryDirectory() as folder:
            times = train_in_turn(data, task, bf16, [*sides.values()], clock, options.rounds, folder)
        names = ["Trainer, crops and all", *sides]
        print(f"{name:<46}{'ms':>9}{'records/s':>11}{'ratio':>8}")
        show(names, times, BATCH, names.index("plain"))
        trainer, ours = times[:, 0], times[:, names.index("ours")]
        crops = times[:, names.index("crops of a batch")]
        print(f"  Trainer / ours {np.median(trainer / ours):.3f}, crops / Trainer {np.median(crops / trainer):.1%}")


def bench_evaluation(corpus, task, clock, options):
    model, extractor = xresnet1d50(task).eval(), Xresnet1dFeatureExtractor()
    mae = load_extractor(options.mae_moco)
    classifier = build_classifier(options.mae_moco, task, readout=Readout("cls"))
    encoder = CheckpointEncoder(classifier, mae, "mae-moco")
    windows = sum(len(index) for _, index in iterate_windows(corpus, extractor)) / len(corpus)
    print(f"{len(corpus):,} records, {windows:g} windows each for xresnet1d; ratio: time over that of xresnet1d")
    for name, bf16 in TYPES.items():
        runs = {
            "xresnet1d50, probabilities": partial(predict_records, model, corpus, extractor, bf16=bf16),
            "its extractor alone": lambda: [None for _ in iterate_windows(corpus, extractor)],
            "MAE-MoCo, published size, embeddings": partial(encode_corpus, encoder, corpus, bf16=bf16),
            "its extractor alone ": lambda: [None for _ in iterate_windows(corpus, mae)],
        }
        times = np.array([[timed(run, clock) for run in runs.values()] for _ in range(options.passes)])
        print(f"{name:<46}{'ms':>9}{'records/s':>11}{'ratio':>8}")
        show(runs, times, len(corpus), 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="prepared corpus with folds, PTB-XL or a synthetic one")
    parser.add_argument("--labels", default="all", help="label set of the corpus")
    parser.add_argument("--only", choices=("train", "evaluate"), help="only this part")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20, help="steps of each side of the training")
    parser.add_argument("--passes", type=int, default=3, help="evaluations of the whole fold")
    parser.add_argument("--cpu_time", action="store_true", help="count processor time (one thread)")
    parser.add_argument("--deepecgkit", metavar="PYTHON", help="interpreter that has deepecgkit 0.3.0")
    parser.add_argument("--mae_moco", default=Path(__file__).parents[1] / "hub" / "mae-moco-ecg", help="checkpoint")
    options = parser.parse_args()
    if options.cpu_time and options.threads != 1:
        parser.error("--cpu_time adds the time of all threads up: leave --threads at 1")
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    corpus = load_corpus(options.corpus)
    train_folds, evaluate_folds = chosen_folds(corpus)
    matrix = corpus.label_matrix(options.labels)
    task = Task(options.labels, matrix.codes, matrix.names, matrix.system, matrix.problem_type)
    print(f"{corpus.name}, {options.threads} thread(s), {'processor time' if options.cpu_time else 'wall time'}")
    if options.only != "evaluate":
        records = np.isin(corpus.folds, train_folds)
        part = Part(corpus.select(records), matrix.values[records], matrix.problem_type)
        bench_training(part, task, clock, options)
    if options.only != "train":
        bench_evaluation(corpus.select(folds=evaluate_folds), task, clock, options)


if __name__ == "__main__":
    main()
