"""Signal contract of the toy SimCLR."""

from ecg_transformers.features.extractor import EcgFeatureExtractor


class ToySimclrFeatureExtractor(EcgFeatureExtractor):
    """The general contract; rate, leads and window are set to the backbone's."""
