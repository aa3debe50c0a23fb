"""A checkpoint in torch and exported: ms per window on one thread, size, and for a classifier the AUROC of its scores.

    pip install -e '.[onnx]'
    python benchmarks/bench_export.py hub/xresnet1d50-ecg --corpus data/prepared/ptbxl [--batch 32] [--rounds 10]

The runtimes take turns round by round, in processor time of one thread; the fastest round of each counts. int8 is
dynamic quantization of ONNX Runtime: weights in int8, activations quantized as they come.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from transformers import AutoFeatureExtractor

from ecg_transformers.corpora.prepared import load_corpus
from ecg_transformers.exporting import export_checkpoint
from ecg_transformers.inference.aggregation import aggregate_windows
from ecg_transformers.metrics.metrics import macro_auroc
from ecg_transformers.publishing.export import open_checkpoint


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def runtimes(checkpoint, folder):
    """Each runtime as a function of named tensors that returns its first output, and the size of its file."""
    model = open_checkpoint(Path(checkpoint), with_pretraining_state=False).model
    signature = export_checkpoint(checkpoint, folder).signature
    export_checkpoint(checkpoint, folder, format="torch")
    # Constants folded: kernels that are computed in the graph would stay in float32.
    quant_pre_process(folder / "model.onnx", folder / "folded.onnx", skip_symbolic_shape=True)
    quantize_dynamic(folder / "folded.onnx", folder / "int8.onnx", weight_type=QuantType.QUInt8)
    program = torch.export.load(folder / "model.pt2").module(check_guards=False)
    runs = {
        "torch eager": (lambda inputs: model(**inputs)[signature.outputs[0]], Path(checkpoint) / "model.safetensors"),
        "torch.export": (lambda inputs: program(*inputs.values())[0], folder / "model.pt2"),
    }
    for name, file in (("ONNX", "model.onnx"), ("ONNX int8", "int8.onnx")):
        runs[name] = (_run_onnx(session(folder / file)), folder / file)
    return runs, signature


def _run_onnx(graph):
    return lambda inputs: graph.run(None, {name: value.numpy() for name, value in inputs.items()})[0]


def measure(runs, inputs, rounds):
    best = {}
    for _ in range(rounds + 1):
        for name, (run, _) in runs.items():
            started = time.process_time()
            run(inputs)
            best[name] = min(best.get(name, float("inf")), time.process_time() - started)
    return best


def auroc(run, corpus, extractor, names, codes):
    """Macro AUROC from the mean probability of the windows of a record, over the labels of checkpoint and corpus."""
    scores = []
    for start in range(0, len(corpus), 64):
        batch = extractor([corpus[row] for row in range(start, min(start + 64, len(corpus)))], return_tensors="pt")
        logits = torch.as_tensor(run({name: batch[name] for name in names}))
        scores.append(aggregate_windows(logits.sigmoid().numpy(), batch["record_index"].numpy()))
    matrix = corpus.label_matrix("all")
    return macro_auroc(matrix.values, np.concatenate(scores)[:, [codes.index(code) for code in matrix.codes]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--corpus")
    parser.add_argument("--folds", type=int, nargs="+", default=[9])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        runs, signature = runtimes(options.checkpoint, Path(folder))
        config = json.loads((Path(options.checkpoint) / "config.json").read_text())
        best = measure(runs, signature.example(options.batch, config["window_size"]), options.rounds)
        print(f"{'runtime':<14}{'ms per window':>14}{'of eager':>10}{'MB':>7}")
        for name, (_, file) in runs.items():
            ratio = best[name] / best["torch eager"]
            print(f"{name:<14}{best[name] / options.batch * 1e3:>14.3f}{ratio:>10.2f}{file.stat().st_size / 1e6:>7.1f}")
        if options.corpus:
            corpus = load_corpus(options.corpus).select(folds=options.folds)
            extractor = AutoFeatureExtractor.from_pretrained(options.checkpoint)
            for name in ("ONNX", "ONNX int8"):
                value = auroc(runs[name][0], corpus, extractor, signature.inputs, list(config["id2label"].values()))
                print(f"{name}: macro AUROC {value:.4f} on {len(corpus):,} records")


if __name__ == "__main__":
    main()
