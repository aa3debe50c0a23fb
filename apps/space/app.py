"""The demo app as a Space. Variable `ECG_MODELS`: checkpoints (default: the published ones), separated by blanks."""

import os

from ecg_transformers.app.page import launch

launch(os.environ.get("ECG_MODELS", "").split(), host=None)
