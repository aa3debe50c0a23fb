"""The app without a browser: limits, two visitors at once, memory over many uploads, and a missing library."""

import base64
import builtins
import csv
import io
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_transformers import EcgVitConfig, EcgVitFeatureExtractor, EcgVitForSequenceClassification, read_record
from ecg_transformers.app.analysis import Analysis, Checkpoint
from ecg_transformers.app.page import (
    ASSETS,
    _Models,
    _Page,
    _preformatted,
    _take,
    _told,
    default_models,
    launch,
    within,
)
from ecg_transformers.app.report import facts, findings_table, overview, paper
from ecg_transformers.app.upload import Limits
from ecg_transformers.cli import main
from ecg_transformers.errors import SignalError
from ecg_transformers.signals.quality import amplitude_note
from ecg_transformers.signals.record import EcgRecord

from ..testers import tester as families


def test_without_gradio_one_line_names_the_extra(monkeypatch, capsys):
    found = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "gradio":
            raise ImportError(name)
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert main(["app"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'ecg_transformers[app]'" in error
    assert len(error.splitlines()) == 1


def test_the_command_listens_to_this_machine_only(monkeypatch):
    calls = []
    monkeypatch.setattr("ecg_transformers.app.page.launch", lambda *arguments, **options: calls.append(options))
    main(["app", "--port", "7001", "--index", "mine.parquet"])
    assert calls == [{"indexes": ["mine.parquet"], "port": 7001}]
    # The default of `launch`, which a Space overrides.
    from inspect import signature

    from ecg_transformers.app import page

    monkeypatch.undo()
    assert signature(page.launch).parameters["host"].default == "127.0.0.1"


def test_a_long_analysis_ends_with_an_error_and_errors_pass_through():
    started = time.monotonic()
    with pytest.raises(SignalError, match=r"longer than 0\.1 s"):
        within(0.1, time.sleep, 1.0)
    assert time.monotonic() - started < 0.9
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)


def test_uploaded_files_are_taken_into_memory_and_deleted(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.csv").write_text(name)
    assert _take([tmp_path / "a" / "a.csv", tmp_path / "b" / "b.csv"]) == {"a.csv": b"a", "b.csv": b"b"}
    assert not list(tmp_path.iterdir())


def test_shipped_checkpoints_are_the_default_beside_hub_and_those_of_the_hub_elsewhere(tmp_path, monkeypatch):
    assert default_models()[0] == "hub/xresnet1d50-ecg"
    monkeypatch.chdir(tmp_path)
    assert default_models()[0] == "ecg-transformers/xresnet1d50-ecg"


def test_checkpoints_of_the_same_folder_name_are_told_apart():
    assert list(_Models(["runs/a/best", "runs/b/best", "hub/x"], []).names) == ["runs/a/best", "runs/b/best", "x"]


def test_text_of_files_is_escaped_and_the_overview_marks_what_is_shown():
    record = EcgRecord(np.zeros((1, 6000)), 100, leads=["II"], name="<script>")
    finding = {"label": "<b>", "name": "<i>", "score": 0.5, "threshold": None, "positive": None}
    from ecg_transformers.viz import plot_ecg

    for text in (
        findings_table(Analysis([finding], np.zeros(1), ""), "x"),
        paper(plot_ecg(record), "<img> of <script>"),
    ):
        assert "<script>" not in text
        assert "<b>&lt;" not in text
        assert "&lt;" in text
    assert 'x="300.0" y="0" width="100.0"' in overview(record, 30, 40)


def test_a_pretraining_checkpoint_is_embedded_and_its_hidden_patches_are_drawn(checkpoint):
    tiny = Checkpoint(str(checkpoint))
    record = EcgRecord(
        np.random.default_rng(0).normal(scale=0.3, size=(12, 1000)), 100, leads=tiny.extractor.lead_names
    )
    analysis = tiny.analyze(record)
    assert analysis.findings == []
    assert analysis.embedding.shape == (16,)
    part, first = tiny.part(record, 3.0)
    assert (part.duration, first) == (10, 0)
    assert tiny.occlude(part) is None
    assert "patches masked" in " ".join(text.get_text() for text in tiny.reconstruction(part).axes[0].texts)
    assert tiny.attention(part) is not None


def test_a_decoder_reconstructs_hidden_patches_of_real_recordings(masked_autoencoder):
    shown = Checkpoint(str(masked_autoencoder))
    record = read_record(ASSETS / "00152_lr")
    model, inputs = shown.pretraining, shown.extractor(record, return_tensors="pt")
    patches = model.encoder.to_patches(inputs["input_values"])
    with torch.no_grad():
        found = model.reconstruct(patches, torch.rand(patches.shape[:2], generator=torch.Generator().manual_seed(0)))
    hidden = found["patch_mask"].bool()
    assert (found["reconstruction"] - patches)[hidden].square().mean() < 0.5 * patches[hidden].square().mean()
    figure = shown.reconstruction(shown.part(record, 0.0)[0])
    assert "10 of 20 patches masked" in " ".join(text.get_text() for text in figure.axes[0].texts)


def test_labels_and_embedding_of_a_long_recording_take_one_pass_in_batches(monkeypatch):
    shown, record = Checkpoint("hub/xresnet1d50-ecg"), read_record(ASSETS / "00152_lr")
    long = EcgRecord(np.tile(record.signal, 12), 100, leads=record.leads)
    encoder, sizes = shown.embed.model, []
    encode = encoder.encode
    monkeypatch.setattr(
        encoder, "encode", lambda **inputs: sizes.append(len(inputs["input_values"])) or encode(**inputs)
    )
    analysis = shown.analyze(long)
    monkeypatch.undo()
    assert sizes == [64, 31]  # 95 windows
    assert analysis.findings[0].keys() == {"label", "name", "score", "positive", "threshold"}
    for one, expected in zip(analysis.findings, shown.classify(long), strict=True):
        assert (one["label"], one["positive"]) == (expected["label"], expected["positive"])
        assert one["score"] == pytest.approx(expected["score"], abs=1e-5)
    np.testing.assert_allclose(analysis.embedding, shown.embed(long), atol=1e-4)


@pytest.mark.parametrize("layer", [-1, 1])
def test_a_head_on_another_layer_or_pooling_leaves_the_embedding_as_it_is(layer, tmp_path):
    testers = families.testers()["ecg_vit"]()
    fields = testers.config_fields | {"id2label": {0: "A", 1: "B"}, "label2id": {"A": 0, "B": 1}}
    torch.manual_seed(0)
    config = EcgVitConfig(**fields, layer=layer, pooling="mean", problem_type="multi_label_classification")
    EcgVitForSequenceClassification(config).save_pretrained(tmp_path)
    EcgVitFeatureExtractor(
        sampling_rate=config.sampling_rate, window_size=config.window_size, patch_size=config.patch_size
    ).save_pretrained(tmp_path)
    shown, record = Checkpoint(str(tmp_path)), read_record(ASSETS / "00152_lr")
    analysis = shown.analyze(record)
    scores = {one["label"]: one["score"] for one in shown.classify(record)}
    assert {one["label"]: one["score"] for one in analysis.findings} == pytest.approx(scores, abs=1e-5)
    np.testing.assert_allclose(analysis.embedding, shown.embed(record), atol=1e-5)


LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
VIEW = ("xresnet1d50-ecg", "10 s at 25 mm/s", "3 x 4 and lead II", 0)


class Visit:
    """What one visitor does, through the functions of the page, and what the page then holds."""

    def __init__(self, gradio, folder):
        self.folder = folder / "upload"
        self.page = _Page(gradio, _Models(["hub/xresnet1d50-ecg"], []), Limits(megabytes=2))
        self.page.build()
        self.session, self.shown, self.values = None, {}, {}

    def _take(self, updates):
        self.session, self.shown = updates[self.page.session], updates
        for name, field in [*self.page.asked.items(), ("rules", self.page.rules)]:
            change = updates[field]._constructor_args[0]
            self.values |= {name: change["value"]} if "value" in change else {}

    def open(self, files):
        self.folder.mkdir()
        paths = []
        for name, content in files.items():
            paths.append(self.folder / name)
            paths[-1].write_bytes(content)
        self._take(self.page.read_files(paths, self.session, *VIEW))

    def answer(self, **values):
        self.values |= values
        answers = [self.values.get(name) for name in (*self.page.asked, "rules")]
        self._take(self.page.read_again(self.session, *VIEW, *answers))

    def explain(self):
        return self.page.explain(self.session, *VIEW, self.session.analysis.findings[0]["label"])

    @property
    def asks(self):
        return {name for name, field in self.page.asked.items() if self.shown[field].visible}

    def shows(self, name):
        return self.shown[getattr(self.page, name)]


@pytest.fixture
def visit(gradio, tmp_path):
    import gradio

    return Visit(gradio, tmp_path)


def array_file(leads, seconds=10):
    content = io.BytesIO()
    np.save(content, np.random.default_rng(0).normal(scale=0.3, size=(leads, 100 * seconds)).astype(np.float32))
    return {f"{leads}.npy": content.getvalue()}


def test_a_nameless_recording_is_explained_by_the_leads_of_the_checkpoint(visit):
    visit.open(array_file(12))
    visit.answer(sampling_rate=100)
    assert "was read" in visit.shows("status")
    assert visit.asks == {"sampling_rate", "units", "gain", "leads"}
    assert "took them in the order I, II, III, aVR" in visit.shows("facts")
    assert "most from lead" in visit.explain()


def test_answers_and_rules_of_a_file_do_not_reach_the_next(visit):
    visit.open(array_file(12))
    visit.answer(sampling_rate=100, units="uV", rules=["Absent leads: zeros, marked as absent"])
    visit.open(array_file(12))
    assert visit.values == {"sampling_rate": None, "units": None, "gain": None, "leads": "", "rules": []}
    assert visit.asks == {"sampling_rate"}
    # What is not asked does not count, even if a field holds it.
    visit.answer(sampling_rate=100, units="uV")
    assert np.abs(visit.session.record.signal).max() > 0.5
    assert visit.session.policies == {}


def test_names_of_leads_are_asked_if_the_checkpoint_needs_them(visit):
    visit.open(array_file(3))
    visit.answer(sampling_rate=100)
    assert "3 leads without names" in visit.shows("status")
    assert visit.asks == {"sampling_rate", "units", "gain", "leads"}
    visit.answer(leads="I, II, V1")
    assert visit.session.record.leads == ("I", "II", "V1")
    visit.answer(rules=["Absent leads: zeros, marked as absent"])
    assert visit.session.analysis is not None


def text_file(*leads):
    waves = np.random.default_rng(0).normal(scale=0.3, size=(1000, len(leads)))
    return {"few.csv": "\n".join([",".join(leads), *(",".join(f"{one:.4f}" for one in row) for row in waves)]).encode()}


ABSENT = "Absent leads: zeros, marked as absent"


def scores_file(visit):
    link = re.search(r'few_scores.csv" href="data:text/csv;base64,([^"]+)', visit.page.make_files(visit.session, *VIEW))
    return list(csv.DictReader(base64.b64decode(link[1]).decode().splitlines()))


def test_scores_of_absent_leads_are_marked_as_worthless_on_the_page_and_in_the_file(visit):
    visit.open(text_file("I", "II"))
    visit.answer(sampling_rate=100)
    visit.answer(rules=[ABSENT])
    alert, table = visit.shows("findings").split("<table", 1)
    assert 'role="alert"' in alert
    assert "10 of 12 leads are absent (III, aVR" in alert
    assert "the checkpoint was not made for this" in alert
    assert "Mind the warning above" in table
    assert all("10 of 12 leads are absent" in row["warning"] for row in scores_file(visit))


def test_scores_of_amplitudes_without_a_check_are_marked_and_usual_ones_are_not(visit):
    visit.open(text_file(*LEADS))
    visit.answer(sampling_rate=100)
    assert 'role="alert"' not in visit.shows("findings")
    assert {row["warning"] for row in scores_file(visit)} == {""}
    visit.answer(rules=["Unusual amplitudes: take them as they are"])
    assert "without a check" in visit.shows("findings").split("<table")[0]
    assert all("without a check" in row["warning"] for row in scores_file(visit))


def test_a_lead_under_another_name_is_asked_and_its_answer_is_taken(visit):
    visit.open(text_file("ECG"))
    visit.answer(sampling_rate=100)
    assert "has 1 lead (ECG)" in visit.shows("status")
    assert "treat_as" not in visit.shows("status")
    assert "state the names of its leads below" in visit.shows("status")
    assert visit.asks == {"sampling_rate", "units", "gain", "leads"}
    visit.answer(leads="I")
    assert visit.session.record.leads == ("I",)
    assert visit.shown[visit.page.rules].visible
    visit.answer(rules=[ABSENT])
    assert "11 of 12 leads" in visit.shows("findings")


def test_a_recording_without_scores_shows_none_of_the_one_before(visit):
    visit.open(array_file(12))
    visit.answer(sampling_rate=100)
    assert visit.shows("scored").visible
    visit.open(array_file(3))
    visit.answer(sampling_rate=100)
    assert visit.shows("results").visible
    assert not visit.shows("scored").visible
    assert visit.shows("statement").value is None


def test_a_file_that_is_too_large_clears_the_page_and_is_told_in_the_status(visit):
    visit.open({"large.npy": bytes(3_000_000)})
    assert "more than 2 MB" in visit.shows("status")
    assert not visit.shows("results").visible


def test_an_index_of_another_state_of_the_checkpoint_is_told_instead_of_neighbors(visit):
    visit.page.models.open("xresnet1d50-ecg").has_outdated_index = True
    visit.open(array_file(12))
    visit.answer(sampling_rate=100)
    assert "another state of xresnet1d50-ecg" in visit.shows("neighbors")
    assert 'role="alert"' in visit.shows("neighbors")


def test_advice_that_the_page_cannot_take_is_left_out():
    assert _told(SignalError("2 arrays. Set key= to one.")) == "2 arrays."
    assert _told(SignalError("No rate. Set sampling_rate=.")) == "No rate. Set sampling_rate=."
    told = _told(SignalError("Lacks V6. Set missing_leads='mask'."))
    assert told == "Lacks V6. Choose the rule “Absent leads: zeros, marked as absent”."


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Convert it, or add a reader with register_reader.", "Convert it."),
        ("Unpack or convert it, or add a reader with register_reader.", "Unpack or convert it."),
        (
            "x, but y. Pass the unit with the signal, or implausible_amplitude='accept' to take it.",
            "x, but y. Choose the rule “Unusual amplitudes: take them as they are” to take it.",
        ),
        (
            "V1 is missing. missing_leads='mask' replaces it by zeros; derive_leads=True computes III from I and II.",
            "V1 is missing. The rule “Absent leads: zeros, marked as absent” replaces it by zeros; the rule “Compute "
            "III, aVR, aVL, aVF from I and II” computes III from I and II.",
        ),
        (
            "3 samples are NaN. Set nan_policy='interpolate' with max_gap_seconds=, or nan_policy='mask_lead'.",
            "3 samples are NaN. Choose the rule “Missing samples: interpolate short gaps”.",
        ),
        (
            "replace it by NaN, in files by missing_value=-32768 (nan_policy= sets how those are handled).",
            "replace it by NaN.",
        ),
        (
            "Leave leads= out to use the file's; record.select([...]) orders leads, treat_as={'V': 'II'} renames them.",
            "Leave leads= out to use the file's.",
        ),
    ],
)
def test_what_only_programs_can_do_is_not_on_the_page(message, shown):
    assert _told(SignalError(message)) == shown


