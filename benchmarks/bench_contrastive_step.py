"""Pretraining steps of SimCLR and BYOL against their bare passes, and the share of Sinkhorn in a step of SwAV.

    python benchmarks/bench_contrastive_step.py [--threads 1] [--batch 128] [--rounds 7] [--only simclr|byol|swav]

xresnet1d50 on pairs of 12 x 250 out of pieces of 12 x 1000. A step draws and makes the views, runs both passes, the
optimizer (AdamW), and for BYOL the moving average. The bare step has the same passes over given views, a plain
loss and the optimizer. The two take turns; times are processor time of this process, and a ratio is the median over the
rounds. Target: at most 1.15. Sinkhorn: codes and loss of 6 crops and 3,000 prototypes with a queue of 8 batches.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from ecg_transformers import (
    ByolConfig,
    ByolForPreTraining,
    SimclrConfig,
    SimclrForPreTraining,
    SwavConfig,
    SwavForPreTraining,
)
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.objectives.progress import Progress
from ecg_transformers.objectives.sinkhorn import assignment_codes, assignment_loss

FAMILIES = {"simclr": (SimclrConfig, SimclrForPreTraining), "byol": (ByolConfig, ByolForPreTraining)}
FIELDS = {"positives": "record", "source_window_size": 1000}
TARGET = 1.15


def plain_simclr(model, views):
    """NT-Xent over one matrix of similarities."""
    pooled = [model.simclr(views[:, view]).pooler_output for view in range(2)]
    vectors = functional.normalize(torch.cat([model.projector(rows) for rows in pooled]).float(), dim=1)
    similarity = (vectors @ vectors.T / model.temperature).fill_diagonal_(float("-inf"))
    partners = torch.arange(len(vectors)).roll(len(vectors) // 2)
    return functional.cross_entropy(similarity, partners)


def plain_byol(model, views):
    """Negative cosines of predictions and targets."""
    loss = 0.0
    for view in range(2):
        prediction = model.predictor(model.projector(model.byol(views[:, view]).pooler_output))
        with torch.no_grad():
            target = model.momentum_projector(model.momentum_encoder(views[:, 1 - view]).pooler_output)
        loss = loss - 2 * functional.cosine_similarity(prediction.float(), target.float()).mean()
    return loss


PLAIN = {"simclr": plain_simclr, "byol": plain_byol}


def steps_of(name: str, batch: int, dtype: torch.dtype) -> tuple[Callable[[], None], Callable[[], None]]:
    """The whole step and the bare one, of the same model."""
    torch.manual_seed(0)
    config_class, model_class = FAMILIES[name]
    model = model_class(config_class(**FIELDS)).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    pieces = torch.randn(batch, 12, 1000)
    views = model.apply_draws({"input_values": pieces}, model.draw(RowGenerator(batch, seed=0)))["views"]
    numbers = itertools.count()

    def learn(make_loss: Callable[[], torch.Tensor]) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = make_loss()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def whole() -> None:
        progress = Progress(next(numbers), 1000, 0.0)
        if hasattr(model, "before_step"):
            model.before_step(progress)
        draws = model.draw(RowGenerator(batch, seed=progress.global_step))
        keywords = model.apply_draws({"input_values": pieces}, draws)
        learn(lambda: model(pieces, **keywords).loss)
        if hasattr(model, "after_step"):
            model.after_step(progress)

    return whole, lambda: learn(lambda: PLAIN[name](model, views))


def processor_seconds(run: Callable[[], None]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def sinkhorn_share(batch: int, rounds: int) -> None:
    """Time of codes and loss alone, and of a whole step of SwAV, float32."""
    torch.manual_seed(0)
    model = SwavForPreTraining(SwavConfig(queue_size=8 * batch)).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    x = torch.randn(batch, 12, 250)
    queue = functional.normalize(torch.randn(8 * batch, 2, 128), dim=2)
    scores = functional.normalize(torch.randn(batch, 6, 128), dim=2) @ model.prototypes.weight.detach().T
    model.queue.push(queue)
    numbers = itertools.count()

    def step() -> None:
        draws = model.draw(RowGenerator(batch, seed=next(numbers)))
        model(x, **model.apply_draws({"input_values": x}, draws)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def codes_and_loss() -> None:
        own = scores.clone().requires_grad_()
        codes = assignment_codes(own[:, :2], queue, model.prototypes.weight)
        assignment_loss(own, codes, 0.1).backward()

    for run in (step, codes_and_loss):
        run()
    times = [(processor_seconds(step), processor_seconds(codes_and_loss)) for _ in range(rounds)]
    whole, part = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{'swav, Sinkhorn':<16}{'float32':<10}{1000 * whole:>9.0f}{1000 * part:>9.0f}{part / whole:>8.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["simclr", "byol", "swav"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.batch} records, {options.threads} thread(s), torch {torch.__version__}; processor time")
    print(f"{'step':<16}{'type':<10}{'ours, ms':>9}{'bare, ms':>9}{'ratio':>8}{'target':>8}")
    for name in FAMILIES if options.only is None else {options.only} & FAMILIES.keys():
        for dtype in (torch.float32, torch.bfloat16):
            whole, bare = steps_of(name, options.batch, dtype)
            for run in (whole, bare):
                run()
            rounds = [(processor_seconds(whole), processor_seconds(bare)) for _ in range(options.rounds)]
            ours, other = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(one / two for one, two in rounds)
            kind = str(dtype).removeprefix("torch.")
            print(f"{name:<16}{kind:<10}{1000 * ours:>9.0f}{1000 * other:>9.0f}{ratio:>8.2f}{TARGET:>8}")
    if options.only in (None, "swav"):
        print(f"{'share of a step':<16}{'type':<10}{'step, ms':>9}{'part, ms':>9}{'share':>8}")
        sinkhorn_share(options.batch, options.rounds)


if __name__ == "__main__":
    main()
