"""A short run whose processes together see the same batches as one process alone; started twice, or imported."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

PER_PROCESS = 8


class BatchNormOfOneProcess(nn.BatchNorm1d):
    """Normalizes in chunks of the batch of one process, as two processes with plain BatchNorm do."""

    def forward(self, values):
        if not self.training:
            return super().forward(values)
        first, *others = values.split(PER_PROCESS)
        # The running statistics are those of the first process, whose buffers are the ones that are kept.
        alone = [functional.batch_norm(part, None, None, self.weight, self.bias, True, eps=self.eps) for part in others]
        return torch.cat([super().forward(first), *alone])


def use_batch_norm_of_one_process(module: nn.Module) -> None:
    for child in module.children():
        if type(child) is nn.BatchNorm1d:
            child.__class__ = BatchNormOfOneProcess
        use_batch_norm_of_one_process(child)


def run(corpus_folder: str, output: str, batch_size: int, tiny: dict):
    from ecg_transformers.corpora.prepared import load_corpus
    from ecg_transformers.models.mae_moco.configuration_mae_moco import MaeMocoConfig
    from ecg_transformers.models.mae_moco.feature_extraction_mae_moco import MaeMocoFeatureExtractor
    from ecg_transformers.models.mae_moco.pretraining_mae_moco import MaeMocoForPreTraining
    from ecg_transformers.trainer import EcgTrainingArguments, PretrainingTrainer, WindowDataset

    torch.manual_seed(0)
    model = MaeMocoForPreTraining(MaeMocoConfig(**{**tiny, "hidden_dropout_prob": 0.0, "shuffle_bn": False}))
    use_batch_norm_of_one_process(model)
    corpus = load_corpus(corpus_folder)
    extractor = MaeMocoFeatureExtractor(sampling_rate=50, window_size=100, patch_size=10)
    trainer = PretrainingTrainer(
        model,
        EcgTrainingArguments(
            output,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=batch_size // 2,
            max_steps=8,
            optim="sgd",
            learning_rate=0.01,
            warmup_steps=2,
            weight_decay=0.01,
            max_grad_norm=1.0,
            logging_steps=2,
            eval_strategy="steps",
            eval_steps=4,
            save_strategy="steps",
            save_steps=4,
            use_cpu=True,
            disable_tqdm=True,
            report_to="none",
        ),
        train_dataset=WindowDataset(corpus.select(folds=[1, 2, 3]), extractor),
        eval_dataset=WindowDataset(corpus.select(folds=[4]), extractor),
        processing_class=extractor,
    )
    trainer.train()
    return trainer


if __name__ == "__main__":
    corpus_folder, output, tiny = sys.argv[1:4]
    trainer = run(corpus_folder, output, PER_PROCESS, json.loads(tiny))
    rank = trainer.args.process_index
    state = {name: value.clone() for name, value in trainer.core_model.state_dict().items()}
    save_file(state, str(Path(output) / f"rank{rank}.safetensors"))
    facts = {"world_size": trainer.args.world_size, "history": trainer.state.log_history}
    (Path(output) / f"rank{rank}.json").write_text(json.dumps(facts))
