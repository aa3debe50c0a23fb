"""Fresh Python processes, forked from a server that has imported torch, but nothing of Hugging Face or of this package.

A process of its own takes five seconds to import torch and Transformers, four of them for torch and what it needs.
"""

import atexit
import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[1]
# Imported by torch or Transformers; none of them reads variables of Hugging Face.
PRELOADED = (
    "torch", "torch._dynamo", "torch._inductor.config", "torch.distributed.checkpoint", "torch.distributed.fsdp",
    "torch.distributed.launcher.api", "torch.distributed.tensor.parallel", "torch.export",
    "torch.nn.attention.flex_attention", "torch.onnx", "anyio", "boto3", "jinja2.sandbox", "numpy.f2py", "pandas",
    "PIL.Image", "pyarrow.parquet", "regex", "requests", "scipy.optimize", "scipy.signal", "scipy.stats", "soundfile",
    "sympy", "yaml",
)  # fmt: skip

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(list(PRELOADED))


@contextmanager
def without_main() -> Iterator[None]:
    """A process that is started here does not import the main module of this one, which is pytest."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    yield
    sys.modules["__main__"] = main


def start(
    command: Sequence[str | Path],
    *,
    env: dict[str, str] | None = None,
    cwd: str | Path = ".",
    out: str | Path = os.devnull,
    err: str | Path = os.devnull,
) -> ForkServerProcess:
    """Start a Python command: a script, `-m module` or `-c code`.

    Args:
        command: The interpreter, its options `-P`, `-W ignore` or `-u`, what it runs, and the arguments of that.
        env: Its variables. Default: those of this process.
        cwd: Its folder.
        out: File of its output.
        err: File of its errors.
    """
    python, *words = map(str, command)
    assert python == sys.executable
    files = [str(Path(file).resolve()) for file in (out, err)]
    process = server.Process(target=_execute, args=(words, dict(env or os.environ), str(Path(cwd).resolve()), files))
    with without_main():
        process.start()
    return process


def run(command: Sequence[str | Path], *, timeout: float = 280, **options: Any) -> subprocess.CompletedProcess[str]:
    """Do what `subprocess.run` does with such a command, its output captured as text.

    Args:
        command: As in `start`.
        timeout: Seconds after which it is killed.
        **options: Of `start`; others of `subprocess.run` have no effect.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        given = {name: options[name] for name in ("env", "cwd") if options.get(name)}
        process = start(command, **given, out=out, err=err)
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(list(command), timeout)
        return subprocess.CompletedProcess(list(command), process.exitcode, out.read_text(), err.read_text())


# In place of the module `subprocess` where a module calls Python.
forked = SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired)


def _execute(words: list[str], environment: dict[str, str], folder: str, files: list[str]) -> None:
    """Become that process."""
    gc.freeze()  # what the server imported stays
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    flags = []
    while words[0] in ("-P", "-u", "-W"):
        flags.append(words.pop(0))
        if flags[-1] == "-W":
            warnings.simplefilter(words.pop(0))
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if "-P" not in flags:
        paths.insert(0, "" if words[0] in ("-c", "-m") else str(Path(words[0]).parent))
    sys.path[:] = [*paths, *(path for path in sys.path if path not in ("", ".", str(ROOT)))]
    code = 1
    try:
        _run_main(words)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_main(words: list[str]) -> None:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.modules["__main__"] = module = ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), vars(module))
    elif words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
