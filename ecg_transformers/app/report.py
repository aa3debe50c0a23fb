"""Results as HTML and as files: figures with alternative texts, tables, downloads inside the page."""

import base64
import csv
import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..signals.record import EcgRecord
from .analysis import Analysis
from .index import EmbeddingIndex, Neighbor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DRAWING",
    "downloads",
    "facts",
    "findings_table",
    "for_visitors",
    "notice",
    "overview",
    "paper",
    "neighbors_list",
]

# matplotlib draws in one thread at a time.
DRAWING = Lock()
_MM_PER_INCH = 25.4
_SHOWN_FINDINGS = 10
# What messages of the package say to programmers only, and what the page says instead.
_FOR_PROGRAMMERS = {
    re.compile(r",? or add a reader with register_reader"): "",
    re.compile(r" \(override: gain=\)"): "",
    re.compile(r", in files by missing_value=\S+"): "",
    re.compile(r" \(nan_policy= sets how those are handled\)"): "",
    re.compile(r" with max_gap_seconds=, or nan_policy='mask_lead'"): "",
    re.compile(r"Pass the unit with the signal, or "): "Set ",
    re.compile(r"; record\.select\(\[\.\.\.\]\) orders leads, treat_as=\{[^}]*\} renames them"): "",
    re.compile(r" To choose leads, read all and use record\.select\(\[\.\.\.\]\)\."): "",
}


def paper(figure: "Figure", alternative: str) -> str:
    """A figure in its size in millimeters, in a region that scrolls; the alternative text names the region too.

    Args:
        figure: The figure.
        alternative: Description of what it shows.
    """
    width, height = figure.get_size_inches() * _MM_PER_INCH
    text = escape(alternative, quote=True)
    return (
        f'<div class="ecg-paper" role="region" tabindex="0" aria-label="{text}">'
        f'<img alt="{text}" src="{_data(_drawn(figure, "svg"), "image/svg+xml")}" '
        f'style="width:{width:.1f}mm;height:{height:.1f}mm"></div>'
    )


def _drawn(figure: "Figure", kind: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else {"CreationDate": None})
    return file.getvalue()


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def notice(message: str, *, error: bool = False) -> str:
    """A message, which screen readers announce.

    Args:
        message: The text.
        error: Whether it is one.
    """
    role = "alert" if error else "status"
    return f'<p class="ecg-notice{" ecg-error" if error else ""}" role="{role}">{escape(message)}</p>'


def for_visitors(text: str) -> str:
    """A message or note of the package without what only a program can do.

    Args:
        text: The message or note.

    Example:
        >>> for_visitors("the gain may be wrong (override: gain=)")
        'the gain may be wrong'
    """
    for pattern, instead in _FOR_PROGRAMMERS.items():
        text = pattern.sub(instead, text)
    return text


def facts(record: EcgRecord, assumed: Sequence[str] = ()) -> str:
    """What the file says about a recording, and the notes of its reader.

    Args:
        record: The recording.
        assumed: Names by which the checkpoint took leads without names.
    """
    unnamed = "without names" + (f"; the checkpoint took them in the order {', '.join(assumed)}" if assumed else "")
    patient = ", ".join(
        str(value) for value in (None if record.age is None else f"{record.age:g} years", record.sex) if value
    )
    rows = {
        "Recording": record.name or "without a name",
        "Leads": f"{record.num_leads}: {', '.join(record.leads)}" if record.leads else f"{record.num_leads}, {unnamed}",
        "Sampling rate": f"{record.sampling_rate:g} Hz",
        "Length": f"{record.duration:g} s",
        "Patient": patient,
        "Labels in the file": ", ".join(map(str, record.labels)),
    }
    lines = [f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows.items() if value]
    lines += [f"<dt>Note</dt><dd>{escape(for_visitors(note))}</dd>" for note in record.notes]
    return f'<dl class="ecg-facts">{"".join(lines)}</dl>'


def findings_table(analysis: Analysis, checkpoint: str) -> str:
    """The labels with scores and thresholds: those that are positive and the most probable, the others folded in.

    Above them stands why they do not hold, if they do not.

    Args:
        analysis: The results.
        checkpoint: Name of the checkpoint.
    """
    findings, alerts = analysis.findings, "".join(notice(one, error=True) for one in analysis.warnings)
    if not findings:
        return alerts + notice(f"{checkpoint} is an encoder: it embeds recordings and makes no statements.")
    shown = [one for number, one in enumerate(findings) if one["positive"] or number < _SHOWN_FINDINGS]
    rest = [one for one in findings if one not in shown]
    positive = sum(one["positive"] is True for one in findings)
    caption = f"{positive} of {len(findings)} statements are positive: score at or above the threshold of the statement"
    if analysis.warnings:
        caption += ". Mind the warning above: they may be meaningless for this recording"
    text = alerts + _table(shown, caption)
    if rest:
        text += f"<details><summary>{len(rest)} more statements</summary>{_table(rest, 'Further statements')}</details>"
    return text


