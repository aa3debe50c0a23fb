"""MAE-NextClip: masked reconstruction and prediction of the next half cardiac cycle on one encoder."""
