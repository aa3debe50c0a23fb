"""Export of checkpoints as graphs for other runtimes, with the contract that prepares recordings for them."""

from .checkpoint import Exported, export_checkpoint

__all__ = ["Exported", "export_checkpoint"]
