"""The plain vision transformer in one dimension: encoder of MAE-MoCo and MAE-NextClip, backbone of MoCo v3."""
