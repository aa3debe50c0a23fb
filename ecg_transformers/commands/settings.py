"""From a YAML file, a command line and perhaps a checkpoint to everything a pretraining run is made of."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

import torch
from transformers import AutoConfig, AutoModel, AutoModelForPreTraining, PreTrainedConfig
from transformers.utils import logging

from ..auto import ARCHITECTURES, Architecture
from ..backbone import EcgBackboneConfig
from ..configuration import LABEL_FIELDS, EcgConfig
from ..errors import ArgumentsError, CheckpointError, EcgError, check_names
from ..evaluation.classifier import load_encoder
from ..features.agreement import CONTRACT_FIELDS, check_contract
from ..inference.loading import checkpoint_errors, quiet_loading
from ..trainer.arguments import EcgTrainingArguments
from ..trainer.run_record import portable_path
from .command_line import convert, field_types, parse_command_line, read_yaml, with_negations
from .pretraining_options import PretrainingArguments

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgPreTrainedModel

__all__ = [
    "RunSettings",
    "architecture_of",
    "architecture_owners",
    "build_model",
    "config_and_extractor",
    "read_settings",
    "setting_names",
]

logger = logging.get_logger(__name__)


@dataclass
class RunSettings:
    """Everything that was set for a run.

    Args:
        run: Data, limits and probe.
        training: Arguments of the Trainer.
        config: Configuration of the model.
        extractor: Feature extractor.
        config_file: The YAML file, as records name it.
        values: All names that were set, converted, command line over YAML.
        full_run: `max_steps` and `num_train_epochs` of the YAML, if the command line cut the run short.
        of_the_file: Names that the YAML file alone sets.
    """

    run: PretrainingArguments
    training: EcgTrainingArguments
    config: PreTrainedConfig
    extractor: "EcgFeatureExtractor"
    config_file: str | None
    values: dict[str, Any]
    full_run: dict[str, Any]
    of_the_file: frozenset[str] = frozenset()


def read_settings(argv: Sequence[str]) -> RunSettings:
    """Read `CONFIG.yaml --name value ...`.

    Every name is a field of the model's config, of the feature extractor, of `EcgTrainingArguments` or of
    `PretrainingArguments`. The command line wins over the YAML file. With `--model`, the checkpoint's config and
    feature extractor win over the YAML file: they belong to its weights. A published encoder is the start of the
    backbone where the YAML file names a method that pretrains any encoder.

    Args:
        argv: The command line without the program's name.

    Raises:
        ArgumentsError: For an unknown name, a value of the wrong type, a missing setting, or an architecture without
            pretraining.
    """
    positional, options = parse_command_line(argv)
    if len(positional) != 1:
        raise ArgumentsError(
            f"Expected one configuration file, found {len(positional)} ({' '.join(positional) or 'none'}). "
            "Example: pretrain.py training/configs/mae_moco_tiny.yaml --corpus DIR --output_dir DIR"
        )
    from_file = read_yaml(positional[0])
    checkpoint = options.get("model", from_file.get("model"))
    base = None
    if checkpoint is not None:
        with checkpoint_errors(checkpoint):
            base = AutoConfig.from_pretrained(checkpoint)
    architecture = architecture_of(options.get("model_type", from_file.get("model_type")), base)
    if "pretraining" not in architecture.heads:
        able = ", ".join(name for name, other in ARCHITECTURES.items() if "pretraining" in other.heads)
        raise ArgumentsError(
            f"{architecture.model_type} is a supervised network without an objective of pretraining; expected one of "
            f"{able}. Train it on labels: finetune.py CONFIG.yaml --corpus DIR --labels SET --output_dir DIR. Or "
            "pretrain on from it: --model CHECKPOINT with the configuration of a method for any encoder (simclr, ...)."
        )
    given = _backbone_of(base, architecture) if base is not None else {**from_file, **options}.get("backbone_config")
    backbone = convert("backbone_config", given, dict) if isinstance(given, str) else given
    owners = {
        "run": field_types(PretrainingArguments),
        "training": field_types(EcgTrainingArguments),
        **architecture_owners(architecture, backbone),
    }
    known = {name: kind for kinds in reversed(owners.values()) for name, kind in kinds.items()}
    options = with_negations(options, known)
    check_names(from_file, known, where=positional[0])
    check_names(options, known, where="the command line")
    from_file = {name: convert(name, value, known[name]) for name, value in from_file.items()}
    options = {name: convert(name, value, known[name]) for name, value in options.items()}
    values = {**from_file, **options}

    if checkpoint is None:
        config, extractor = config_and_extractor(architecture, values)
    else:
        assert base is not None
        if base.model_type == architecture.model_type:
            config = AutoConfig.from_pretrained(checkpoint, **_of(owners["config"], options))
        else:
            config = _config_on_backbone(architecture, base, from_file, _of(owners["config"], options))
        with checkpoint_errors(checkpoint):
            extractor = architecture.feature_extractor.from_pretrained(checkpoint, **_of(owners["extractor"], options))
        _note_what_the_checkpoint_decides(from_file, options, owners, config, extractor)
        check_contract(config, extractor)
    run, training = _dataclasses(owners, values)
    full_run = {
        name: from_file.get(name, default)
        for name, default in (("max_steps", -1), ("num_train_epochs", training.num_train_epochs))
    }
    of_the_file = frozenset(from_file.keys() - options.keys())
    return RunSettings(run, training, config, extractor, portable_path(positional[0]), values, full_run, of_the_file)


def setting_names(argv: Sequence[str]) -> set[str]:
    """Names that `read_settings` takes for a command line, without those of an architecture that it does not name.

    Args:
        argv: The command line without the program's name.
    """
    names = {*field_types(PretrainingArguments), *field_types(EcgTrainingArguments)}
    try:
        positional, options = parse_command_line(argv)
        values = read_yaml(positional[0]) if positional else {}
        architecture = architecture_of(options.get("model_type", values.get("model_type")))
        return names.union(*architecture_owners(architecture, values.get("backbone_config")).values())
    except EcgError:
        return names


def architecture_of(model_type: str | None, base: PreTrainedConfig | None = None) -> Architecture:
    """The row of the table.

    Args:
        model_type: Its name; the default of `PretrainingArguments` if not given.
        base: Configuration of a checkpoint, which decides, unless it is an encoder and the name a method that pretrains
            any encoder.

    Raises:
        ArgumentsError: For an unknown name.
    """
    method = ARCHITECTURES.get(model_type or "")
    any_encoder = method is not None and issubclass(method.config, EcgBackboneConfig)
    if base is not None and not (any_encoder and isinstance(base, EcgConfig)):
        if model_type is not None and model_type != base.model_type:
            logger.warning(f"the checkpoint is a {base.model_type}; model_type {model_type!r} of the YAML is not used.")
        model_type = base.model_type
    model_type = model_type or PretrainingArguments.model_type
    if model_type not in ARCHITECTURES:
        raise ArgumentsError(f"model_type is {model_type!r}; expected one of {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[model_type]


def architecture_owners(architecture: Architecture, backbone_config: Any = None) -> dict[str, dict[str, Any]]:
    """Return names and types of what its config (`"config"`) and its feature extractor (`"extractor"`) take.

    Args:
        architecture: The row of the table.
        backbone_config: Backbone of a family that pretrains any encoder; its fields are among those of the config.
    """
    kinds = [architecture.config]
    if issubclass(architecture.config, EcgBackboneConfig):
        kinds.insert(0, architecture.config.read_backbone(backbone_config)[0])
    config_types = {name: kind for owner in kinds for name, kind in field_types(owner).items()}
    return {
        "config": {name: config_types[name] for name in config_types.keys() - field_types(PreTrainedConfig).keys()},
        "extractor": _constructor_types(architecture.feature_extractor),
    }


def _constructor_types(kind: type) -> dict[str, Any]:
    """Names and types of a constructor's arguments, those of the base classes it passes on to included."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if "__init__" in vars(base) and base.__module__.startswith(__package__.split(".")[0]):
            constructor = vars(base)["__init__"]
            hints = get_type_hints(constructor)
            for name, parameter in inspect.signature(constructor).parameters.items():
                if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                    found[name] = hints.get(name, Any)
    return found