def _table(findings: Iterable[dict[str, Any]], caption: str) -> str:
    rows = []
    for one in findings:
        limit = one["threshold"]
        mark = "" if limit is None else f'<i style="left:{100 * limit:.1f}%"></i>'
        decision = {True: "positive", False: "", None: "no threshold"}[one["positive"]]
        width = 100 * min(max(one["score"], 0.0), 1.0)
        rows.append(
            f'<tr{" class=ecg-positive" if one["positive"] else ""}><th scope="row">{_breakable(one["label"])}</th>'
            f'<td>{_breakable(one["name"])}</td><td class="ecg-number">{one["score"]:.3f}</td>'
            f'<td class="ecg-bar" aria-hidden="true"><div><b style="width:{width:.1f}%"></b>{mark}</div></td>'
            f'<td class="ecg-number">{"–" if limit is None else f"{limit:.3f}"}</td><td>{decision}</td></tr>'
        )
    heads = ("Code", "Statement", "Score", "", "Threshold", "Decision")
    columns = "".join(
        f'<th scope="col">{head}</th>' if head else '<td class="ecg-bar" aria-hidden="true"></td>' for head in heads
    )
    return (
        f'<div class="ecg-scroll"><table class="ecg-table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _breakable(text: str) -> str:
    """A text that may go on in the next line after a slash, on narrow screens."""
    return escape(text).replace("/", "/<wbr>")


def neighbors_list(neighbors: Sequence[Neighbor], index: EmbeddingIndex) -> str:
    """The nearest recordings of an index, each with a stretch of one lead.

    Args:
        neighbors: The nearest first.
        index: The index.
    """
    items = [
        f"<li><div><strong>{escape(one.name)}</strong> <span>similarity {one.similarity:.2f}</span><br>"
        f"{escape(', '.join(one.labels) or 'no labels')}</div>{_thumbnail(one)}</li>"
        for one in neighbors
    ]
    source = f" Source: {escape(index.source)}." if index.source else ""
    return (
        f'<p class="ecg-small">Nearest of {len(index.names)} recordings, by cosine similarity of embeddings.{source}'
        f'</p><ol class="ecg-neighbors">{"".join(items)}</ol>'
    )


def _thumbnail(neighbor: Neighbor) -> str:
    """A lead as SVG, one pixel per sample, 30 pixels per mV; clipped at 1.5 mV around the median."""
    values = np.clip(neighbor.trace - np.median(neighbor.trace), -1.0, 2.0)
    points = " ".join(f"{x},{62 - 30 * y:.1f}" for x, y in enumerate(values))
    name = f"{len(values) / 100:g} s of lead {neighbor.lead} of {neighbor.name}"
    return (
        f'<svg class="ecg-thumbnail" role="img" aria-label="{escape(name, quote=True)}" '
        f'viewBox="0 0 {max(len(values), 1)} 94" preserveAspectRatio="none"><polyline points="{points}"/></svg>'
    )


def overview(record: EcgRecord, start: float, stop: float) -> str:
    """A long recording at a glance: the range of one lead in each of 600 stretches, and the shown part.

    Args:
        record: The recording.
        start: First second that is shown on the paper.
        stop: Last second.
    """
    row = record.leads.index("II") if record.leads and "II" in record.leads else 0
    signal = np.nan_to_num(record.signal[row])
    edges = np.linspace(0, len(signal), min(600, len(signal)) + 1).astype(int)[:-1]
    low, high = np.minimum.reduceat(signal, edges), np.maximum.reduceat(signal, edges)
    middle, span = np.median(signal), max(float(np.percentile(high - low, 95)), 0.5)
    scale = 600 / len(edges)
    up, down = (np.clip(30 - 25 * (values - middle) / span, 0, 60) for values in (high, low))
    lines = "".join(
        f"M{scale * (x + 0.5):.1f},{top:.1f}V{bottom + 0.5:.1f}"
        for x, (top, bottom) in enumerate(zip(up, down, strict=True))
    )
    left, width = 600 * start / record.duration, 600 * (stop - start) / record.duration
    name = f"Overview of {record.duration:g} s; the paper below shows {start:g} to {stop:g} s"
    return (
        f'<svg class="ecg-overview" role="img" aria-label="{name}" viewBox="0 0 600 60" preserveAspectRatio="none">'
        f'<rect x="{left:.1f}" y="0" width="{max(width, 2):.1f}" height="60"/><path d="{lines}"/></svg>'
    )


def downloads(analysis: Analysis, figure: "Figure", name: str) -> str:
    """Links to the results as files, whose content is inside the page: the server keeps none.

    Args:
        analysis: The results.
        figure: The picture.
        name: Name of the recording, the first part of the file names.
    """
    stem = "".join(char if char.isalnum() or char in "-_" else "_" for char in name) or "recording"
    files = {
        f"{stem}_embedding.csv": ("text/csv", _csv([("dimension", "value"), *enumerate(analysis.embedding.tolist())])),
        f"{stem}.svg": ("image/svg+xml", _drawn(figure, "svg")),
        f"{stem}.pdf": ("application/pdf", _drawn(figure, "pdf")),
    }
    if analysis.findings:
        heads, warning = ("label", "name", "score", "threshold", "positive"), " ".join(analysis.warnings)
        rows = [[*(one[head] for head in heads), warning] for one in analysis.findings]
        files[f"{stem}_scores.csv"] = ("text/csv", _csv([(*heads, "warning"), *rows]))
    links = [
        f'<li><a download="{file}" href="{_data(content, kind)}">{file}</a> ({len(content) / 1000:,.0f} kB)</li>'
        for file, (kind, content) in sorted(files.items())
    ]
    return f'<ul class="ecg-downloads">{"".join(links)}</ul>'


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
