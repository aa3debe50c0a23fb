"""The page of the app: its layout and its events, in Gradio."""

import os
import re
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from threading import Lock
from typing import Any

from ..errors import ArgumentsError, CheckpointError, EcgError, SignalError, without_advice
from ..pipelines.occlusion import Occlusion
from ..signals.assembly import UNIT_NOT_STATED
from ..signals.record import EcgRecord
from .analysis import Analysis, Checkpoint
from .index import EmbeddingIndex, read_index
from .report import DRAWING, downloads, facts, findings_table, for_visitors, neighbors_list, notice, overview, paper
from .upload import Limits, read_upload

__all__ = ["ASSETS", "DEFAULT_MODELS", "build_page", "launch"]

ASSETS = Path(__file__).parent / "assets"
DEFAULT_MODELS = ("xresnet1d50-ecg", "mae-moco-ecg")
EXAMPLES = {
    "Normal": "00001_lr",
    "Atrial fibrillation": "00152_lr",
    "Left bundle branch block": "00338_lr",
}
# Seconds on the paper and its speed in mm/s: the page keeps its width.
SCALES = {
    "5 s at 50 mm/s": (5.0, 50.0),
    "10 s at 25 mm/s": (10.0, 25.0),
    "20 s at 12.5 mm/s": (20.0, 12.5),
    "60 s at 5 mm/s": (60.0, 5.0),
}
LAYOUTS = {"3 x 4 and lead II": "3x4+II", "one row per lead": "stacked"}
RULES: dict[str, dict[str, Any]] = {
    "Absent leads: zeros, marked as absent": {"missing_leads": "mask"},
    "Compute III, aVR, aVL, aVF from I and II": {"derive_leads": True},
    "Missing samples: interpolate short gaps": {"nan_policy": "interpolate"},
    "Unusual amplitudes: take them as they are": {"implausible_amplitude": "accept"},
}
_ASKING = re.compile(r"\b(sampling_rate|units|leads|gain)=")
# How a message says that a lead may be one that the checkpoint needs; the page asks for the names instead.
_FOREIGN_LEAD = re.compile(r" treat_as=\{[^}]*\} takes [^;.]*(?:;|\.)")
_RULE_ARGUMENTS = {name for rule in RULES.values() for name in rule}
# The rules as messages name them: the page calls them by their boxes.
_RULE_TEXTS = {
    f"{name}={value!r}": f"the rule “{label}”" for label, rule in RULES.items() for name, value in rule.items()
}
_RULE_NAMES = re.compile(rf"\b({'|'.join(sorted(_RULE_ARGUMENTS))})\b")
_NOTICE = (
    "Research only: not a medical device, not for diagnosis. An upload is deleted as soon as it is read; the recording "
    "is kept in memory while this page is open, and nowhere else."
)
_ATTENTION = (
    "<h2>Attention</h2><p class='ecg-small'>How much the last layer takes from each part for its summary of the window "
    "([CLS]): the darker, the more. On the paper the mean of the attention heads, below it each head.</p>"
)
_RECONSTRUCTION = (
    "<h2>Reconstruction of hidden patches</h2><p class='ecg-small'>The shaded parts were hidden from the model; the "
    "blue line is what it fills in from the rest.</p>"
)
_CSS = Path(__file__).with_name("page.css")
_QUEUE = 16
_STATE_SECONDS = 900


