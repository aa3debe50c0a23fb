"""The model card: a Markdown template whose placeholders are filled from the checkpoint and from `results.json`.

A template is a Markdown file with a YAML head and `{{placeholders}}`. Prose is written by hand, facts and scores are
not: the renderer inserts the contract of the extractor, the usage snippet, licenses, results and hashes. The keys
`corpora`, `code_license`, `weights_license`, `commercial_use`, `citation` and `published` (systems of the literature to
list with their scores) of the head are values for the renderer; the others become metadata of the card (`license`,
`tags`, `datasets`, `language` ...). Licenses and attributions are its `attribution`, which checkpoints trained from it
inherit. `datasets` holds ids of the Hub only: a corpus of another site is named in `corpora`.

A card answers, in this order: what it is, how to use it, what goes in, how good it is, what it must not be used for,
data and licenses. A section whose placeholder has nothing to show (label efficiency, noise, published scores, a section
of another model) is left out with its prose.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ...errors import CheckpointError
from .beats import added_value, alarms_text, as_used_text, beats_table, find_beat_entries
from .facts import CardFacts
from .head import DEFAULT_TEMPLATE, INHERITED_KEYS, split_head, unstated
from .labels import label_notes, threshold_limits, threshold_notes
from .literature import literature_list
from .pictures import LABEL_EFFICIENCY, NOISE_ROBUSTNESS
from .results import checkpoint_entries, evaluation_results
from .table import results_table
from .training_facts import training_text
from .usage import TASKS, summary, usage_blocks

__all__ = ["check_card", "read_card", "render_card"]

PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
REQUIRED_PLACEHOLDERS = (
    "usage", "contract", "results", "intended_use", "licenses", "training", "files", "citation",
)  # fmt: skip
# A section with one of these, and nothing to show, is left out.
OPTIONAL_PLACEHOLDERS = ("label_efficiency", "noise", "published", "alarms", "as_used")
RENDERER_KEYS = ("corpora", "code_license", "weights_license", "commercial_use", "citation", "published")
REQUIRED_METADATA = ("license", "library_name", "pipeline_tag", "tags")


def render_card(facts: CardFacts, template: str | None = None) -> str:
    """Renders the card.

    Args:
        facts: Of the checkpoint.
        template: Text of the template. Default: that of the package.

    Returns:
        The whole `README.md`: metadata with `model-index`, then Markdown.

    Raises:
        CheckpointError: If the template has no YAML head, an unknown placeholder, or lacks one that every card has.
    """
    head, body = split_head(DEFAULT_TEMPLATE.read_text(encoding="utf-8") if template is None else template)
    lacking = unstated(head)
    values = {key: head.pop(key) for key in RENDERER_KEYS if key in head}
    corpora = values["corpora"] = list(values.get("corpora") or facts.corpora)
    values["license"] = head.pop("license", None if lacking else facts.config.license)
    parts = {
        "name": facts.name,
        "checkpoint": facts.checkpoint,
        "summary": summary(facts),
        "usage": usage_blocks(facts),
        "contract": _contract(facts),
        "results": _results(facts),
        **_beats(facts),
        "label_efficiency": _picture(facts, LABEL_EFFICIENCY, "Score over the number of labeled recordings"),
        "noise": _picture(facts, NOISE_ROBUSTNESS, "Score over the level of added noise"),
        "published": literature_list(values.get("published") or (), checkpoint_entries(facts.results, facts.name)),
        "intended_use": facts.config.intended_use,
        "licenses": _licenses(values, corpora, lacking),
        "training": training_text(facts.results, facts.run, facts.name, classifier=facts.head == "classifier"),
        "files": _files(facts),
        "citation": _citation(values, corpora),
    } | dict(facts.sections)
    used = set(PLACEHOLDER.findall(body))
    for name in sorted(set(facts.sections) - used - {"summary", "usage"}):
        parts["results"] += f"\n\n### {name.replace('_', ' ').capitalize()}\n\n{facts.sections[name]}"
    if used - set(parts):
        raise CheckpointError(
            f"The card template has unknown placeholders {', '.join(sorted(used - set(parts)))}; "
            f"known are {', '.join(sorted(parts))}."
        )
    missing = [f"{{{{{name}}}}}" for name in REQUIRED_PLACEHOLDERS if name not in used]
    if missing:
        raise CheckpointError(f"The card template lacks {', '.join(missing)}; every card of this package has them.")
    text = PLACEHOLDER.sub(lambda match: parts[match.group(1)], _without_empty_sections(body, parts))
    # Nothing is licensed before the licenses of all recordings are known.
    head["license"] = "other" if lacking else values["license"]
    head["attribution"] = {key: values[key] for key in INHERITED_KEYS if values.get(key)}
    return f"---\n{_metadata(facts, head).to_yaml()}\n---\n{text}"


def read_card(text: str) -> tuple[ModelCardData, str]:
    """Splits a card into its metadata and its Markdown.

    Args:
        text: The card.

    Raises:
        CheckpointError: If there is no YAML head or the metadata cannot be read.
    """
    head, body = split_head(text)
    try:
        return ModelCardData(**head), body
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The metadata of the card cannot be read: {error}.") from error


def check_card(text: str, results: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Checks that a card is complete and that its `model-index` agrees with the results.

    Args:
        text: The card.
        results: Entries of `results.json`; without them the scores are not compared.

    Raises:
        CheckpointError: If metadata is missing, a placeholder was left, or a score differs.
    """
    data, body = read_card(text)
    missing = [key for key in REQUIRED_METADATA if not data.get(key)]
    if missing:
        raise CheckpointError(f"The card lacks the metadata {', '.join(missing)}.")
    left = PLACEHOLDER.search(body)
    if left is not None:
        raise CheckpointError(f"The card still has the placeholder {left.group(0)}.")
    if results is not None:
        expected = _scores(evaluation_results(results, data.model_name or ""))
        found = _scores(data.eval_results or [])
        if expected != found:
            raise CheckpointError(
                f"The card's model-index has {len(found)} scores that are not the {len(expected)} of results.json; "
                "render the card again."
            )