def _of(owner: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in owner}


def config_and_extractor(
    architecture: Architecture, values: dict[str, Any]
) -> tuple[PreTrainedConfig, "EcgFeatureExtractor"]:
    """A new config and feature extractor from settings, the facts that both hold being the same.

    Args:
        architecture: The row of the table.
        values: Settings by name; those of neither are ignored.

    Raises:
        CheckpointError: The two contradict each other.
    """
    owners = architecture_owners(architecture, values.get("backbone_config"))
    config = architecture.config(**_of(owners["config"], values))
    names = owners["extractor"]
    shared = {name: getattr(config, name) for name in CONTRACT_FIELDS if name in names and hasattr(config, name)}
    extractor = architecture.feature_extractor(**{**shared, **_of(names, values)})
    check_contract(config, extractor)
    return config, extractor


def _backbone_of(base: PreTrainedConfig, architecture: Architecture) -> Any:
    """The backbone in the config of a checkpoint; an encoder's own config where it is to be the backbone."""
    return getattr(base, "backbone_config", base if base.model_type != architecture.model_type else None)


def _config_on_backbone(
    architecture: Architecture, encoder: PreTrainedConfig, from_file: dict[str, Any], options: dict[str, Any]
) -> PreTrainedConfig:
    """Config of a method from a YAML file and a command line, its backbone that of a published encoder.

    Raises:
        ArgumentsError: The YAML file has a backbone of another family.
    """
    asked = encoder.model_type
    if "backbone_config" in from_file:
        asked = architecture.config.read_backbone(from_file["backbone_config"])[0].model_type
    if asked != encoder.model_type:
        raise ArgumentsError(
            f"the checkpoint is a {encoder.model_type}, but the configuration pretrains a {asked} "
            f"(backbone_config). Choose a checkpoint of a {asked}, or a configuration for a "
            f"{encoder.model_type}."
        )
    # Labels of a classifier are no part of the encoder.
    kept = encoder.own_fields() - {*LABEL_FIELDS}
    backbone = {name: getattr(encoder, name) for name in kept} | {"model_type": encoder.model_type}
    own = {**_of(field_types(architecture.config), from_file), **options, "backbone_config": backbone}
    return architecture.config(**own)


