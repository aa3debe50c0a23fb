"""Consistency of config and feature extractor, which both describe the input of a model."""

from collections.abc import Mapping

from ..errors import CheckpointError

__all__ = ["CONTRACT_FIELDS", "check_contract"]

# The config repeats these facts of the preprocessing because shapes, or what is learned, depend on them.
CONTRACT_FIELDS = ("sampling_rate", "lead_names", "window_size", "patch_size", "samples_before", "reference")


def check_contract(config: object, extractor: object) -> None:
    """Check that config and feature extractor agree on the signal.

    Args:
        config: A config, or the dictionary of `config.json`.
        extractor: A feature extractor, or the dictionary of `preprocessor_config.json`.

    Raises:
        CheckpointError: If sampling rate, lead names, window, patch size, place of the R peak or reference differ; the
            message has both values.
    """
    for field in CONTRACT_FIELDS:
        ours, theirs = _value(config, field), _value(extractor, field)
        if ours is not None and theirs is not None and ours != theirs:
            raise CheckpointError(
                f"{field} is {ours} in config.json but {theirs} in preprocessor_config.json; both must describe the "
                "same input. Set one value for both, or use the files that were saved together."
            )


def _value(holder: object, field: str) -> object:
    value = holder.get(field) if isinstance(holder, Mapping) else getattr(holder, field, None)
    return list(value) if isinstance(value, list | tuple) else value
