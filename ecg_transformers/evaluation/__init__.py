"""Metrics, bootstrap intervals, probes, fine-tuning and the protocol that turns them into `results.json`.

Nothing is imported here: `from ecg_transformers.metrics.metrics import macro_auroc` needs NumPy alone.
"""