def _note_what_the_checkpoint_decides(
    from_file: dict[str, Any],
    options: dict[str, Any],
    owners: dict[str, dict[str, Any]],
    config: PreTrainedConfig,
    extractor: "EcgFeatureExtractor",
) -> None:
    """Say which settings of the YAML are not used because they belong to the checkpoint's weights."""
    asked = {name: value for name, value in from_file.items() if name not in options}
    # Fields of the backbone are read through the config.
    asked = {**(asked.pop("backbone_config", None) or {}), **asked}
    different = []
    for name, value in asked.items():
        for owner, holder in (("config", config), ("extractor", extractor)):
            if name in owners[owner] and getattr(holder, name, value) != value:
                different.append(f"{name} {getattr(holder, name)} (not {value})")
    if different:
        logger.warning(f"the checkpoint decides: {', '.join(dict.fromkeys(different))}. --name value would override.")


def _dataclasses(
    owners: dict[str, dict[str, Any]], values: dict[str, Any]
) -> tuple[PretrainingArguments, EcgTrainingArguments]:
    missing = [name for name in ("corpus", "output_dir") if not values.get(name)]
    if missing:
        raise ArgumentsError(f"{' and '.join(f'--{name} DIR' for name in missing)} must be given.")
    given = {name: value for name, value in values.items() if name in owners["run"] or name in owners["training"]}
    if given.get("early_stopping_patience") is not None:
        given.setdefault("metric_for_best_model", "loss")
    # Without an accelerator the Trainer takes bf16 only if `use_cpu` is set.
    given.setdefault("use_cpu", not torch.accelerator.is_available())
    if given.get("data_on_device"):
        # The batches are made on the device: nothing is left for workers to do or for pinned memory to speed up.
        given["dataloader_num_workers"] = 0
        given["dataloader_pin_memory"] = False
    try:
        run = PretrainingArguments(**_of(owners["run"], given))
        training = EcgTrainingArguments(**_of(owners["training"], given))
    except (ValueError, TypeError) as error:
        raise ArgumentsError(f"The Trainer refuses these settings: {error}") from error
    if run.early_stopping_patience is not None and training.eval_strategy == "no":
        raise ArgumentsError("early_stopping_patience needs evaluations: set eval_strategy to 'epoch' or 'steps'.")
    return run, training