@dataclass
class Session:
    """What one visitor has opened.

    Args:
        files: Content of the upload by name, kept only if the file needs more information.
        asked: What was asked of the visitor about these files; no other answer counts.
        record: The recording.
        policies: Rules for unusual recordings.
        analysis: Results of the checkpoint that is shown.
        occlusions: Effects by checkpoint and start of the explained part.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    record: EcgRecord | None = None
    policies: dict[str, Any] = field(default_factory=dict)
    analysis: Analysis | None = None
    occlusions: dict[tuple[str, float], Occlusion | None] = field(default_factory=dict)


class _Models:
    """The checkpoints, opened when they are first asked for."""

    def __init__(self, names: Sequence[str], indexes: Sequence[EmbeddingIndex]) -> None:
        short = [Path(name).name for name in names]
        # The last part of a name, where it is unique.
        self.names = {one if short.count(one) == 1 else name: name for one, name in zip(short, names, strict=True)}
        self._indexes, self._opened, self._lock = indexes, {}, Lock()  # type: ignore[var-annotated]

    def open(self, title: str) -> Checkpoint:
        """The checkpoint of a title."""
        with self._lock:
            if title not in self._opened:
                self._opened[title] = Checkpoint(self.names[title], self._indexes)
            return self._opened[title]


def _load_gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise ImportError("The app needs gradio. Install it: pip install 'ecg_transformers[app]'") from error
    return gradio


def within(seconds: float, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The result of a function, or an error after the time limit.

    The function goes on in its thread; size and length of a recording bound for how long.

    Raises:
        SignalError: The limit is exceeded.
    """
    worker = ThreadPoolExecutor(1)
    try:
        return worker.submit(function, *arguments, **options).result(timeout=seconds)
    except FutureTimeout:
        raise SignalError(f"the analysis took longer than {seconds:g} s; expected a shorter recording.") from None
    finally:
        worker.shutdown(wait=False)


def _paths(files: Any) -> list[str]:
    """The paths of uploaded files; Gradio's own function leaves an empty file behind for each."""
    return [file.path for file in files.root] if files else []


def _take(paths: Sequence[str | Path]) -> dict[str, bytes]:
    """The content of uploaded files, which are deleted with their folders."""
    files = {}
    for path in map(Path, paths):
        files[path.name] = path.read_bytes()
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    return files


