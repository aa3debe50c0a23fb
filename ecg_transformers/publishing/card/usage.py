"""The code of a card that a user copies: opening the checkpoint with the package, without it, and training further."""

from collections.abc import Sequence

from .facts import CardFacts

__all__ = ["usage_blocks"]

# More labels than these are listed in a part that unfolds.
LISTED_LABELS = 12

# From the logits of a recording's windows to its probabilities.
PROBABILITIES = {
    "multi_label_classification": "probabilities = logits.sigmoid().mean(dim=0)      # of the recording, one per label",
    "single_label_classification": "probabilities = logits.softmax(dim=-1).mean(dim=0)   # of the recording",
}


def usage_blocks(facts: CardFacts) -> str:
    """The usage section: runnable Python, and for a classifier its labels and how to train it further.

    Args:
        facts: What the checkpoint says about itself.
    """
    classifier = facts.kind == "classifier"
    blocks = []
    if classifier:
        blocks += ["A recording in, names out:", _code(_pipeline(facts)), _answer(facts)]
    blocks += ["The parts, with the package:" if classifier else "With the package:", _code(_with_package(facts))]
    blocks += ["Without it (the code in this folder is run; read it first):", _code(_without_package(facts))]
    if classifier:
        blocks += ["Train it further on your own recordings and labels:", _code(_fine_tuning(facts), "sh")]
        blocks += [
            "`labels.csv` has a column `record` with the path of each recording, `patient` if you know it, then your "
            "labels, which need not be these. The result is a checkpoint like this one. The command stands in the "
            "package's repository.",
            _label_list(facts),
        ]
    return "\n\n".join(blocks)


def _pipeline(facts: CardFacts) -> list[str]:
    return [
        "import ecg_transformers",
        "from transformers import pipeline",
        "",
        f'classify = pipeline("ecg-classification", model="{facts.checkpoint}")',
        'found = classify("my_record")                           # WFDB, CSV, NPY ...; a list of results for a list',
        'found[0]                                                # {"label", "name", "score", "positive"}, best first',
    ]


def _answer(facts: CardFacts) -> str:
    if facts.problem_type == "multi_label_classification":
        decided = (
            "`positive` says whether it reaches the threshold that is saved for that label."
            if facts.has_thresholds
            else "`positive` says whether it reaches 0.5; no thresholds are saved."
        )
        score = "`score` is the probability that the network gives a label, the mean over the windows of the recording"
        return f"{score}; {decided}"
    return "`score` is the mean over the windows of the recording."


def _with_package(facts: CardFacts) -> list[str]:
    head = "AutoModelForSequenceClassification" if facts.kind == "classifier" else "AutoModel"
    inputs = 'model(**extractor(record, return_tensors="pt"))'
    if facts.kind == "classifier":
        last = [f"logits = {inputs}.logits    # (windows, labels)"]
        last += [PROBABILITIES[facts.problem_type]] if facts.problem_type in PROBABILITIES else []
    else:
        last = [f"embedding = {inputs}.pooler_output   # (windows, {facts.embedding_size})"]
    return [
        "import ecg_transformers",
        f"from transformers import AutoFeatureExtractor, {head}",
        "",
        f'extractor = AutoFeatureExtractor.from_pretrained("{facts.checkpoint}")',
        f'model = {head}.from_pretrained("{facts.checkpoint}")',
        'record = ecg_transformers.read_record("my_record")    # WFDB, CSV, NPY ... with rate, units and lead names',
        *last,
    ]


def _without_package(facts: CardFacts) -> list[str]:
    head = "AutoModelForSequenceClassification" if facts.kind == "classifier" else "AutoModel"
    output = "logits" if facts.kind == "classifier" else "pooler_output"
    return [
        "import numpy as np",
        f"from transformers import AutoFeatureExtractor, {head}",
        "",
        f'extractor = AutoFeatureExtractor.from_pretrained("{facts.checkpoint}", trust_remote_code=True)',
        f'model = {head}.from_pretrained("{facts.checkpoint}", trust_remote_code=True)',
        f'signal = np.load("signal.npy")                         # ({len(facts.lead_names)} leads, samples) in mV',
        'inputs = extractor(signal, sampling_rate=500, return_tensors="pt")',
        f"output = model(**inputs).{output}",
    ]


def _fine_tuning(facts: CardFacts) -> list[str]:
    return [
        f"accelerate launch training/finetune.py --model {facts.checkpoint} --mode fine_tune \\",
        "    --table labels.csv --root my_recordings --output_dir runs/mine",
    ]


def _label_list(facts: CardFacts) -> str:
    listed = ", ".join(code if code == name else f"{code} ({name})" for code, name in facts.labels)
    if len(facts.labels) <= LISTED_LABELS:
        return f"Labels in the order of the logits: {listed}."
    return (
        f"<details>\n<summary>The {len(facts.labels)} labels in the order of the logits</summary>\n\n{listed}.\n\n"
        "</details>"
    )


def _code(lines: Sequence[str], language: str = "python") -> str:
    return "\n".join([f"```{language}", *lines, "```"])
