"""The main job from end to end, on data it makes itself: no download, no GPU, about three minutes on two cores.

    python training/demo.py [--output_dir demo] [--records 600] [--seed 0]

Makes a labeled multi-rhythm corpus, pretrains a small MAE-MoCo on it, fine-tunes it, publishes it to a folder, loads
it back through Transformers' auto classes, classifies a record, embeds a real recording with the trained checkpoint
that ships in hub/, and draws three figures.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_RECORDING = REPOSITORY / "tests" / "data" / "ptbxl" / "00001_hr"
TRAINED = REPOSITORY / "hub" / "mae-moco-ecg"


def call(title: str, *argv: str | Path) -> None:
    """Run one command of the package as a user would type it, with its output shown."""
    argv = [str(text) for text in argv]
    shown = " ".join(Path(text).name if text == sys.executable else text.replace(f"{REPOSITORY}/", "") for text in argv)
    print(f"\n== {title}\n$ {shown}", flush=True)
    # Matrices this small are no work to share: a second thread only waits for the first.
    quiet = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "TRANSFORMERS_VERBOSITY": "error"}
    environment = {"OMP_NUM_THREADS": "1", **os.environ, **quiet}
    finished = subprocess.run(argv, cwd=REPOSITORY, env=environment, check=False)
    if finished.returncode:
        sys.exit(f"demo.py: this command failed with exit code {finished.returncode}; see its message above.")


def launch(script: str, *argv: str | Path) -> tuple[str | Path, ...]:
    """`accelerate launch` for one process on the CPU."""
    python = Path(sys.executable)
    return (
        *(python.with_name("accelerate"), "launch", "--cpu", "--num_processes", "1", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", REPOSITORY / "training" / script, *argv),
    )


def train(folder: Path, records: int, seed: int) -> None:
    """Corpus, pretraining, fine-tuning, publication: four commands."""
    python, training = sys.executable, REPOSITORY / "training"
    corpus, pretrained, tuned = folder / "corpus", folder / "pretrained", folder / "finetuned"
    call(
        f"1 of 4  Make {records} recordings with known rhythms",
        *(python, training / "prepare.py", "synthetic", "--records", str(records), "--seed", str(seed)),
        *("--output", corpus, "--overwrite"),
    )
    call(
        "2 of 4  Pretrain a small MAE-MoCo without labels",
        *launch("pretrain.py", training / "configs" / "mae_moco_tiny.yaml", "--corpus", corpus),
        *("--output_dir", pretrained),
    )
    call(
        "3 of 4  Fine-tune it on the rhythms",
        *launch("finetune.py", "--model", pretrained, "--corpus", corpus, "--labels", "all"),
        *("--mode", "fine_tune", "--num_train_epochs", "4", "--no_baseline", "--output_dir", tuned),
    )
    call("4 of 4  Publish it to a folder", python, training / "publish.py", tuned, "--output_dir", folder / "published")


def use(folder: Path) -> None:
    """Load the published folder, classify and embed, draw the figures."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification, pipeline
    from transformers.utils import logging

    import ecg_transformers
    from ecg_transformers import viz
    from ecg_transformers.signals.synthesis import synthesize_record

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    published = folder / "published"
    print("\n== Load it back and use it")
    extractor = AutoFeatureExtractor.from_pretrained(published)
    model = AutoModelForSequenceClassification.from_pretrained(published)
    print(extractor.describe())
    unseen = synthesize_record("AFIB", duration=10.0, sampling_rate=500, seed=12345)
    print(f"\n{unseen}\n  logits {tuple(model(**extractor(unseen, return_tensors='pt')).logits.shape)}")
    classify = pipeline("ecg-classification", model=str(published))
    for row in classify(unseen)[:3]:
        print(f"  {row['score']:.2f}  {row['label']:<8} {row['name']}")

    real = ecg_transformers.read_record(REAL_RECORDING)
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    viz.plot_ecg(real, layout="3x4+II").savefig(figures / "recording.png", dpi=120)
    if TRAINED.is_dir():
        extractor, model = AutoFeatureExtractor.from_pretrained(TRAINED), AutoModel.from_pretrained(TRAINED)
        embedding = model(**extractor(real, return_tensors="pt")).pooler_output
        print(f"\n{real}\n  embedding by hub/mae-moco-ecg: {tuple(embedding.shape)}, first {embedding[0, :4].tolist()}")
    for name in ("reconstruction.png", "loss.png"):
        shutil.copyfile(folder / "pretrained" / name, figures / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("demo"), help="where everything goes (default: demo)")
    parser.add_argument("--records", type=int, default=600, help="recordings to make (default 600)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other recordings (default 0)")
    options = parser.parse_args()
    folder, started = options.output_dir.resolve(), time.monotonic()
    for part in ("pretrained", "finetuned", "published"):
        shutil.rmtree(folder / part, ignore_errors=True)
    train(folder, options.records, options.seed)
    use(folder)
    shown = os.path.relpath(folder)
    print(
        f"""
== Done in {time.monotonic() - started:.0f} s. Look at
  {shown}/figures/recording.png       a real recording on ECG paper
  {shown}/figures/reconstruction.png  what this run's decoder makes of hidden patches
  {shown}/figures/loss.png            the loss terms of this run
  {shown}/published/README.md         the card of the published model

Three commands to try next:
  ecg-transformers inspect {shown}/published
  ecg-transformers inspect tests/data/ptbxl/00001_hr.hea
  python training/pretrain.py --help
(in the environment: source .venv/bin/activate)"""
    )


if __name__ == "__main__":
    main()
