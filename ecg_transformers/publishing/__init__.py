"""Publishing: bundle the code, render the card, write or push the checkpoint, verify it."""

from .publish import Publication, publish
from .verify import Verification, verify

__all__ = ["Publication", "Verification", "publish", "verify"]