class _Page:
    """Components and events of the page.

    Args:
        gradio: The library.
        models: The checkpoints.
        limits: What is taken.
    """

    def __init__(self, gradio: Any, models: _Models, limits: Limits) -> None:
        self.gr, self.models, self.limits = gradio, models, limits

    def build(self) -> Any:
        """The page as Gradio's Blocks."""
        gr = self.gr
        with gr.Blocks(title="ECG analysis", analytics_enabled=False, delete_cache=(60, 600)) as blocks:
            self.session = gr.State(None, time_to_live=_STATE_SECONDS)
            gr.HTML(f'<header><h1>ECG analysis</h1><p class="ecg-research">{_NOTICE}</p></header>')
            self._add_input()
            self.status = gr.HTML(notice("No recording yet: choose a file or an example."))
            self._add_asking()
            with gr.Column(visible=False) as self.results:
                self._add_results()
            self._connect()
        return blocks

    def _add_input(self) -> None:
        gr = self.gr
        names = list(self.models.names)
        with gr.Row(equal_height=True, elem_classes="ecg-input"):
            self.upload = gr.File(
                label="Recording: one file, a WFDB pair (.hea and .dat), or a zip archive of it",
                file_count="multiple",
                elem_id="upload",
            )
            self.upload.preprocess = _paths
            with gr.Column(min_width=260):
                gr.HTML('<h2 class="ecg-side">or an example of PTB-XL (CC BY 4.0)</h2>')
                self.examples = {gr.Button(title, size="md"): name for title, name in EXAMPLES.items()}
                self.model = gr.Radio(names, value=names[0], label="Checkpoint", visible=len(names) > 1)
        gr.HTML(
            '<p class="ecg-small">WFDB, CSV, NPY, HDF5, MATLAB, EDF, DICOM, SCP-ECG, HL7 aECG, MUSE and others. Up to '
            f"{self.limits.megabytes:g} MB, {self.limits.minutes:g} minutes of recording, {self.limits.seconds:g} s of "
            "computation.</p>"
        )

    def _add_asking(self) -> None:
        gr = self.gr
        with gr.Column(visible=False, elem_id="asking") as self.asking:
            gr.HTML('<h2 class="ecg-side">What the file does not say</h2>')
            with gr.Row():
                self.asked = {
                    "sampling_rate": gr.Number(None, label="Sampling rate (Hz)", minimum=0, visible=False),
                    "units": gr.Dropdown(["mV", "uV", "V"], value=None, label="Unit of the values", visible=False),
                    "gain": gr.Number(None, label="Values per unit (per mV without one)", minimum=0, visible=False),
                    "leads": gr.Textbox("", label="Leads in their order, as I,II,V1", visible=False),
                }
            self.rules = gr.CheckboxGroup(list(RULES), label="Rules for this recording", visible=False)
            self.again = gr.Button("Read again", variant="primary")

    def _add_results(self) -> None:
        gr = self.gr
        self.facts = gr.HTML()
        gr.HTML("<h2>Recording</h2>")
        with gr.Row():
            self.scale = gr.Radio(list(SCALES), value="10 s at 25 mm/s", label="Shown")
            self.layout = gr.Radio(list(LAYOUTS), value="3 x 4 and lead II", label="Leads")
        self.start = gr.Slider(0, 1, value=0, step=1, label="From second", visible=False)
        self.paper = gr.HTML()
        with gr.Column(visible=False) as self.scored:
            self._add_scores()

    def _add_scores(self) -> None:
        gr = self.gr
        gr.HTML("<h2>Statements</h2>")
        self.findings = gr.HTML()
        with gr.Column(visible=False) as self.looked:
            gr.HTML(
                "<h2>Where the model looked</h2><p class='ecg-small'>Each lead is hidden for half a second at a time: "
                "hiding orange parts lowers the score, hiding blue parts raises it. This says what the model used, not "
                "whether it is right.</p>"
            )
            self.statement = gr.Dropdown([], label="Statement")
        self.explained = gr.HTML()
        gr.HTML("<h2>Similar recordings</h2>")
        self.neighbors = gr.HTML()
        with gr.Accordion("How the recording was prepared", open=False):
            self.contract = gr.HTML()
        with gr.Accordion("Download embedding, scores and picture", open=False):
            self.make = gr.Button("Make the files")
            self.files = gr.HTML()

    def _connect(self) -> None:
        """Events: a new recording or checkpoint is read and scored, then explained; a change of view is drawn."""
        quick = {"show_progress": "minimal", "concurrency_limit": 2, "concurrency_id": "analysis"}
        view = [self.session, self.model, self.scale, self.layout, self.start]
        asked = [*self.asked.values(), self.rules]
        shown = [
            self.upload, self.session, self.status, self.asking, *asked, self.results, self.facts, self.start,
            self.paper, self.scored, self.findings, self.looked, self.statement, self.explained, self.neighbors,
            self.contract, self.files,
        ]  # fmt: skip
        explain = {"fn": self.explain, "inputs": [*view, self.statement], "outputs": self.explained, **quick}
        starts = [
            self.upload.upload(self.read_files, [self.upload, *view], shown, api_name="read", **quick),
            self.again.click(self.read_again, [*view, *asked], shown, api_name=False, **quick),
            self.model.input(self.change_model, view, shown, api_name=False, **quick),
        ]
        for button, name in self.examples.items():
            starts.append(button.click(self._example(name), view, shown, api_name=False, **quick))
        for event in starts:
            event.then(**explain, api_name=False)
        # Of changes in quick succession, as the steps of a move, the last one counts.
        last = {**quick, "trigger_mode": "always_last", "api_name": False}
        for component in (self.scale, self.layout):
            component.input(self.draw, view, self.paper, **last)
        # Not `release`, which only a pointer causes.
        moved = self.start.input(self.draw, view, self.paper, **last)
        moved.then(**explain, api_name=False)
        self.statement.input(**{**explain, **last})
        self.make.click(self.make_files, view, self.files, api_name=False, **quick)

    def _example(self, name: str) -> Callable[..., dict[Any, Any]]:
        def read(*view: Any) -> dict[Any, Any]:
            files = {f"{name}{suffix}": (ASSETS / f"{name}{suffix}").read_bytes() for suffix in (".hea", ".dat")}
            return self._open(Session(files=files), view, {})

        return read

    def read_files(self, paths: list[str] | None, *view: Any) -> dict[Any, Any]:
        """Read an upload."""
        return self._open(Session(files=_take(paths or [])), view, {})

    def read_again(self, *values: Any) -> dict[Any, Any]:
        """Read the same files with what they do not say."""
        view, answers, chosen = values[:5], values[5:-1], values[-1]
        session = view[0] or Session()
        answered = {name: value for name, value in zip(self.asked, answers, strict=True) if value not in (None, "", 0)}
        given = {name: value for name, value in answered.items() if name in session.asked}
        if "leads" in given:
            given["leads"] = [name.strip() for name in given["leads"].split(",")]
        policies = {name: value for rule in chosen or () for name, value in RULES[rule].items()}
        if session.files:
            return self._open(Session(files=session.files, asked=session.asked, policies=policies), view, given)
        if session.record is None:
            return {self.status: notice("The recording is not there anymore; choose it again.", error=True)}
        return self._score(Session(record=session.record, policies=policies), view)

    def change_model(self, *view: Any) -> dict[Any, Any]:
        """Score the open recording by another checkpoint."""
        session = view[0]
        if session is None or session.record is None:
            return {self.session: session}
        return self._score(replace(session, analysis=None, occlusions={}), view)

    def _open(self, session: Session, view: Sequence[Any], given: dict[str, Any]) -> dict[Any, Any]:
        try:
            session.record = within(self.limits.seconds, read_upload, session.files, limits=self.limits, **given)
        except (EcgError, ImportError) as error:
            asking = self._ask(session, str(error))
            return {**self._cleared(session, _told(error)), **asking}
        return self._score(session, view)

    def _score(self, session: Session, view: Sequence[Any]) -> dict[Any, Any]:
        """Everything that is shown of a recording but the explanations, which come after it."""
        gr, record = self.gr, session.record
        assert record is not None
        seconds = SCALES[view[2]][0]
        long = record.duration > seconds
        updates = {**self._cleared(session, f"{record.name or 'The recording'} was read."), self.facts: facts(record)}
        updates[self.results] = gr.Column(visible=True)
        updates[self.start] = gr.Slider(0, max(1, int(record.duration) - 1), value=0, step=1, visible=long)
        updates[self.paper] = self._drawn(record, view[2], view[3], 0.0)
        try:
            checkpoint = self.models.open(view[1])
            session.analysis = within(self.limits.seconds, checkpoint.analyze, record, **session.policies)
        except EcgError as error:
            asking, told = self._ask(session, str(error)), _told(error)
            if _FOREIGN_LEAD.search(str(error)) and "leads" in session.asked:
                told = f"{told} If the file has some of them under other names, state the names of its leads below."
            return {**updates, self.status: notice(told, error=True), **asking}
        if record.leads is None:
            updates[self.facts] = facts(record, checkpoint.extractor.lead_names)
        updates |= {**self._ask(session, ""), self.scored: gr.Column(visible=True)}
        findings = session.analysis.findings
        updates[self.findings] = findings_table(session.analysis, checkpoint.title)
        choices = [(f"{one['label']}  {one['score']:.2f}  {one['name']}", one["label"]) for one in findings]
        first = next((one["label"] for one in findings if one["positive"]), choices[0][1] if choices else None)
        updates[self.statement] = gr.Dropdown(choices, value=first)
        updates[self.looked] = gr.Column(visible=bool(choices))
        updates[self.contract] = _preformatted(session.analysis.explanation, checkpoint.extractor.describe())
        if checkpoint.has_outdated_index:
            updates[self.neighbors] = notice(
                f"The index of recordings was made with another state of {checkpoint.title}; its embeddings cannot be "
                "compared. Make it again with ecg-transformers index.",
                error=True,
            )
        elif checkpoint.index is None:
            updates[self.neighbors] = notice(
                f"No index of recordings for {checkpoint.title}; make one with ecg-transformers index."
            )
        else:
            nearest = checkpoint.index.nearest(session.analysis.embedding)
            updates[self.neighbors] = neighbors_list(nearest, checkpoint.index)
        return updates

    def _cleared(self, session: Session, message: str) -> dict[Any, Any]:
        """A page without results: an error is said, and nothing of an earlier recording stays."""
        gr, failed = self.gr, session.record is None
        empty = (self.paper, self.findings, self.explained, self.neighbors, self.contract, self.files)
        return {
            self.upload: None,
            self.session: session,
            self.status: notice(message, error=failed),
            self.results: gr.Column(visible=False),
            self.scored: gr.Column(visible=False),
            self.looked: gr.Column(visible=False),
            self.statement: gr.Dropdown([], value=None),
            **dict.fromkeys(empty, ""),
        }

    def _ask(self, session: Session, message: str) -> dict[Any, Any]:
        """Show the fields about what a file does not say, also those answered before, and the rules if they matter.

        What was not asked before, as anything of a new file, is empty: no answer reaches another file.
        """
        gr, record = self.gr, session.record
        names = set(_ASKING.findall(message))
        if record is not None and any(note.startswith(UNIT_NOT_STATED) for note in record.notes):
            names |= {"units", "gain"}
        if record is not None and (record.leads is None or _FOREIGN_LEAD.search(message)):
            names.add("leads")
        before = session.asked
        if session.files:
            session.asked = before | names
        if not session.asked:
            session.files = {}
        rules = bool(_RULE_NAMES.search(message) or session.policies)
        kinds = {"sampling_rate": gr.Number, "units": gr.Dropdown, "gain": gr.Number, "leads": gr.Textbox}
        updates = {self.asking: gr.Column(visible=bool(session.asked) or rules)}
        for name, component in self.asked.items():
            kept = {} if name in before else {"value": "" if name == "leads" else None}
            updates[component] = kinds[name](visible=name in session.asked, **kept)
        updates[self.rules] = gr.CheckboxGroup(visible=rules, **({} if session.policies else {"value": []}))
        return updates

    def draw(self, session: Session | None, model: str, scale: str, layout: str, start: float) -> str:
        """Draw the shown part on paper."""
        if session is None or session.record is None:
            return ""
        return self._drawn(session.record, scale, layout, start)

    def _drawn(self, record: EcgRecord, scale: str, layout: str, start: float) -> str:
        seconds, speed = SCALES[scale]
        figure, stop = self._figure(record, scale, layout, start)
        names = ", ".join(record.leads or ()) or f"{record.num_leads} leads"
        text = f"ECG on paper at {speed:g} mm/s and 10 mm/mV, {names}, from {start:g} to {stop:.4g} s"
        with DRAWING:
            page = paper(figure, text)
        return overview(record, start, stop) + page if record.duration > seconds else page

    @staticmethod
    def _figure(record: EcgRecord, scale: str, layout: str, start: float) -> tuple[Any, float]:
        from ..viz.paper import plot_ecg

        seconds, speed = SCALES[scale]
        start = min(start, max(0.0, record.duration - 1))
        with DRAWING:
            figure = plot_ecg(record, LAYOUTS[layout], speed, start=start, duration=seconds)  # type: ignore[arg-type]
        return figure, min(record.duration, start + seconds)

    def explain(
        self, session: Session | None, model: str, scale: str, layout: str, start: float, statement: str | None
    ) -> str:
        """Occlusion, attention and reconstruction of the part from `start` on."""
        if session is None or session.record is None or session.analysis is None:
            return ""
        try:
            return within(self.limits.seconds, self._explained, session, model, start, statement)
        except EcgError as error:
            return notice(_told(error), error=True)

    def _explained(self, session: Session, model: str, start: float, statement: str | None) -> str:
        from ..viz.occlusion import plot_occlusion

        assert session.record is not None
        checkpoint, policies = self.models.open(model), session.policies
        part, first = checkpoint.part(session.record, start)
        if (model, first) not in session.occlusions:
            session.occlusions = {(model, first): checkpoint.occlude(part, **policies)}
        found, record = session.occlusions[model, first], session.record
        if found is not None and record.leads is None:
            # The checkpoint took them in its own order.
            record = replace(record, leads=found.lead_names)
        pages = []
        with DRAWING:
            if found is not None and statement in found.codes:
                row = found.codes.index(statement)
                figure = plot_occlusion(
                    record, found.parts[row], found.edges + first, segments=found.segments[row],
                    effect_leads=found.lead_names, label=f"{statement} {found.scores[row]:.3f}",
                )  # fmt: skip
                lead = found.lead_names[found.leads[row].argmax()]
                when = first + found.edges[found.segments[row].argmax()]
                text = f"Effect of leads and half seconds on {statement}: most from lead {lead}, and at {when:.4g} s"
                pages.append(paper(figure, text))
            if (drawn := checkpoint.attention(part, **policies)) is not None:
                pages.append(_ATTENTION + paper(drawn, "Attention of the last layer to each patch of the recording"))
            if (drawn := checkpoint.reconstruction(part, **policies)) is not None:
                pages.append(_RECONSTRUCTION + paper(drawn, "Hidden patches of the recording and their reconstruction"))
        return "".join(pages)

    def make_files(self, session: Session | None, model: str, scale: str, layout: str, start: float) -> str:
        """Make the downloads."""
        if session is None or session.record is None or session.analysis is None:
            return notice("No results yet.")
        figure, _ = self._figure(session.record, scale, layout, start)
        with DRAWING:
            return downloads(session.analysis, figure, session.record.name)


