"""The section "Use" of a card: opening the checkpoint with the package, without it, and training it further."""

from collections.abc import Sequence

from ...auto import CLASS_KINDS
from ..export import PIPELINES
from .facts import CardFacts
from .labels import label_lines

__all__ = ["TASKS", "summary", "usage_blocks"]

# Task of the pipeline that a published folder brings along, by published head.
TASKS = {head: remote.task for head, remote in PIPELINES.items()}

# Calls of the package's own pipeline, by published head.
PIPELINE_CALLS = {
    "classifier": (
        'classify = pipeline("ecg-classification"',
        'found = classify("my_record")                           # WFDB, CSV, NPY ...; a list of results for a list',
        'found[0]                                                # {"label", "name", "score", "positive"}, best first',
    ),
    "anomaly_detection": (
        'find = pipeline("ecg-anomaly-detection"',
        'beats = find("my_record")                           # a row per beat: peak, score, anomalous, heat ...',
        'beats = find("my_record", calibrate="record")       # threshold scaled to the recording',
    ),
}

# More labels than these are listed in a part that unfolds.
LISTED_LABELS = 12

# From the logits of a recording's windows to its probabilities.
PROBABILITIES = {
    "multi_label_classification": "probabilities = logits.sigmoid().mean(dim=0)      # of the recording, one per label",
    "single_label_classification": "probabilities = logits.softmax(dim=-1).mean(dim=0)   # of the recording",
}


def summary(facts: CardFacts) -> str:
    """The first sentences of a card: class, size, input, output.

    Args:
        facts: Of the checkpoint.
    """
    config = facts.config
    leads = f"{config.num_leads} lead{'s' if config.num_leads > 1 else ''}"
    output = f"one embedding of {config.pooled_size} numbers per window"
    if facts.head == "classifier":
        output = f"one logit for each of {len(facts.labels)} labels"
    elif _auto_class(facts) is None:
        output = f"{', '.join(f'`{name}`' for name in facts.outputs)} of each window"
    method = f" Pretrained by `{config.pretrained_by}`." if config.pretrained_by else ""
    return (
        f"`{facts.architecture}`, {facts.parameters / 1e6:.2f} million parameters. Input: {leads} at "
        f"{config.sampling_rate:g} Hz, windows of {config.window_size} samples "
        f"({config.window_size / config.sampling_rate:g} s). Output: {output}.{method}"
    )


def usage_blocks(facts: CardFacts) -> str:
    """Runnable Python; for a classifier also its labels and how to train it further.

    Args:
        facts: Of the checkpoint.
    """
    classifier = facts.head == "classifier"
    blocks = [_installation(facts)]
    if classifier or (facts.head == "anomaly_detection" and facts.takes_peaks):
        answer = [_answer(facts)] if classifier else []
        blocks += [_code(_pipeline(facts)), *answer, "Model and feature extractor:"]
    blocks += [_code(_with_package(facts))]
    if facts.has_code:
        blocks += ["Without the package (runs the code in this folder; read it first):", _code(_without_package(facts))]
    else:
        blocks.append(
            "This folder holds no code and needs the package `ecg_transformers`. `python training/publish.py "
            f"{facts.checkpoint} --output_dir out/{facts.name}` writes a folder that also opens without it "
            "(`trust_remote_code=True`)."
        )
    if classifier:
        blocks += ["Fine-tuning on your own recordings and labels, from the repository of the package:"]
        blocks += [_code(_fine_tuning(facts), "sh")]
        blocks += [
            "`labels.csv` has a column `record` with the path of each recording, optionally `patient`, then your "
            "labels, which may differ from these. The result is a checkpoint like this one.",
            _label_list(facts),
        ]
    return "\n\n".join(blocks)


def _installation(facts: CardFacts) -> str:
    """How to install the package, from the address that was given at publishing."""
    if not facts.source:
        return "Install the package `ecg_transformers` from the root of its repository: `pip install -e .`"
    return f'Source code: {facts.source}. Installation: `pip install "git+{facts.source}"`'


def _pipeline(facts: CardFacts) -> list[str]:
    opened, *calls = PIPELINE_CALLS[facts.head]
    return [
        "import ecg_transformers",
        "from transformers import pipeline",
        "",
        f'{opened}, model="{facts.checkpoint}")',
        *calls,
    ]


def _answer(facts: CardFacts) -> str:
    if facts.config.problem_type != "multi_label_classification":
        return "`score`: mean over the windows of the recording."
    decided = "the threshold of the label, `None` if it has none" if facts.config.thresholds else "0.5"
    return f"`score`: probability of the label, mean over the windows of the recording. `positive`: above {decided}."


