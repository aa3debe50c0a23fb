"""The app as a Space: its folder, copied, and started in a process of its own; and a browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Set where these tests must run, as in `.ci/run`.
REQUIRED = "ECG_REQUIRE_BROWSER"
CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()


def skip(reason: str) -> None:
    if os.environ.get(REQUIRED):
        pytest.fail(f"{reason}, and {REQUIRED} is set")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def gradio():
    if find_spec("gradio") is None:
        skip("gradio is missing: pip install 'ecg_transformers[app]'")


@pytest.fixture(scope="session")
def masked_autoencoder(tmp_path_factory):
    """A small masked autoencoder, trained on the recordings of the examples and published with its decoder."""
    import torch

    from ecg_transformers import MaeMocoConfig, MaeMocoFeatureExtractor, MaeMocoForPreTraining, read_record
    from ecg_transformers.app.page import ASSETS, EXAMPLES
    from ecg_transformers.publishing import publish

    torch.manual_seed(0)
    signal = {"sampling_rate": 100, "window_size": 500, "patch_size": 25}
    config = MaeMocoConfig(
        **signal, contrastive_weight=0, normalize_patches=False, mask_ratio=0.5, hidden_size=64, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=128, decoder_hidden_size=64, decoder_num_attention_heads=2,
        decoder_intermediate_size=128,
    )  # fmt: skip
    model, extractor = MaeMocoForPreTraining(config), MaeMocoFeatureExtractor(**signal)
    windows = extractor([read_record(ASSETS / name) for name in EXAMPLES.values()], return_tensors="pt").input_values
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(300):
        loss = model(input_values=windows, patch_noise=torch.rand(len(windows), config.num_patches)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("autoencoder")
    model.save_pretrained(folder / "run")
    extractor.save_pretrained(folder / "run")
    options = {"golden_record": ASSETS / "00001_lr", "clean_process": False, "with_decoder": True}
    return publish(folder / "run", output_dir=folder / "small-mae-ecg", **options).folder


@pytest.fixture(scope="session")
def server(gradio, masked_autoencoder, tmp_path_factory):
    """Address, process and temporary folder of the app."""
    folder = tmp_path_factory.mktemp("space")
    shutil.copytree(ROOT / "apps" / "space", folder / "copy")
    (folder / "tmp").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shipped = [ROOT / "hub" / name for name in ("xresnet1d50-ecg", "mae-moco-ecg")]
    models = " ".join(map(str, [*shipped, masked_autoencoder]))
    environment = {"ECG_MODELS": models, "GRADIO_SERVER_PORT": str(port), "TMPDIR": str(folder / "tmp")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=folder / "copy", env=os.environ | environment)
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=5)
            break
        except OSError:
            assert process.poll() is None, "the app ended"
            time.sleep(0.2)
    yield address, process, folder / "tmp"
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def browser(server, tmp_path_factory):
    if find_spec("selenium") is None:
        skip("selenium is missing: pip install 'ecg_transformers[test]'")
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        skip("chromium or chromedriver is missing (Debian: apt install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in (*CHROMIUM, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    driver.set_window_size(1280, 900)
    yield driver
    driver.quit()
