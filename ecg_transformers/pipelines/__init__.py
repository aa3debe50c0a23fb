"""Pipelines for classification, feature extraction and abnormal beats, their tables, and streams of long recordings."""

from .anomaly_detection import AnomalyLoader, AnomalySummary, EcgAnomalyDetectionPipeline, summarize_beats
from .classification import ClassifierLoader, EcgClassificationPipeline
from .feature_extraction import EcgFeatureExtractionPipeline
from .recordings import LongRecording, open_recording
from .streaming import StreamedWindow, stream_windows
from .summary import LabelSummary, StreamSummary, summarize
from .table_files import WrittenTable

__all__ = [
    "AnomalySummary",
    "EcgAnomalyDetectionPipeline",
    "EcgClassificationPipeline",
    "EcgFeatureExtractionPipeline",
    "LabelSummary",
    "LongRecording",
    "StreamSummary",
    "StreamedWindow",
    "WrittenTable",
    "open_recording",
    "register",
    "stream_windows",
    "summarize",
    "summarize_beats",
]


def register() -> None:
    """Register the tasks with `transformers.pipeline`; repeated registration has no effect."""
    from transformers import AutoModel
    from transformers.pipelines import PIPELINE_REGISTRY

    for task, pipeline_class, auto_class in (
        ("ecg-classification", EcgClassificationPipeline, ClassifierLoader),
        ("ecg-feature-extraction", EcgFeatureExtractionPipeline, AutoModel),
        ("ecg-anomaly-detection", EcgAnomalyDetectionPipeline, AnomalyLoader),
    ):
        if task not in PIPELINE_REGISTRY.supported_tasks:
            PIPELINE_REGISTRY.register_pipeline(task, pipeline_class=pipeline_class, pt_model=auto_class, type="audio")