def build_model(settings: RunSettings) -> "EcgPreTrainedModel":
    """Make the pretraining model: new from the config, or from `--model` with a new momentum encoder and queue.

    Raises:
        CheckpointError: If the checkpoint lacks tensors of the encoder.
    """
    options = {}
    if settings.run.attn_implementation is not None:
        options["attn_implementation"] = settings.run.attn_implementation
    if settings.run.model is None:
        return AutoModelForPreTraining.from_config(settings.config, **options)
    model_class: Any = ARCHITECTURES[settings.config.model_type].pretraining
    kept, initialized = _loaded(model_class, settings, **options)
    logger.warning(
        f"continuing from {settings.run.model}: its encoder is loaded"
        + (f"; newly initialized: {', '.join(initialized)}." if initialized else ".")
    )
    with quiet_loading():
        return model_class.from_pretrained(
            None, config=settings.config, state_dict=kept, dtype=torch.float32, **options
        )


def _loaded(model_class: Any, settings: RunSettings, **options: Any) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors of a pretraining model that the checkpoint of `--model` decides, and its newly initialized parts.

    What is not trained by gradients (momentum encoder, queue) is reinitialized: without these tensors, the model's own
    initialization copies the loaded encoder into its momentum encoder and fills the queue as at the start of a run.
    """
    checkpoint = str(settings.run.model)
    config, stored = copy.deepcopy(settings.config), AutoConfig.from_pretrained(checkpoint)
    if stored.model_type != config.model_type:
        encoder = load_encoder(AutoModel, checkpoint, config.backbone_config, **options)
        place = f"{model_class.base_model_prefix}.backbone"
        with torch.device("meta"):
            parts = [name for name, child in model_class(config).named_children() if child.state_dict()]
        kept = {f"{place}.{name}": tensor for name, tensor in encoder.state_dict().items()}
        return kept, [name for name in parts if name != model_class.base_model_prefix]
    # The queue is reinitialized, so that its length need not be the checkpoint's.
    if "queue_size" in vars(stored):
        config.queue_size = stored.queue_size
    with quiet_loading(), checkpoint_errors(checkpoint):
        trained, report = model_class.from_pretrained(
            checkpoint, config=config, dtype=torch.float32, output_loading_info=True, **options
        )
    missing = sorted(report["missing_keys"])
    lacking = [name for name in missing if name.startswith(f"{trained.base_model_prefix}.")]
    if lacking:
        raise CheckpointError(f"{checkpoint} lacks {len(lacking)} tensors of the encoder, first {lacking[0]}.")
    fresh = [
        name
        for name, child in trained.named_children()
        if child.state_dict() and not any(parameter.requires_grad for parameter in child.parameters())
    ]
    absent = sorted({name.split(".")[0] for name in missing} - set(fresh))
    kept = {name: tensor for name, tensor in trained.state_dict().items() if name.split(".")[0] not in fresh}
    return kept, [*fresh, *(f"{name} (not in the checkpoint)" for name in absent)]
