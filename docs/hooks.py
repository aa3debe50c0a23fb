"""MkDocs hooks: pages that other files of the repository hold, and links that leave `docs/`."""

import logging
import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter
from results_page import read_all_results, results_figures, results_page

from ecg_transformers.auto import ARCHITECTURES

ROOT = Path(__file__).resolve().parents[1]

# Page of the site <- file of the repository, where the file is not in docs/.
COPIES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md", "runs.md": "training/runs.md"}
# The section of the README that lists the architectures.
OVERVIEW = ("systems/index.md", "README.md", "Architectures and checkpoints", "Systems")

NOTEBOOKS = {f"examples/{path.stem}.md": f"examples/{path.name}" for path in sorted(ROOT.glob("examples/*.ipynb"))}
# Folders that a page of the site is about.
FOLDERS = {"hub_cards": "results.md", "docs/systems": "systems/index.md"}
# What a browser would fetch from another host when it opens a page.
_FETCHED = re.compile(
    r'<(?:script|img|iframe|source)\b[^>]*\bsrc="(?:https?:)?//[^"]*"|<link\b[^>]*\bhref="(?:https?:)?//[^"]*"'
)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files, and their pictures."""
    for page, path in _copied().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    for page, path in NOTEBOOKS.items():
        plots = page.removesuffix(".md")
        naming = {"unique_key": Path(plots).name, "output_files_dir": Path(plots).name}
        text, resources = MarkdownExporter().from_filename(str(ROOT / path), resources=naming)
        files.append(File.generated(config, page, content=text))
        for name, plot in resources["outputs"].items():
            files.append(File.generated(config, f"{dirname(page)}/{name}", content=plot))
    page, path, section, title = OVERVIEW
    files.append(File.generated(config, page, content=f"# {title}\n{_section(ROOT / path, section)}"))
    entries = read_all_results(ROOT / "hub_cards")
    files.append(File.generated(config, "results.md", content=results_page(entries)))
    for name, figure in results_figures(entries).items():
        files.append(File.generated(config, name, content=figure))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links of a page to pages of the site, or to the repository; add its classes to the page of a system."""
    own = page.file.src_uri
    origins = {**_copied(), **NOTEBOOKS, OVERVIEW[0]: OVERVIEW[1]}
    origin = origins.get(own, f"docs/{own}")
    in_site = {path: target for target, path in origins.items() if path != OVERVIEW[1]}
    in_site |= {f"docs/{file.src_uri}": file.src_uri for file in files} | FOLDERS

    def pointed(link: re.Match[str]) -> str:
        path = normpath(join(dirname(origin), link["path"]))
        if path in in_site:
            return relpath(in_site[path], dirname(own) or ".") + (link["anchor"] or "")
        if (ROOT / path).exists():
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"{config.extra['repository']}/{kind}/main/{path}{link['anchor'] or ''}"
        return link[0]  # reported by MkDocs

    model_type = own.removeprefix("systems/").removesuffix(".md")
    return _LINK.sub(pointed, markdown) + (_classes(model_type) if model_type in ARCHITECTURES else "")


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn of a page that would not work offline."""
    for fetched in _FETCHED.findall(output):
        logging.getLogger(f"mkdocs.hooks.{__name__}").warning("%s fetches %s", page.file.src_uri, fetched)
    return output


def _copied() -> dict[str, str]:
    """Path in the site of every copied page and picture, and path of its file in the repository."""
    copied = dict(COPIES)
    for path in sorted(ROOT.glob("hub/*/*")):
        if path.name == "README.md" or path.suffix == ".png":
            target = f"{path.parent.name}.md" if path.name == "README.md" else f"{path.parent.name}/{path.name}"
            copied[f"checkpoints/{target}"] = path.relative_to(ROOT).as_posix()
    return copied


def _section(path: Path, title: str) -> str:
    """The text below a heading of the second level."""
    return path.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _classes(model_type: str) -> str:
    """The classes of a family, documented from their docstrings."""
    row = ARCHITECTURES[model_type]
    named = [f"{row.module_name(kind)}.{row.class_name(kind)}" for kind in row.kinds]
    options = "    options:\n      heading_level: 3\n      show_root_full_path: false"
    return "\n\n## Classes\n\n" + "\n\n".join(f"::: {name}\n{options}" for name in named) + "\n"
