"""What a card says that comes from the checkpoint and not from its author."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["CardFacts", "PublishedFile"]


@dataclass(frozen=True)
class PublishedFile:
    """One file of a published folder: name, size in bytes, SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class CardFacts:
    """What a card says that comes from the checkpoint and not from its author.

    Attributes:
        name: Name of the checkpoint.
        checkpoint: What a user passes to `from_pretrained`: a repository or a folder.
        kind: `"encoder"`, `"classifier"` or `"pretraining"`.
        architecture: Class name of the published model.
        parameters: Number of parameters.
        lead_names: Leads of the input in order.
        sampling_rate: Rate of the input in Hz.
        window_size: Length of the input in samples.
        embedding_size: Width of `pooler_output`.
        labels: Codes and names of the outputs of a classifier, in order.
        problem_type: Transformers' word for the task of a classifier.
        has_thresholds: Whether a threshold is saved for each label.
        label_figures: Rows of `labels.csv`, the figures of a classifier label by label.
        contract: `extractor.describe()`.
        contract_hash: `extractor.contract_hash()`.
        intended_use: `config.intended_use`.
        license: `config.license`.
        golden: Name, leads and rate of the golden recording in words.
        files: Everything in the folder but the card.
        results: Entries of `results.json`.
        run: `run.json` of the run that made the checkpoint: records, epochs, steps, hours, hardware, commit.
        corpora: Name, version, license, homepage and citation of the corpora it was trained on, for templates that name
            none themselves.
    """

    name: str
    checkpoint: str
    kind: str
    architecture: str
    parameters: int
    lead_names: Sequence[str]
    sampling_rate: float
    window_size: int
    embedding_size: int
    contract: str
    contract_hash: str
    intended_use: str
    license: str
    golden: str
    files: Sequence[PublishedFile]
    labels: Sequence[tuple[str, str]] = ()
    problem_type: str = "multi_label_classification"
    has_thresholds: bool = False
    label_figures: Sequence[Mapping] = ()
    results: Sequence[Mapping] = ()
    run: Mapping = field(default_factory=dict)
    corpora: Sequence[Mapping] = field(default_factory=tuple)
