"""The metrics as `evaluate` modules that need no network: by class, or by path with `evaluate.load`.

`evaluate.load("accuracy")` asks the Hub; `evaluate.load(module_path("ecg_auroc"))` reads the file that ships here.
"""

from pathlib import Path

__all__ = ["module_path"]


def module_path(name: str) -> str:
    """The file of a metric for `evaluate.load`.

    Args:
        name: `ecg_auroc`, `ecg_one_vs_one_auroc`, `ecg_average_precision`, `ecg_f1` or `ecg_challenge_score`.

    Raises:
        ValueError: There is no such module.
    """
    folder = Path(__file__).parent
    known = sorted(file.stem for file in folder.glob("ecg_*.py"))
    if name not in known:
        raise ValueError(f"there is no metric module {name!r}; expected one of {', '.join(known)}.")
    return str(folder / f"{name}.py")
