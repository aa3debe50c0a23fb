"""Probes on a frozen encoder: linear, attentive, and their curve over a pretraining run."""