def _auto_class(facts: CardFacts) -> str | None:
    """Auto class that opens the checkpoint for use; `None` for a head without one, such as anomaly detection."""
    if facts.head == "classifier":
        return "AutoModelForSequenceClassification"
    return "AutoModel" if CLASS_KINDS[facts.head].auto_classes else None


def _with_package(facts: CardFacts) -> list[str]:
    auto_class = _auto_class(facts)
    inputs = f'model(**extractor(record{", peaks=peaks" * facts.takes_peaks}, return_tensors="pt"))'
    found = "peaks = ecg_transformers.signals.beats.detect_r_peaks(record)    # or those of its annotations"
    if auto_class is None:
        last = [f"output = {inputs}    # {', '.join(facts.outputs)} of each window"]
    elif facts.head == "classifier":
        last = [f"logits = {inputs}.logits    # (windows, labels)"]
        last += [PROBABILITIES[facts.config.problem_type]] if facts.config.problem_type in PROBABILITIES else []
    else:
        last = [f"embedding = {inputs}.pooler_output   # (windows, {facts.config.pooled_size})"]
    return [
        "import ecg_transformers" + ".signals.beats" * facts.takes_peaks,
        f"from transformers import {', '.join(filter(None, ('AutoFeatureExtractor', auto_class)))}",
        "",
        f'extractor = AutoFeatureExtractor.from_pretrained("{facts.checkpoint}")',
        f'model = {auto_class or f"ecg_transformers.{facts.architecture}"}.from_pretrained("{facts.checkpoint}")',
        'record = ecg_transformers.read_record("my_record")    # WFDB, CSV, NPY ... with rate, units and lead names',
        *([found] if facts.takes_peaks else []),
        *last,
    ]


def _without_package(facts: CardFacts) -> list[str]:
    auto_class, output = _auto_class(facts), "model(**inputs)"
    imported, opened = f"from transformers import AutoFeatureExtractor, {auto_class}", auto_class
    if auto_class is None:
        imported = "from transformers import AutoFeatureExtractor, dynamic_module_utils"
        name = f"{CLASS_KINDS[facts.head].file}_{facts.config.model_type}.{facts.architecture}"
        opened = f'dynamic_module_utils.get_class_from_dynamic_module("{name}", "{facts.checkpoint}")'
    else:
        output += ".logits" if facts.head == "classifier" else ".pooler_output"
    trust = "" if auto_class is None else ", trust_remote_code=True"
    task = TASKS.get(facts.head)
    in_one = [
        "",
        f'in_one_call = pipeline("{task}", model="{facts.checkpoint}", trust_remote_code=True)',
        "result = in_one_call(signal, sampling_rate=500)        # the whole recording",
    ]
    return [
        "import numpy as np",
        imported if task is None else f"{imported}, pipeline",
        "",
        f'extractor = AutoFeatureExtractor.from_pretrained("{facts.checkpoint}", trust_remote_code=True)',
        f'model = {opened}.from_pretrained("{facts.checkpoint}"{trust})',
        f'signal = np.load("signal.npy")                         # ({facts.config.num_leads} leads, samples) in mV',
        *(['peaks = np.load("peaks.npy")                           # samples of the R peaks'] * facts.takes_peaks),
        f'inputs = extractor(signal, sampling_rate=500{", peaks=peaks" * facts.takes_peaks}, return_tensors="pt")',
        f"output = {output}",
        *([] if task is None else in_one),
    ]


def _fine_tuning(facts: CardFacts) -> list[str]:
    return [
        "export ACCELERATE_LOG_LEVEL=error   # no list of defaults",
        f"accelerate launch training/finetune.py --model {facts.checkpoint} --mode fine_tune \\",
        "    --table labels.csv --root my_recordings --output_dir runs/mine",
    ]


def _label_list(facts: CardFacts) -> str:
    listed = ", ".join(code if code == name else f"{code} ({name})" for code, name in facts.labels) + "."
    if len(facts.labels) <= LISTED_LABELS and not facts.label_scores:
        return f"Labels in the order of the logits: {listed}"
    if facts.label_scores:
        listed = label_lines(facts.label_scores, facts.labels)
    return (
        f"<details>\n<summary>The {len(facts.labels)} labels in the order of the logits</summary>\n\n{listed}\n\n"
        "</details>"
    )


def _code(lines: Sequence[str], language: str = "python") -> str:
    return "\n".join([f"```{language}", *lines, "```"])
