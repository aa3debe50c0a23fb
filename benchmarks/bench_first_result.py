"""Time from an installed package to the first result, by the three ways of docs/index.md; each in under two minutes.

    pip install -e '.[app]'
    python benchmarks/bench_first_result.py

Every way runs in a process of its own, from the root of the repository, offline: command line, Python, and the app,
whose page is awaited and given a recording as a browser gives it. Printed are the time on the clock, which counts, and
that of the processor, which other work on the machine does not lengthen as much.
"""

import os
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from gradio_client import Client, handle_file

ROOT = Path(__file__).resolve().parents[1]
RECORDING = "tests/data/ptbxl/00152_lr"
LIMIT = 120  # seconds
PYTHON = f"""\
from transformers import pipeline
import ecg_transformers

classify = pipeline("ecg-classification", model="hub/xresnet1d50-ecg")
findings = classify("{RECORDING}")
print(findings[0])
"""
COMMAND = ["ecg-transformers", "classify", "hub/xresnet1d50-ecg", RECORDING]
APP = ["ecg-transformers", "app"]


def program(words):
    """A command of this environment."""
    return [str(Path(sys.executable).with_name(words[0])), *words[1:]]


def in_the_app():
    """What the page answers to the recording, and when."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = subprocess.Popen(program([*APP, "--port", str(port)]), cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5)
                break
            except OSError:
                if app.poll() is not None:
                    raise SystemExit("the app ended") from None
                time.sleep(0.1)
        files = [handle_file(ROOT / f"{RECORDING}{suffix}") for suffix in (".hea", ".dat")]
        view = ["xresnet1d50-ecg", "10 s at 25 mm/s", "3 x 4 and lead II", 0]
        client = Client(f"http://127.0.0.1:{port}", verbose=False)
        return " ".join(map(str, client.predict(files, *view, api_name="/read"))), time.monotonic()
    finally:
        app.terminate()
        app.wait()


def run(command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout, time.monotonic()


def processor_seconds():
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    os.environ["HF_HUB_OFFLINE"] = "1"
    ways = {
        " ".join(COMMAND): lambda: run(program(COMMAND)),
        'python, the block of "From a file to a finding"': lambda: run([sys.executable, "-W", "ignore", "-c", PYTHON]),
        f"{' '.join(APP)}, and the recording uploaded": in_the_app,
    }
    slow = False
    for name, way in ways.items():
        started, before = time.monotonic(), processor_seconds()
        text, finished = way()
        if "AFIB" not in text:
            raise SystemExit(f"{name} did not find AFIB in {RECORDING}")
        slow |= finished - started > LIMIT
        used = processor_seconds() - before
        print(f"{finished - started:6.1f} s, processor {used:4.1f} s: {name}", flush=True)
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
