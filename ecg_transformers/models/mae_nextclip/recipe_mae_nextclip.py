"""How the encoder of MAE-NextClip is trained on labels from random weights: it is that of MAE-MoCo."""

from ..mae_moco.recipe_mae_moco import SUPERVISED_RECIPE

__all__ = ["SUPERVISED_RECIPE"]
