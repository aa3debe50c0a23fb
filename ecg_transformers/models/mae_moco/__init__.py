"""MAE-MoCo: masked reconstruction and momentum contrast on one encoder."""
