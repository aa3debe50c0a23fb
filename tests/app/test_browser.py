"""The app in a browser: examples, bad files, questions, keyboard, alternative texts, both widths, nothing kept."""

import base64
import io
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from transformers import pipeline

from ecg_transformers.app.page import _told
from ecg_transformers.app.upload import Limits, read_upload
from ecg_transformers.errors import EcgError

pytestmark = pytest.mark.timeout(300)
PATIENCE = 60  # seconds


@pytest.fixture(scope="module")
def page(browser, server):
    return Page(browser, server[0])


class Page:
    """What a visitor does and sees."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address
        browser.get(address)
        self.wait(lambda: self.find("button", "Normal"))

    def wait(self, condition):
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        ignored = [StaleElementReferenceException]
        return WebDriverWait(self.browser, PATIENCE, 0.1, ignored_exceptions=ignored).until(lambda _: condition())

    def select(self, css):
        return [one for one in self.browser.find_elements("css selector", css) if one.is_displayed()]

    def find(self, css, text):
        return next((one for one in self.select(css) if text in one.text), None)

    @property
    def status(self):
        return self.select(".ecg-notice")[0].text

    @property
    def scores(self):
        """Code, score and decision of the rows of the table."""
        return self.browser.execute_script(
            "return [...document.querySelectorAll('.ecg-table tbody tr')].map(row => [row.cells[0].textContent,"
            " row.cells[2].textContent, row.cells[5].textContent])"
        )

    def open(self, action, name):
        """Do something that opens a recording, and wait for its statements and its explanation."""
        action()
        self.wait(lambda: name in self.facts and self.scores and len(self.select(".ecg-paper img")) == 2)

    @property
    def facts(self):
        return "".join(one.text for one in self.select(".ecg-facts"))

    def upload(self, *files):
        self.browser.find_element("css selector", "#upload input[type=file]").send_keys("\n".join(map(str, files)))

    def picture(self, width):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.wait(lambda: self.browser.execute_script("return window.innerWidth") == width)
        height = self.browser.execute_script("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        return base64.b64decode(shot["data"])


@pytest.mark.parametrize(
    ("example", "name", "code"),
    [
        ("Normal", "00001_lr", "NORM"),
        ("Atrial fibrillation", "00152_lr", "AFIB"),
        ("Left bundle branch block", "00338_lr", "CLBBB"),
    ],
)
def test_each_example_has_its_statement_picture_explanation_and_neighbors(page, example, name, code):
    page.open(lambda: page.find("button", example).click(), name)
    assert page.scores[0][0] == code
    assert page.scores[0][2] == "positive"
    assert len(page.scores) == 71
    for image in page.select(".ecg-paper img"):
        assert page.browser.execute_script("return arguments[0].naturalWidth", image) > 500
    assert code in page.select(".ecg-paper img")[1].get_attribute("alt")
    assert len(page.select(".ecg-neighbors li")) == 5
    assert code in page.select(".ecg-neighbors")[0].text
    assert "CC BY 4.0" in page.find(".ecg-small", "Nearest").text


def test_the_page_says_what_it_is_for(page):
    assert "not a medical device" in page.select(".ecg-research")[0].text
    assert "Gradio" not in page.browser.find_element("tag name", "body").text


def test_an_uploaded_pair_has_the_scores_of_the_pipeline(page, data_dir):
    files = [data_dir / "ptbxl" / f"00001_hr{suffix}" for suffix in (".hea", ".dat")]
    page.open(lambda: page.upload(*files), "00001_hr")
    assert "500 Hz" in page.facts
    expected = pipeline("ecg-classification", model="hub/xresnet1d50-ecg")(str(files[0]))
    shown = {code: score for code, score, _ in page.scores}
    assert shown == {one["label"]: f"{one['score']:.3f}" for one in expected}


def bad_files() -> dict[str, bytes]:
    table, packed, array = b"I,II\n" + b"0.1,0.2\n" * 500, io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros((12, 1000)))
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("one.csv", table)
        archive.writestr("two.csv", table)
    return {
        "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "empty.csv": b"",
        "alone.dat": bytes(24000),
        "damaged.npy": array.getvalue()[:5000],
        "words.csv": b"I,II\n0.1,much\n" * 300,
        "two.zip": packed.getvalue(),
    }


def test_bad_files_have_the_message_of_the_reader_and_leave_no_results(page, tmp_path):
    for name, content in bad_files().items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EcgError) as refused:
            read_upload({name: content}, limits=Limits())
        page.upload(tmp_path / name)
        expected = " ".join(_told(refused.value).split())
        page.wait(lambda expected=expected: expected == " ".join(page.status.split()))
        assert page.select(".ecg-notice")[0].get_attribute("role") == "alert"
        assert not page.select(".ecg-paper")
        assert not page.select(".ecg-table")


def test_the_rate_is_asked_of_a_file_that_does_not_say_it_and_absent_leads_are_allowed_on_request(page, tmp_path):
    lines = [f"{np.sin(n / 5):.3f},{np.cos(n / 5):.3f}" for n in range(2500)]
    (tmp_path / "bare.csv").write_text("I,II\n" + "\n".join(lines))
    page.upload(tmp_path / "bare.csv")
    page.wait(lambda: "sampling_rate=" in page.status)
    rate = page.find("#asking label", "Sampling rate").find_element("tag name", "input")
    rate.send_keys("250")
    page.find("button", "Read again").click()
    # It is drawn, although the classifier needs more leads.
    page.wait(lambda: page.select(".ecg-paper") and "the rule “Absent leads: zeros" in page.status)
    assert "III" in page.status
    rule = page.find("#asking label", "Absent leads")
    rule.click()
    page.open(lambda: page.find("button", "Read again").click(), "bare")
    assert len(page.scores) == 71


def test_a_long_recording_is_read_in_parts(page, tmp_path, data_dir):
    from selenium.webdriver.common.keys import Keys

    from ecg_transformers import EcgRecord, read_record
    from ecg_transformers.signals.wfdb.write import write_wfdb

    record = read_record(data_dir / "ptbxl" / "00152_lr")
    long = EcgRecord(np.tile(record.signal, 6), 100, leads=record.leads, name="long")
    write_wfdb(long, tmp_path)
    page.open(lambda: page.upload(tmp_path / "long.hea", tmp_path / "long.dat"), "long")

    def shows(text, number=0):
        page.wait(lambda: text in page.select(".ecg-paper img")[number].get_attribute("alt"))

    assert "0 to 10 s" in page.select(".ecg-overview")[0].get_attribute("aria-label")
    page.find("label", "60 s at 5 mm/s").click()
    shows("at 5 mm/s and 10 mm/mV")
    page.find("label", "5 s at 50 mm/s").click()
    shows("from 0 to 5 s")
    page.select("input[type=range]")[0].send_keys(*[Keys.ARROW_RIGHT] * 30)
    shows("from 30 to 35 s")
    # The same ten seconds again, thirty seconds later.
    shows("at 30.5 s", 1)


def test_another_checkpoint_shows_attention_and_its_own_neighbors(page):
    page.open(lambda: page.find("button", "Normal").click(), "00001_lr")
    before = page.select(".ecg-neighbors")[0].text
    page.find("label", "mae-moco-ecg").click()
    page.wait(lambda: page.find("h2", "Attention"))
    assert "makes no statements" in page.browser.find_element("tag name", "body").text
    assert page.select(".ecg-neighbors")[0].text != before
    assert not page.select(".ecg-table")
    page.find("label", "xresnet1d50-ecg").click()
    page.wait(lambda: page.scores)


def test_a_checkpoint_with_a_decoder_shows_its_reconstruction(page, tmp_path):
    page.open(lambda: page.find("button", "Atrial").click(), "00152_lr")
    page.find("label", "small-mae-ecg").click()
    page.wait(lambda: page.find("h2", "Reconstruction of hidden patches"))
    image = page.select(".ecg-paper img")[-1]
    assert "reconstruction" in image.get_attribute("alt")
    drawn = base64.b64decode(image.get_attribute("src").partition(",")[2]).decode()
    assert drawn.count('id="reconstruction') >= 12
    folder = Path(os.environ.get("ECG_SCREENSHOTS", tmp_path))
    (folder / "app_reconstruction.png").write_bytes(image.screenshot_as_png)
    page.find("label", "xresnet1d50-ecg").click()
    page.wait(lambda: page.scores)


def test_downloads_hold_the_results(page):
    page.open(lambda: page.find("button", "Atrial").click(), "00152_lr")
    page.find("button", "Download embedding").click()
    page.wait(lambda: page.find("button", "Make the files")).click()
    links = page.wait(lambda: page.select(".ecg-downloads a"))
    files = {}
    for link in links:
        files[link.get_attribute("download")] = base64.b64decode(link.get_attribute("href").partition(",")[2])
    assert list(files) == ["00152_lr.pdf", "00152_lr.svg", "00152_lr_embedding.csv", "00152_lr_scores.csv"]
    assert files["00152_lr.pdf"].startswith(b"%PDF")
    assert b"<svg" in files["00152_lr.svg"]
    assert files["00152_lr_scores.csv"].decode().splitlines()[1].startswith("AFIB,atrial fibrillation,0.97")
    assert len(files["00152_lr_embedding.csv"].decode().splitlines()) > 100
    page.find("button", "How the recording was prepared").click()
    assert "00152_lr: 12 leads" in page.wait(lambda: page.select(".ecg-text"))[0].text


def test_everything_can_be_done_with_the_keyboard_alone(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.browser.get(page.address)
    page.wait(lambda: page.find("button", "Normal"))

    def press(*keys):
        ActionChains(page.browser).send_keys(*keys).perform()

    def tab_to(what):
        for _ in range(60):
            press(Keys.TAB)
            active = page.browser.switch_to.active_element
            if what(active):
                return active
        raise AssertionError("Tab does not lead there")

    tab_to(lambda one: one.tag_name == "button" and "Click to Upload" in one.text)
    tab_to(lambda one: "Atrial" in one.text and one.tag_name == "button")
    page.open(lambda: press(Keys.ENTER), "00152_lr")
    tab_to(lambda one: one.get_attribute("type") == "radio")
    region = tab_to(lambda one: one.get_attribute("role") == "region")
    assert region.get_attribute("aria-label").startswith("ECG on paper")
    tab_to(lambda one: one.tag_name == "summary")
    press(Keys.ENTER)
    assert page.find("caption", "Further statements")
    tab_to(lambda one: one.get_attribute("role") in ("listbox", "combobox"))
    press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
    page.wait(lambda: "AFIB" not in page.select(".ecg-paper img")[1].get_attribute("alt"))
    tab_to(lambda one: one.tag_name == "button" and "How the recording" in one.text)
    press(Keys.ENTER)
    page.wait(lambda: page.select(".ecg-text"))


def test_every_picture_and_field_has_a_name_and_both_widths_hold_the_page(page, tmp_path):
    page.open(lambda: page.find("button", "Left bundle").click(), "00338_lr")
    for one in page.select("img, svg[role=img], [role=region]"):
        assert one.get_attribute("alt") or one.get_attribute("aria-label")
    nameless = page.browser.execute_script(
        "return [...document.querySelectorAll('input:not([type=file]), select, textarea')].filter(one =>"
        " one.offsetParent && !one.labels.length && !one.getAttribute('aria-label') && "
        "!one.getAttribute('aria-labelledby')).map(one => one.outerHTML)"
    )
    assert not nameless
    folder = Path(os.environ.get("ECG_SCREENSHOTS", tmp_path))
    for width in (1280, 390):
        picture = page.picture(width)
        (folder / f"app_{width}.png").write_bytes(picture)
        assert len(picture) > 50_000
        assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
        cut = page.browser.execute_script(
            "return [...document.querySelectorAll('.ecg-scroll')].filter(one => one.scrollWidth > one.clientWidth)"
        )
        assert not cut, [one.text for one in cut]
        # The text of the chosen statement ends before the arrow.
        free = page.browser.execute_script(
            "const field = document.querySelector('.secondary-wrap input'), arrow = field.parentElement"
            ".querySelector('svg');"
            "return arrow.getBoundingClientRect().left - field.getBoundingClientRect().right"
            " + parseFloat(getComputedStyle(field).paddingRight)"
        )
        assert free >= 0


def test_nothing_uploaded_is_kept_and_the_console_is_silent(page, server):
    files = [file for file in server[2].rglob("*") if file.is_file()]
    assert not files
    entries = page.browser.get_log("browser")
    wrong = [one for one in entries if one["level"] == "SEVERE"]
    assert not wrong, "\n".join(re.sub(r"\s+", " ", one["message"])[:300] for one in wrong)