def _told(error: Exception) -> str:
    """A message without advice that this page cannot take, its rules by their names on the page."""
    told = for_visitors(_FOREIGN_LEAD.sub("", str(error)))
    told = without_advice(told, lambda name: bool(_ASKING.match(f"{name}=")) or name in _RULE_ARGUMENTS)
    for argument, rule in _RULE_TEXTS.items():
        told = told.replace(f"Set {argument}", f"Choose {rule}").replace(f". {argument}", f". T{rule[1:]}")
        told = told.replace(argument, rule)
    return told


def _preformatted(explanation: str, contract: str) -> str:
    return (
        f"<h3>This recording</h3><pre class='ecg-text'>{escape(for_visitors(explanation))}</pre>"
        f"<h3>Contract of the checkpoint</h3><pre class='ecg-text'>{escape(contract)}</pre>"
    )


def build_page(
    models: Sequence[str], indexes: Mapping[str, EmbeddingIndex] | None = None, limits: Limits | None = None
) -> Any:
    """The page as Gradio's Blocks.

    Args:
        models: Folders or Hub names of checkpoints; the first is opened at once, the others when they are chosen, or at
            once if there are indexes.
        indexes: Indexes of recordings by file, used before the bundled ones.
        limits: What is taken.

    Raises:
        ImportError: Gradio is missing.
        CheckpointError: The first checkpoint cannot be opened, or an index belongs to none of them.
    """
    gradio = _load_gradio()
    bundled = [read_index(path) for path in sorted(ASSETS.glob("index_*.parquet"))]
    opened = _Models(models, [*(indexes or {}).values(), *bundled])
    opened.open(next(iter(opened.names)))
    for path, index in (indexes or {}).items():
        if index.checkpoint not in {opened.open(title).identity for title in opened.names}:
            made = f" ({index.model})" if index.model else ""
            raise CheckpointError(
                f"{path} was made with another checkpoint, or another state of one{made}; expected one of "
                f"{', '.join(models)}. Make it again: ecg-transformers index FOLDER --model {models[0]} --output {path}"
            )
    return _Page(gradio, opened, limits or Limits()).build()


