"""The facts of a card that come from the checkpoint and its results, not from its author."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ...configuration import EcgConfig
from ...corpora import CORPORA, corpus_definition
from ...errors import CheckpointError
from ..export import Opened
from ..folder import CARD_FILE, TEMPLATE_FILE, read_json
from ..golden import describe_golden
from .labels import load_label_scores
from .results import load_results

__all__ = ["CardFacts", "Material", "gather_facts", "load_material"]

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class Material:
    """What the folder of a card holds.

    Attributes:
        folder: The folder.
        template: Text of `card.md`; None without one.
        results: Entries of `results.json`.
        run: `run.json` of the run that made the checkpoint.
        label_scores: Rows of `labels.csv`, the scores of a classifier per label.
    """

    folder: Path
    template: str | None
    results: Sequence[Mapping[str, Any]]
    run: Mapping[str, Any]
    label_scores: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class CardFacts:
    """What the renderer of a card is given.

    Attributes:
        name: Name of the checkpoint.
        checkpoint: What a user passes to `from_pretrained`: a repository or a folder.
        head: The published head: `"encoder"`, `"classifier"`, `"pretraining"` ...
        architecture: Class name of the published model.
        parameters: Number of parameters.
        config: Its configuration.
        contract: `extractor.describe()`.
        contract_hash: `extractor.contract_hash()`.
        golden: Name, leads, rate and source of the golden recording.
        hashes: SHA-256 of every file of the folder but the card.
        outputs: Golden outputs of the published class, which a head other than encoder and classifier must name.
        sections: `model.card_sections()`.
        results: Entries of `results.json`.
        run: `run.json` of the run that made the checkpoint: records, epochs, steps, hours, hardware, commit.
        label_scores: Rows of `labels.csv`.
        source: Address of the repository of the package, if one was given.
        takes_peaks: Whether the extractor cuts beats and is given their R peaks.
        corpora: Name, title, version, license, homepage and citation of the corpora in `run` and `results`, for
            templates that name none themselves.
    """

    name: str
    checkpoint: str
    head: str
    architecture: str
    parameters: int
    config: EcgConfig
    contract: str
    contract_hash: str
    golden: str
    hashes: Mapping[str, str]
    outputs: Sequence[str] = ()
    sections: Mapping[str, str] = field(default_factory=dict)
    results: Sequence[Mapping[str, Any]] = ()
    run: Mapping[str, Any] = field(default_factory=dict)
    label_scores: Sequence[Mapping[str, Any]] = ()
    source: str = ""
    takes_peaks: bool = False
    corpora: Sequence[Mapping[str, Any]] = ()

    @property
    def labels(self) -> list[tuple[str, str]]:
        """Codes and names of the outputs of a classifier, in order."""
        codes = [str(code) for code in (self.config.id2label or {}).values()] if self.head == "classifier" else []
        return list(zip(codes, self.config.label_names or codes, strict=False))

    @property
    def has_code(self) -> bool:
        """Whether the folder holds the code that opens it without this package."""
        return any(name.endswith(".py") for name in self.hashes)


def load_material(checkpoint: Path, card: str | Path | None, head: str, *, required: bool) -> Material:
    """Finds and reads what the card is rendered from.

    Args:
        checkpoint: The checkpoint. Its own folder is used if it holds `results.json`, else `../../hub_cards/<name>`.
        card: Another folder.
        head: The published head; only a classifier has scores per label.
        required: Whether `results.json` must exist.

    Raises:
        CheckpointError: If a file is damaged, or `results.json` is required and missing.
    """
    own = checkpoint.resolve()
    card_folder = own.parent.parent / "hub_cards" / own.name
    folder = own if (own / "results.json").is_file() or not card_folder.is_dir() else card_folder
    if card is not None:
        folder = Path(card)
        if not folder.is_dir():
            raise CheckpointError(f"card={str(card)!r} is not a folder; expected one with card.md and results.json.")
    results: list[dict[str, Any]] = []
    if (folder / "results.json").is_file():
        results = load_results(folder / "results.json")
    elif required:
        raise CheckpointError(
            f"{folder} has no results.json; a checkpoint is published with its scores. Write them with "
            "training/score.py --card NAME, or set require_results=False."
        )
    else:
        logger.warning_once(f"{folder.name} has no results.json: its card has no scores.")
    run = next((path for path in (checkpoint / "run.json", folder / "run.json") if path.is_file()), None)
    # Scores per label belong to those of results.json and are left out without them.
    tables = [path for path in (folder / "labels.csv", checkpoint / "labels.csv") if path.is_file()]
    scores = load_label_scores(tables[0]) if tables and results and head == "classifier" else []
    template = folder / TEMPLATE_FILE
    text = template.read_text(encoding="utf-8") if template.is_file() else None
    return Material(folder, text, results, read_json(run) if run else {}, scores)


def gather_facts(
    folder: Path, opened: Opened, material: Material, *, name: str, shown: str, source: str = ""
) -> CardFacts:
    """Collects the facts of a card.

    Args:
        folder: The folder that is being published, complete but for the card.
        opened: The checkpoint.
        material: Results and run.
        name: Name of the checkpoint.
        shown: Repository or folder that the card names.
        source: Address of the repository of the package.
    """
    run, config = material.run, opened.model.config
    corpus = run.get("corpus")
    # Several corpora of one pretraining are listed one by one.
    trained_on = [one["name"] for one in corpus.get("corpora", [corpus])] if isinstance(corpus, dict) else []
    corpora = dict.fromkeys(map(str, [*trained_on, *(entry["corpus"] for entry in material.results)]))
    return CardFacts(
        name=name,
        checkpoint=shown,
        head=opened.head,
        architecture=type(opened.model).__name__,
        parameters=sum(parameter.numel() for parameter in opened.model.parameters()),
        config=config,  # type: ignore[arg-type]  # every model of ours has an EcgConfig
        contract=opened.extractor.describe(),
        contract_hash=opened.extractor.contract_hash(),
        golden=describe_golden(folder),
        hashes={
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
            if path.name != CARD_FILE
        },
        outputs=opened.model.golden_outputs,
        sections=opened.model.card_sections(),
        results=material.results,
        run=run,
        label_scores=material.label_scores,
        source=source,
        takes_peaks=opened.extractor.contract.window_mode == "beats",
        corpora=[_corpus_facts(corpus) for corpus in corpora],
    )


def _corpus_facts(name: str) -> Mapping[str, Any]:
    if name == "synthetic":
        # Only a model that was trained on it asks for the generator.
        from ...corpora.sources.synthetic import synthetic_definition

        return synthetic_definition(10).facts()
    return corpus_definition(name).facts() if name in CORPORA else {"name": name}
