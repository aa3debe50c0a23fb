"""Executes the notebooks of this folder and writes them with their outputs.

python examples/execute.py [NOTEBOOK ...]
"""

import base64
import io
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

__all__ = ["execute"]

FOLDER = Path(__file__).resolve().parent
QUIET = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
COLORS = 64


def execute(path: Path) -> nbformat.NotebookNode:
    """A notebook with the outputs of a new run: no progress bars and warnings, plots as PNG with few colors.

    Args:
        path: The notebook; it runs in its own folder.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell fails.
        RuntimeError: A script that a cell runs fails.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.clear()
    folder = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=900, record_timing=False, coalesce_streams=True, resources=folder)
    client.execute(env={**os.environ, "PYTHONPATH": str(FOLDER.parent), **QUIET})
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            if output.output_type == "error":  # of a script that %run calls
                raise RuntimeError(f"{path.name}: {output.evalue}")
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _compressed(output.data["image/png"])
    return notebook


def _compressed(picture: str) -> str:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").quantize(COLORS).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(execute(Path(name).resolve()), name)
        print(f"-> {name}")
