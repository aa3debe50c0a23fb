"""The YAML head of a card: reading it, what a trained checkpoint inherits from its base, what its author must state.

A rendered card keeps licenses and attributions of its template in its metadata, so that a checkpoint that is trained
from this one inherits them.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from transformers.utils import cached_file

from ...corpora import CORPORA, corpus_definition
from ...errors import CheckpointError
from ..folder import CARD_FILE, TEMPLATE_FILE

if TYPE_CHECKING:
    from ...conversion import Source

__all__ = ["DEFAULT_TEMPLATE", "INHERITED_KEYS", "converted_template", "derived_template", "split_head", "unstated"]

DEFAULT_TEMPLATE = Path(__file__).with_name("template.md")
# Keys of a template that stay in the metadata of its card, as `attribution`.
INHERITED_KEYS = ("corpora", "weights_license", "citation")
# Facts of a corpus that a card gives.
_CORPUS_KEYS = ("name", "title", "version", "license", "homepage", "use", "citation")
_REQUEST = (
    "# Before this checkpoint is pushed, fill in what is empty: title and license of recordings, the license of the\n"
    "# weights. base_model: id on the Hub.\n"
)


def split_head(text: str) -> tuple[dict[str, Any], str]:
    """Splits a card or a template into its YAML head and its Markdown.

    Args:
        text: The card.

    Raises:
        CheckpointError: If there is no YAML head, or it cannot be read.
    """
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


def unstated(head: Mapping[str, Any]) -> list[str]:
    """What the author of a card has left empty, by its place in the head: licenses, titles of corpora.

    Args:
        head: Of the template.
    """
    found = ["license"] if "license" in head and not head["license"] else []
    for number, corpus in enumerate(head.get("corpora") or ()):
        missing = [key for key in ("title", "license") if key in corpus and not corpus[key]]
        found += [f"corpora[{number}].{key} (of {corpus.get('name')})" for key in missing]
    return found


def derived_template(base: str | Path | None, corpus: Mapping[str, Any], *, use: str) -> str:
    """The card template of a checkpoint that was trained on a corpus, from another checkpoint or from new weights.

    License, attributions and citation of the base are inherited. What nobody but the author knows, such as the license
    of recordings of their own, is left empty.

    Args:
        base: Folder or Hub name of the checkpoint that it was trained from.
        corpus: `corpus.json` of the corpus.
        use: What the corpus was used for.
    """
    inherited = {} if base is None else _head_of(base)
    name = "" if base is None else str(inherited.get("model_name") or Path(base).name)
    corpora = [] if base is None else _corpora_of(base, name, inherited)
    own = _corpus_entry(corpus) | {"use": use}
    if not own["license"]:
        # The name of a folder means nothing to others.
        own |= dict.fromkeys(("title", "license", "homepage", "citation"))
    same = next((one for one in corpora if (one["name"], one["version"]) == (own["name"], own["version"])), None)
    if same is None:
        corpora.append(own)
    else:
        same["use"] = f"{same['use']}; {use}"
    head = {
        "license": inherited.get("license"),
        **({} if base is None else {"base_model": name if Path(base).is_dir() else str(base)}),
        "tags": list(dict.fromkeys(["ecg", "electrocardiography", *(inherited.get("tags") or ())])),
        **{key: inherited[key] for key in INHERITED_KEYS if inherited.get(key)},
        "corpora": corpora,
    }
    default, body = split_head(DEFAULT_TEMPLATE.read_text(encoding="utf-8"))
    head = {"code_license": default["code_license"], "commercial_use": default["commercial_use"], **head}
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=118)
    return f"---\n{_REQUEST if unstated(head) else ''}{text}---\n{body}"


def converted_template(source: "Source", file: Path, *, command: str, notes: Sequence[str]) -> str:
    """The card template of a checkpoint that was converted from another project's file.

    What the file was trained on is not in it: title and license of the recordings are left empty.

    Args:
        source: The project.
        file: The converted file, of which name and SHA-256 are stated.
        command: The command that converts it.
        notes: What was assumed or left out, in sentences.
    """
    with open(file, "rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    corpora = [_corpus_entry({"name": f"training data of {file.name}"}) | {"use": "training, by its authors"}]
    default, body = split_head(DEFAULT_TEMPLATE.read_text(encoding="utf-8"))
    head = {
        **{key: default[key] for key in ("code_license", "commercial_use")},
        "license": source.license,
        "tags": ["ecg", "electrocardiography", *source.tags],
        "weights_license": source.weights_license,
        "citation": source.citation,
        "corpora": corpora,
    }
    listed = "".join(f"- {note[:1].upper()}{note[1:]}.\n" for note in notes)
    origin = (
        f"## Origin\n\nConverted from `{file.name}` (SHA-256 `{digest}`) of {source.project}, {source.homepage}, by\n\n"
        f"```sh\n{command}\n```\n\n{source.limits}\n\n{listed}\n"
    )
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=118)
    return f"---\n{_REQUEST}{text}---\n{body.replace('## Use', f'{origin}## Use', 1)}"


def _head_of(base: str | Path) -> dict[str, Any]:
    """The YAML head of the card of a checkpoint, or of the template that its run left; empty without either."""
    for file in (CARD_FILE, TEMPLATE_FILE):
        try:
            path = cached_file(str(base), file)
        except OSError:
            continue
        head, _ = split_head(Path(str(path)).read_text(encoding="utf-8"))
        return {**head, **head.pop("attribution", {})}
    return {}


def _corpora_of(base: str | Path, name: str, head: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The corpora that a base was trained on: those of its card, else of its run; one to be named where none is."""
    found = list(head.get("corpora") or ())
    run = Path(base) / "run.json"
    if not found and run.is_file():
        corpus = json.loads(run.read_text(encoding="utf-8")).get("corpus") or {}
        found = corpus.get("corpora", [corpus]) if corpus else []
        found = [corpus_definition(one["name"]).facts() if one["name"] in CORPORA else one for one in found]
    found = found or [{"name": f"training data of {name}"}]
    entries = [_corpus_entry(one) for one in found]
    return [one | {"use": f"{name}: {one['use'] or 'training'}"} for one in entries]


def _corpus_entry(corpus: Mapping[str, Any]) -> dict[str, Any]:
    return {key: corpus.get(key) or None for key in _CORPUS_KEYS}
