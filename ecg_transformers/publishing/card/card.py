"""The model card: a Markdown template whose placeholders are filled from the checkpoint and from `results.json`.

A template is a Markdown file with a YAML head and `{{placeholders}}`. Prose is written by hand, facts and figures
never are: the renderer puts in the contract of the extractor, the usage snippet, licenses, results and hashes. The keys
`corpora`, `code_license`, `weights_license`, `commercial_use`, `citation` and `published` (systems of the
literature to name beside the results) of the head are values for the renderer; the others become metadata of the card
(`license`, `tags`, `datasets`, `language` ...).

A section that stands on figures which were never made (a label-efficiency curve, noise, a table of labels, figures of
the literature) is left out, with what its author wrote around them.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, ModelCardData

from ...errors import CheckpointError
from .curves import label_efficiency_section, noise_section
from .facts import CardFacts
from .labels import label_table, threshold_notes
from .literature import literature_table
from .pictures import LABEL_EFFICIENCY, NOISE_ROBUSTNESS
from .results import checkpoint_entries, evaluation_results, results_table
from .training_facts import training_words
from .usage import usage_blocks

__all__ = ["check_card", "read_card", "render_card"]

DEFAULT_TEMPLATE = Path(__file__).with_name("template.md")
PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
REQUIRED_PLACEHOLDERS = frozenset(
    {"usage", "contract", "intended_use", "licenses", "training", "results", "files", "citation"}
)
# A section with one of these, and nothing to put there, is left out.
OPTIONAL_PLACEHOLDERS = frozenset({"label_efficiency", "noise", "label_table", "published"})
RENDERER_KEYS = ("corpora", "code_license", "weights_license", "commercial_use", "citation", "published")
REQUIRED_METADATA = ("license", "library_name", "pipeline_tag", "tags")


def render_card(facts: CardFacts, template: str | None = None) -> str:
    """Renders the card.

    Args:
        facts: What the checkpoint says about itself.
        template: Text of the template; the package's own by default.

    Returns:
        The whole `README.md`: metadata with `model-index`, then Markdown.

    Raises:
        CheckpointError: If the template has no YAML head, an unknown placeholder, or lacks one that every card has.
    """
    head, body = _split(DEFAULT_TEMPLATE.read_text(encoding="utf-8") if template is None else template)
    values = {key: head.pop(key) for key in RENDERER_KEYS if key in head}
    corpora = values.get("corpora") or facts.corpora
    parts = {
        "name": facts.name,
        "checkpoint": facts.checkpoint,
        "summary": _summary(facts),
        "usage": usage_blocks(facts),
        "contract": _contract(facts),
        "intended_use": facts.intended_use,
        "licenses": _licenses(facts, values, corpora),
        "training": training_words(facts.results, facts.run, facts.name, classifier=facts.kind == "classifier"),
        "results": _results(facts),
        "label_table": label_table(facts.label_figures, facts.labels, facts.results, facts.name),
        "label_efficiency": _with_picture(
            label_efficiency_section(facts.results, facts.name), LABEL_EFFICIENCY, "Label efficiency", facts
        ),
        "noise": _with_picture(noise_section(facts.results, facts.name), NOISE_ROBUSTNESS, "Noise robustness", facts),
        "published": literature_table(values.get("published") or (), checkpoint_entries(facts.results, facts.name)),
        "files": _files(facts),
        "citation": _citation(values, corpora),
    }
    used = set(PLACEHOLDER.findall(body))
    if used - set(parts):
        raise CheckpointError(
            f"The card template has unknown placeholders {', '.join(sorted(used - set(parts)))}; "
            f"known are {', '.join(sorted(parts))}."
        )
    if REQUIRED_PLACEHOLDERS - used:
        missing = ", ".join(f"{{{{{name}}}}}" for name in sorted(REQUIRED_PLACEHOLDERS - used))
        raise CheckpointError(f"The card template lacks {missing}; every card of this package has them.")
    text = PLACEHOLDER.sub(lambda match: parts[match.group(1)], _without_empty_sections(body, parts))
    return f"---\n{_metadata(facts, head, corpora).to_yaml()}\n---\n{text}"


def read_card(text: str) -> tuple[ModelCardData, str]:
    """Splits a card into its metadata and its Markdown.

    Raises:
        CheckpointError: If there is no YAML head or the metadata cannot be read.
    """
    head, body = _split(text)
    try:
        return ModelCardData(**head), body
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The metadata of the card cannot be read: {error}.") from error


def check_card(text: str, results: Sequence[Mapping] | None = None) -> None:
    """Checks that a card is complete and that its `model-index` is what the results say.

    Args:
        text: The card.
        results: Entries of `results.json`; without them the figures are not compared.

    Raises:
        CheckpointError: If metadata is missing, a placeholder was left, or a figure differs.
    """
    data, body = read_card(text)
    missing = [key for key in REQUIRED_METADATA if not data.get(key)]
    if missing:
        raise CheckpointError(f"The card lacks the metadata {', '.join(missing)}.")
    left = PLACEHOLDER.search(body)
    if left is not None:
        raise CheckpointError(f"The card still has the placeholder {left.group(0)}.")
    if results is not None:
        expected, found = (
            _figures(evaluation_results(results, data.model_name or "")),
            _figures(data.eval_results or []),
        )
        if expected != found:
            raise CheckpointError(
                f"The card's model-index has {len(found)} figures that are not the {len(expected)} of results.json; "
                "render the card again."
            )


def _figures(results: Sequence[EvalResult]) -> list[str]:
    return sorted(
        repr(
            (
                one.dataset_type,
                one.dataset_config,
                one.dataset_split,
                one.metric_type,
                one.metric_value,
                one.metric_args,
            )
        )
        for one in results
    )


def _split(text: str) -> tuple[dict, str]:
    match = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", text, flags=re.DOTALL)
    if match is None:
        raise CheckpointError("A card begins with a YAML head between two lines `---`; none was found.")
    try:
        head = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        raise CheckpointError(f"The YAML head of the card cannot be read: {error}.") from error
    if not isinstance(head, dict):
        raise CheckpointError("The YAML head of the card is not a table of names and values.")
    return head, text[match.end() :]


def _without_empty_sections(body: str, parts: Mapping[str, str]) -> str:
    """The template without the sections (from one `##` to the next) whose figures were never made."""
    sections = re.split(r"^(?=##+ )", body, flags=re.MULTILINE)
    return "".join(
        section
        for section in sections
        if all(parts[name] for name in PLACEHOLDER.findall(section) if name in OPTIONAL_PLACEHOLDERS)
    )


def _metadata(facts: CardFacts, head: dict, corpora: Sequence[Mapping]) -> ModelCardData:
    results = evaluation_results(facts.results, facts.name)
    head = {
        "license": facts.license,
        "datasets": [str(corpus["name"]) for corpus in corpora] or None,
        "metrics": list(dict.fromkeys(result.metric_type for result in results)) or None,
        "pipeline_tag": "audio-classification" if facts.kind == "classifier" else "feature-extraction",
        **head,
        "library_name": "transformers",
        "model_name": facts.name,
    }
    head["tags"] = list(dict.fromkeys(["ecg", *(head.get("tags") or [])]))
    return ModelCardData(**head, eval_results=results or None)


def _summary(facts: CardFacts) -> str:
    seconds = facts.window_size / facts.sampling_rate
    leads = f"{len(facts.lead_names)} lead{'s' if len(facts.lead_names) > 1 else ''}"
    text = (
        f"`{facts.architecture}` with {facts.parameters / 1e6:.2f} million parameters for recordings of {leads} "
        f"at {facts.sampling_rate:g} Hz, windows of {facts.window_size} samples ({seconds:g} s)."
    )
    if facts.kind == "classifier":
        return f"{text} It gives one logit for each of {len(facts.labels)} labels."
    return f"{text} It gives one embedding of {facts.embedding_size} numbers per window."


def _contract(facts: CardFacts) -> str:
    return "\n".join(
        [
            "The feature extractor does all of this; it is saved in `preprocessor_config.json` beside the weights.",
            "",
            "```text",
            facts.contract.strip(),
            "```",
            "",
            f"Hash of the contract: `{facts.contract_hash}`. Golden recording: {facts.golden}; "
            "`golden.safetensors` holds it with its `input_values` and its `pooler_output`, and "
            "`ecg-transformers inspect` compares.",
        ]
    )


def _licenses(facts: CardFacts, values: Mapping, corpora: Sequence[Mapping]) -> str:
    lines = [
        f"- Code: {values.get('code_license', 'Apache-2.0')}.",
        f"- Weights: {values.get('weights_license', facts.license)}.",
    ]
    for corpus in corpora:
        title = str(corpus.get("title") or corpus["name"])
        title = f"[{title}]({corpus['homepage']})" if corpus.get("homepage") else title
        version = f" {corpus['version']}" if corpus.get("version") else ""
        use = f" ({corpus['use']})" if corpus.get("use") else ""
        lines.append(f"- Recordings: {title}{version}, {corpus.get('license') or 'no license stated'}{use}.")
    if not corpora:
        lines.append("- Recordings: the publisher of this checkpoint names no corpus; ask before any commercial use.")
    if values.get("commercial_use"):
        lines.append(f"- Commercial use: {str(values['commercial_use']).strip()}")
    return "\n".join(lines)


def _results(facts: CardFacts) -> str:
    table = results_table(facts.results, facts.name)
    notes = threshold_notes(facts.results, facts.name) if facts.kind == "classifier" else ""
    return f"{table}\n\n{notes}" if notes else table


def _with_picture(section: str, file: str, title: str, facts: CardFacts) -> str:
    """A section with its picture, if that is in the folder."""
    shown = section and any(one.name == file for one in facts.files)
    return f"{section}\n\n![{title}: the figures of the table as a picture]({file})" if shown else section


def _files(facts: CardFacts) -> str:
    lines = ["| file | bytes | SHA-256 |", "| --- | --- | --- |"]
    lines += [f"| `{file.name}` | {file.size:,} | `{file.sha256}` |" for file in facts.files]
    return "\n".join(lines)


def _citation(values: Mapping, corpora: Sequence[Mapping]) -> str:
    texts = [str(values["citation"]).strip()] if values.get("citation") else []
    texts += [f"- {corpus.get('title') or corpus['name']}: {str(corpus['citation']).strip()}"
              for corpus in corpora if corpus.get("citation")]  # fmt: skip
    return "\n\n".join(texts) or "Name this checkpoint and the corpora above."