def launch(
    models: Sequence[str] = (),
    *,
    indexes: Sequence[str | Path] = (),
    host: str | None = "127.0.0.1",
    port: int | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve the page until it is interrupted or terminated; to be called in the main thread.

    Args:
        models: Folders or Hub names of checkpoints. Default: the shipped ones in `hub/`, else those on the Hub.
        indexes: Files of `ecg-transformers index`, in addition to the bundled ones.
        host: Address to listen at. Default: this machine only. None: as Gradio's environment says, as on a Space.
        port: Port. Default: the first free one from 7860 on.
        limits: What is taken.

    Raises:
        ImportError: Gradio is missing.
        EcgError: A checkpoint or an index cannot be opened.
    """
    limits = limits or Limits()
    if port is not None and not 0 < port < 65536:
        raise ArgumentsError(f"port is {port}; expected a number from 1 to 65535.")
    # Ends like Ctrl-C, so that the folder is deleted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="ecg-app-") as folder:
        # Uploads pass through this folder; it is read when Gradio is imported.
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        gradio = _load_gradio()
        page = build_page(models or default_models(), {str(path): read_index(path) for path in indexes}, limits)
        page.queue(max_size=_QUEUE, default_concurrency_limit=2).launch(
            server_name=host,
            server_port=port,
            # Of files up to this size the page itself says that they are too large.
            max_file_size=f"{10 * limits.megabytes:g}mb",
            state_session_capacity=64,
            footer_links=[],
            ssr_mode=False,
            share=False,
            theme=gradio.themes.Base(primary_hue="sky", neutral_hue="slate", font=["system-ui", "sans-serif"]),
            css=_CSS.read_text(encoding="utf-8"),
        )


def default_models() -> list[str]:
    """The shipped checkpoints: folders in `hub/` of the current folder, names on the Hub otherwise."""
    return [f"hub/{name}" if Path("hub", name).is_dir() else f"ecg-transformers/{name}" for name in DEFAULT_MODELS]
