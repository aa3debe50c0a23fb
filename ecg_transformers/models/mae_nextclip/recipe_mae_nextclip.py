"""How the encoder of MAE-NextClip is trained on labels from random weights: it is a plain vision transformer."""

from ..ecg_vit.recipe_ecg_vit import SUPERVISED_RECIPE

__all__ = ["SUPERVISED_RECIPE"]
