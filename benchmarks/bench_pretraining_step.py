"""A MAE-MoCo pretraining step against its bare matrix products, on the CPU or one GPU.

    python benchmarks/bench_pretraining_step.py [--threads 1] [--device cpu] [--rounds 5] [--batch_full 8] [--batch 128]

Baseline: only the linear layers and attention products of query pass, key pass, masked pass and decoder, forward and
where the step has one, backward (two products per forward product), with the same shapes and type, in the same run.
The step itself has everything: views, normalization layers, softmax, GELU, losses, queue, backward pass, momentum
update and optimizer. The two are timed in turn, and each ratio is that of the fastest rounds.
"""

import argparse
import itertools
import time

import torch
from torch import nn

from ecg_transformers import MaeMocoConfig, MaeMocoForPreTraining
from ecg_transformers.augmentations.row_generator import RowGenerator

SHIPPED = {
    "sampling_rate": 100,
    "window_size": 1000,
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "intermediate_size": 384,
    "decoder_hidden_size": 128,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 256,
    "queue_size": 8192,
}


def products_of_stack(batch, tokens, width, heads, intermediate, layers):
    """Shapes (count, groups, rows, inner, columns) of the matrix products of a transformer stack, forward."""
    rows, size = batch * tokens, width // heads
    return [
        (4 * layers, 1, rows, width, width),
        (layers, 1, rows, width, intermediate),
        (layers, 1, rows, intermediate, width),
        (layers, batch * heads, tokens, size, tokens),
        (layers, batch * heads, tokens, tokens, size),
    ]


def products_of_step(config, batch):
    """All products of one step as (shape, has a backward pass)."""
    patches, width = config.num_patches, config.hidden_size
    kept = int(patches * (1 - config.mask_ratio))
    patch = config.patch_size * config.num_leads
    encoder = (width, config.num_attention_heads, config.intermediate_size, config.num_hidden_layers)
    decoder = (
        config.decoder_hidden_size,
        config.decoder_num_attention_heads,
        config.decoder_intermediate_size,
        config.decoder_num_hidden_layers,
    )
    full = [*products_of_stack(batch, patches + 1, *encoder), (1, 1, batch * patches, patch, width)]
    masked = [*products_of_stack(batch, kept, *encoder), (1, 1, batch * kept, patch, width)]
    decode = [
        *products_of_stack(batch, patches, *decoder),
        (1, 1, batch * kept, width, config.decoder_hidden_size),
        (1, 1, batch * patches, config.decoder_hidden_size, patch),
    ]
    contrast = [(1, 1, batch, config.projection_size, config.queue_size)]
    return [(shape, True) for shape in (*full, *masked, *decode, *contrast)] + [(shape, False) for shape in full]


def bare_products(config, batch, dtype, device):
    """A function that runs the bare products once, and their floating point operations."""
    calls, flops = [], 0
    for (count, groups, rows, inner, columns), backward in products_of_step(config, batch):
        shape = (groups,) if groups > 1 else ()
        left = torch.randn(*shape, rows, inner, dtype=dtype, device=device)
        right = torch.randn(*shape, inner, columns, dtype=dtype, device=device)
        gradient = torch.randn(*shape, rows, columns, dtype=dtype, device=device)
        # Contiguous memory as nn.Linear has it: weights are stored (columns, inner).
        if groups == 1:
            right = right.T.contiguous().T
        calls.append((count, left, right, gradient, backward))
        flops += 2 * count * groups * rows * inner * columns * (3 if backward else 1)

    def run():
        for count, left, right, gradient, backward in calls:
            for _ in range(count):
                left @ right
                if backward:
                    gradient @ right.mT
                    left.mT @ gradient

    return run, flops


def training_step(config, batch, dtype, device, compile_blocks):
    """A function that makes one whole training step."""
    torch.manual_seed(0)
    model = MaeMocoForPreTraining(config).to(device).train()
    if compile_blocks:
        for module in model.modules():
            if type(module).__name__ == "TransformerLayer":
                module.compile()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    x = torch.randn(batch, config.num_leads, config.window_size, device=device)
    ids = torch.arange(batch, device=device)
    steps = itertools.count()

    def run():
        draws = model.draw(RowGenerator(batch, seed=next(steps), device=device))
        keywords = model.apply_draws({"input_values": x}, draws)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(x, **keywords, patient_ids=ids).loss
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return run


def seconds(run, device):
    started = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch_full", type=int, default=8, help="batch of the published size, 12 x 3600")
    parser.add_argument("--batch", type=int, default=128, help="batch of the shipped size, 12 x 1000")
    parser.add_argument("--compile", action="store_true", help="compile the transformer blocks")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    attention = "eager" if options.device == "cpu" else "sdpa"
    print(f"device {options.device}, {options.threads} threads, torch {torch.__version__}, {attention} attention")
    print(
        f"{'model':<22}{'type':<10}{'batch':>3}{'step s':>9}{'products s':>12}{'share':>8}{'rec/s':>11}{'GFLOP/s':>10}"
    )
    sizes = (("published, 12 x 3600", {}, options.batch_full), ("shipped, 12 x 1000", SHIPPED, options.batch))
    for name, fields, batch in sizes:
        for dtype in (torch.float32, torch.bfloat16):
            config = MaeMocoConfig(**fields, attn_implementation=attention)
            step = training_step(config, batch, dtype, options.device, options.compile)
            products, flops = bare_products(config, batch, dtype, options.device)
            for run in (step, products):
                seconds(run, options.device)
            rounds = [(seconds(step, options.device), seconds(products, options.device)) for _ in range(options.rounds)]
            whole, bare = (min(column) for column in zip(*rounds, strict=True))
            print(
                f"{name:<22}{str(dtype).removeprefix('torch.'):<10}{batch:>3}{whole:>9.3f}{bare:>12.3f}"
                f"{bare / whole:>8.0%}{batch / whole:>11.0f}{flops / whole / 1e9:>10.0f}"
            )


if __name__ == "__main__":
    main()