def _scores(results: Sequence[EvalResult]) -> list[str]:
    fields = ("dataset_type", "dataset_config", "dataset_split", "metric_type", "metric_value", "metric_args")
    return sorted(repr([getattr(one, field) for field in fields]) for one in results)


def _without_empty_sections(body: str, parts: Mapping[str, str]) -> str:
    """The template without the sections (from one heading to the next) that have nothing to show."""
    sections = re.split(r"^(?=##+ )", body, flags=re.MULTILINE)
    return "".join(
        section
        for section in sections
        if all(parts[name] for name in PLACEHOLDER.findall(section) if name in OPTIONAL_PLACEHOLDERS)
    )


def _metadata(facts: CardFacts, head: dict[str, Any]) -> ModelCardData:
    results = evaluation_results(facts.results, facts.name)
    head = {
        "metrics": list(dict.fromkeys(result.metric_type for result in results)) or None,
        "pipeline_tag": TASKS.get(facts.head, "other"),
        # The widgets of these tasks take sounds and texts.
        "inference": False,
        **head,
        "library_name": "transformers",
        "model_name": facts.name,
    }
    head["tags"] = list(dict.fromkeys(["ecg", *(head.get("tags") or [])]))
    return ModelCardData(**head, eval_results=results or None)


def _contract(facts: CardFacts) -> str:
    return (
        "The feature extractor applies these steps; they are saved in `preprocessor_config.json`.\n\n"
        f"```text\n{facts.contract.strip()}\n```"
    )


def _beats(facts: CardFacts) -> dict[str, str]:
    """Parts of the card of a detector of abnormal beats; empty for others."""
    found = find_beat_entries(facts.results, facts.name)
    parts = {"added_value": added_value, "alarms": alarms_text, "as_used": as_used_text}
    # The model itself has a section on its score and threshold.
    return {"score": "", **{name: part(found) if found else "" for name, part in parts.items()}}


def _results(facts: CardFacts) -> str:
    if found := find_beat_entries(facts.results, facts.name):
        return beats_table(found)
    parts = [results_table(facts.results, facts.name)]
    if facts.head == "classifier":
        parts.append(threshold_notes(facts.results, facts.name))
        parts.append(threshold_limits(facts.labels, facts.config.thresholds))
        parts.append(label_notes(facts.label_scores, facts.labels, facts.results, facts.name))
    return "\n\n".join(filter(None, parts))


def _picture(facts: CardFacts, file: str, title: str) -> str:
    return f"![{title}]({file})" if file in facts.hashes else ""


def _licenses(values: Mapping[str, Any], corpora: Sequence[Mapping[str, Any]], lacking: Sequence[str]) -> str:
    weights = values.get("weights_license") or values["license"] or "no license stated"
    open_points = f" **Not stated by the publisher yet: {', '.join(lacking)}.**" if lacking else ""
    lines = [f"- Code: {values.get('code_license', 'Apache-2.0')}.", f"- Weights: {weights}.{open_points}"]
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


def _files(facts: CardFacts) -> str:
    """Golden recording and hashes: of weights, configs and golden file, not of code and pictures."""
    shown = {name: value for name, value in facts.hashes.items() if name.endswith((".safetensors", ".json"))}
    lines = [
        f"Golden recording: {facts.golden}. `golden.safetensors` holds it with its `input_values` and the outputs of "
        f"the model; `ecg-transformers inspect` compares. Hash of the input contract: `{facts.contract_hash}`.",
        "",
        "<details>\n<summary>SHA-256</summary>\n",
        *(f"- `{name}`: `{value}`" for name, value in shown.items()),
        "\n</details>",
    ]
    return "\n".join(lines)


def _citation(values: Mapping[str, Any], corpora: Sequence[Mapping[str, Any]]) -> str:
    texts = [str(values["citation"]).strip()] if values.get("citation") else []
    for corpus in corpora:
        if corpus.get("citation"):
            texts.append(f"- {corpus.get('title') or corpus['name']}: {str(corpus['citation']).strip()}")
    return "\n\n".join(texts) or "Name this checkpoint and the corpora above."
