"""Publishing: bundle the code, render the card, write or push the checkpoint, verify it."""

from ecg_transformers.publishing.publish import Publication, publish
from ecg_transformers.publishing.verify import Verification, check_contract, verify

__all__ = ["Publication", "Verification", "check_contract", "publish", "verify"]
