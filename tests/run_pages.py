"""Runs the blocks of documentation pages in one process, in the current folder: `python run_pages.py PAGE ...`.

A `python` block runs in the namespace of its page; a line of a `sh` block calls the main function of its command.
"""

import gc
import re
import runpy
import shlex
import sys
import time
from pathlib import Path

BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def run_command(line: str) -> None:
    """A command of the package; any other is an error, because it would not be tested."""
    words = shlex.split(line)
    if words[:2] == ["accelerate", "launch"]:
        words = ["python", *words[2:]]
    before = sys.argv
    try:
        if words[0] == "ecg-transformers":
            from ecg_transformers.cli import main

            code = main(words[1:])
        elif words[0] == "python":
            sys.argv = words[1:]
            try:
                runpy.run_path(words[1], run_name="__main__")
                code = 0
            except SystemExit as end:
                code = end.code or 0
        else:
            raise ValueError(f"{line}: a command that is not of the package belongs into a console block")
    finally:
        sys.argv = before
    if code:
        raise RuntimeError(f"{line}: exit code {code}")


def run_page(page: str) -> None:
    """Its blocks in their order, with the seconds of each."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for language, block in BLOCK.findall(Path(page).read_text(encoding="utf-8")):
        started = time.monotonic()
        gc.freeze()  # each training ends with a full collection, which need not look at what is imported
        print(f"== {page}: {block.splitlines()[0]}", flush=True)
        if language == "python":
            exec(compile(block, page, "exec"), namespace)
        else:
            for command in block.replace("\\\n", " ").splitlines():
                run_command(command)
        print(f"-- {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    for page in sys.argv[1:]:
        run_page(page)
