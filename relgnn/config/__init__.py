"""Typed configuration: one documented default per knob, and an unknown key is an error.

A configuration is one YAML file. `load_config` reads it, applies `key.sub=value` overrides and
turns every mistake into one line that names the key, the value and what was expected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from relgnn.config.base import RunConfig, RuntimeConfig
from relgnn.config.biencoder import (
    BiEncoderConfig,
    CrossEncoderConfig,
    EnsembleConfig,
    RerankConfig,
)
from relgnn.config.defence import DefenceConfig
from relgnn.config.document import DocumentConfig
from relgnn.config.efficient import EfficientConfig
from relgnn.config.errors import explain, one_line
from relgnn.config.generative import GenerativeConfig
from relgnn.config.graph import Config, LoopConfig, Pooling, TrainConfig
from relgnn.config.inductive import InductiveConfig
from relgnn.config.joint import JointConfig
from relgnn.config.ogb import AutoencoderConfig, NodeConfig, PairConfig, TripleConfig
from relgnn.config.pretraining import PretrainingConfig
from relgnn.config.relations import (
    FewShotConfig,
    Marking,
    PretrainingRunConfig,
    RelationConfig,
    TuningConfig,
)
from relgnn.config.rules import MiningConfig, RulesConfig
from relgnn.config.semi import SemiConfig
from relgnn.config.signals import MemoryConfig
from relgnn.config.tracking import TrackingConfig
from relgnn.config.tree import parse, tree_of
from relgnn.errors import InputError

Run = TypeVar("Run", bound=RunConfig)

__all__ = [
    "AnyConfig", "AnyOgbConfig", "AnyScoreConfig", "AnyTextConfig", "AutoencoderConfig",
    "BiEncoderConfig", "Config", "CrossEncoderConfig", "DefenceConfig", "DocumentConfig",
    "EfficientConfig", "EnsembleConfig", "FewShotConfig", "GenerativeConfig", "InductiveConfig",
    "JointConfig", "LoopConfig", "Marking", "MemoryConfig", "MiningConfig", "NodeConfig",
    "PairConfig", "Pooling", "PretrainingConfig", "PretrainingRunConfig", "RelationConfig",
    "RerankConfig", "RulesConfig", "RunConfig", "RuntimeConfig", "SemiConfig", "TrackingConfig",
    "TrainConfig", "TripleConfig", "TuningConfig", "config_of_run", "known_keys", "load_config",
    "load_run_config", "make_config",
]  # fmt: skip

AnyTextConfig = (
    RelationConfig
    | FewShotConfig
    | GenerativeConfig
    | JointConfig
    | DocumentConfig
    | PretrainingRunConfig
)
AnyScoreConfig = BiEncoderConfig | CrossEncoderConfig | EnsembleConfig | RerankConfig
AnyOgbConfig = PairConfig | AutoencoderConfig | NodeConfig | TripleConfig
AnyConfig = Config | InductiveConfig | RulesConfig | AnyScoreConfig | AnyOgbConfig | AnyTextConfig

# the section that makes a configuration one of another kind; of several the first one
_KINDS: dict[
    str, type[InductiveConfig | RulesConfig | AnyScoreConfig | AnyOgbConfig | AnyTextConfig]
] = {
    "extraction": RelationConfig, "few_shot": FewShotConfig, "joint": JointConfig,
    "document": DocumentConfig, "generative": GenerativeConfig, "pretraining": PretrainingRunConfig,
    "rules": RulesConfig, "inductive": InductiveConfig, "biencoder": BiEncoderConfig,
    "crossencoder": CrossEncoderConfig, "ensemble": EnsembleConfig, "rerank": RerankConfig,
    "pairs": PairConfig, "autoencoder": AutoencoderConfig, "nodes": NodeConfig,
    "triples": TripleConfig,
}  # fmt: skip

_TOLD_APART: dict[type[RunConfig], str] = {
    PretrainingRunConfig: "pre-training", RulesConfig: "rule mining",
    InductiveConfig: "inductive link prediction", BiEncoderConfig: "a bi-encoder",
    CrossEncoderConfig: "a cross-encoder",
    EnsembleConfig: "an ensemble", RerankConfig: "re-ranking",
    PairConfig: "a data set of OGB", AutoencoderConfig: "a data set of OGB",
    NodeConfig: "a data set of OGB",
    TripleConfig: "a data set of OGB",
}  # fmt: skip


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration of link prediction; see `load_run_config`.

    Raises:
        InputError: also where it is one of another kind.
    """
    found = load_run_config(path, overrides)
    if not isinstance(found, Config):
        kind = _TOLD_APART.get(type(found), "relation extraction")
        raise InputError(
            f"{path}: is a run of {kind}, expected link prediction; give another configuration"
        )
    return found


def load_run_config(path: str | Path, overrides: Sequence[str] = ()) -> AnyConfig:
    """Read a configuration file.

    Args:
        path: a YAML file.
        overrides: `key.sub=value` strings, values in YAML; later ones win.

    Returns:
        The checked configuration; of which kind, its sections say: `extraction:`, `few_shot:`,
        `joint:`, `document:`, `generative:`, `pretraining:`, `rules:`, `inductive:`,
        `biencoder:`, `crossencoder:`, `ensemble:`, `rerank:`, `pairs:`, `nodes:`, `triples:`, or
        none of them for link prediction.

    Raises:
        InputError: the file cannot be read or is not YAML, a key is unknown, a value is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such configuration file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot read the configuration ({one_line(error)}); give a UTF-8 YAML file"
        ) from None
    tree, places = tree_of(parse(text, str(path)), overrides, str(path))
    for section, kind in _KINDS.items():
        if section in tree:
            return _checked(kind, tree, places, str(path))
    return _checked(Config, tree, places, str(path))


def config_of_run(folder: Path) -> AnyConfig | None:
    """The configuration in a run folder, of whichever kind; None where there is none.

    Raises:
        InputError: there is one, and it cannot be read or is wrong.
    """
    path = folder / "config.yaml"
    return load_run_config(path) if path.is_file() else None


def make_config(
    content: Any, overrides: Sequence[str] = (), origin: str = "configuration"
) -> Config:
    """Check a configuration of link prediction that was read or built elsewhere.

    Args:
        content: a mapping of sections.
        overrides: `key.sub=value` strings, values in YAML; later ones win.
        origin: what errors name as the place of a mistake.

    Raises:
        InputError: a key is unknown or a value is wrong.
    """
    return _checked(Config, *tree_of(content, overrides, origin), origin)


def _checked(
    kind: type[Run], tree: Mapping[str, Any], places: Mapping[str, str], origin: str
) -> Run:
    try:
        # from JSON, because strict mode then takes texts as paths and mappings as sections
        return kind.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise InputError(explain(error, origin, places, list(known_keys(kind)))) from None


def known_keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every key that a configuration may have, dotted, sections before what they hold."""
    for name, field in model.model_fields.items():
        yield prefix + name
        section = _section_of(field.annotation)
        if section is not None:
            yield from known_keys(section, f"{prefix}{name}.")


def _section_of(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