def test_notes_and_the_preparation_are_free_of_advice_for_programs():
    note = amplitude_note(np.sin(np.arange(1000))[None] * 20, 100)
    record = EcgRecord(np.zeros((1, 100)), 100, leads=["I"], notes=[note])
    assert "override" in note
    assert "the gain may be wrong</dd>" in facts(record)
    assert "override" not in _preformatted(note, "")


def test_gradio_lets_larger_files_through_and_a_terminated_app_leaves_no_folder(gradio, monkeypatch, tmp_path):
    import gradio

    taken = {}

    def serve(blocks, **options):
        taken.update(options, folder=list(tmp_path.iterdir()))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setattr(gradio.Blocks, "launch", serve)
    monkeypatch.setattr("ecg_transformers.app.page.build_page", lambda *arguments: gradio.Blocks())
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(KeyboardInterrupt):
            launch(["x"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert taken["max_file_size"] == "300mb"
    assert len(taken["folder"]) == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture
def client(server):
    from gradio_client import Client

    return Client(server[0], verbose=False)


def read(client, data_dir, name):
    from gradio_client import handle_file

    files = [handle_file(data_dir / "ptbxl" / f"{name}{suffix}") for suffix in (".hea", ".dat")]
    view = ["xresnet1d50-ecg", "10 s at 25 mm/s", "3 x 4 and lead II", 0]
    return " ".join(map(str, client.predict(files, *view, api_name="/read")))


def test_two_visitors_at_once_get_their_own_results(server, client, data_dir):
    from gradio_client import Client

    clients, names = [client, Client(server[0], verbose=False)], ["00001_lr", "00152_lr"]
    with ThreadPoolExecutor(2) as both:
        results = list(both.map(lambda pair: read(pair[0], data_dir, pair[1]), zip(clients, names, strict=True)))
    for name, result, other in zip(names, results, reversed(names), strict=True):
        assert f"{name} was read" in result
        assert f"{other} was read" not in result
    assert '<td>atrial fibrillation</td><td class="ecg-number">0.97' in results[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_memory_is_flat_over_200_uploads(server, client, data_dir):
    _, process, temporary = server

    def megabytes():
        (line,) = [one for one in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmRSS" in one]
        return int(line.split()[1]) / 1000

    sizes = []
    for number in range(200):
        assert "was read" in read(client, data_dir, ("00001_lr", "00152_lr", "00001_hr")[number % 3])
        sizes.append(megabytes())
    print(f"memory in MB after 20, 60, 100, 150, 200 uploads: {[round(sizes[n - 1]) for n in (20, 60, 100, 150, 200)]}")
    # What libraries fill once is filled by the 60th.
    assert np.mean(sizes[-20:]) < np.mean(sizes[50:70]) + 30
    assert not [file for file in temporary.rglob("*") if file.is_file()]
