"""Wav2Vec 2.0 with CMSC and random lead masking."""
