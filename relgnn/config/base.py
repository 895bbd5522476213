"""What every kind of run is configured by: data, runtime, budget, and the hash of the rest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from relgnn.config.tree import written

Fraction = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

# what decides where and how fast a run goes, or describes it, but not what it computes
NOT_HASHED = ("runtime", "tracking", "source", "expected", "budget")


# keys younger than some recorded results: at these values a run computes what it did without them,
# so that they do not change its hash
YOUNGER: dict[str, Any] = {
    "text.weights": "full",
    "continued": [], "data.negatives": None,
    "loop.rules": None, "loop.weighing": "fused",
    "gnn.decomposition": "basis", "gnn.alpha": True, "gnn.heads": 4, "gnn.fan_out": None,
    "gnn.evidence_mask": "edge",
    "semi": None,
    "extraction.loss": "cross_entropy", "extraction.multi_label": False, "extraction.attention": 0,
    "extraction.adversarial": None, "extraction.contrast": None, "extraction.mixup": 0.0,
    "extraction.debias": None, "extraction.fairness": None,
    "pretraining": None, "extraction.efficient": None,
    "text.device_map": None,
    "extraction.optimizer": "adamw", "extraction.accumulate": 1, "extraction.checkpointing": False,
    "extraction.averaging": 0.0, "extraction.ensemble": 1,
    "augmentation": None, "attack": None,
    "metric": None, "few_shot.description": 0.0,
    "train.adversarial": None, "train.contrast": None, "train.relation_prediction": 0.0,
    "loop.target_weighting": "posterior", "loop.target_floor": 0.0, "loop.context_weight": 1.0,
    "loop.pseudo_loss": "plain", "loop.gce_q": 0.7, "loop.bootstrap_beta": 0.95,
    "loop.consistency": None, "loop.coteaching": None, "loop.memory": None,
    "loop.polish_epochs": 0, "loop.polish_lr": 0.0003,
    "loop.label_frequency_by_relation": False, "loop.precision_start": 0.95,
    "loop.threshold": 0.95, "loop.voters": 2, "loop.delta": 0.1, "loop.bound": "binomial",
    "loop.cap": None,
    "loop.cross_fitted": True,
    "inductive.asked": None, "inductive.schedule": "constant", "text": None,
    "loop.coreference": False, "loop.pooling": "logsumexp",
    "loop.defence": None, "data.descriptions": "known",
    "rerank.read": None,
}  # fmt: skip


class Section(BaseModel):
    """Base of every section: immutable, strictly typed, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which knowledge graph, and how much of it is given."""

    name: str | None = Field(None, description="named data set (`relgnn data list`)")
    path: Path | None = Field(None, description="a user's own folder (`relgnn data check`)")
    fraction: Fraction = Field(1.0, description="share of train and valid that is given")
    split_seed: int = Field(0, ge=0, description="which frozen draw of the fraction")
    descriptions: Literal["known", "texts"] = Field(
        "known",
        description="of a knowledge graph's entities: known of them; or texts, each its entity's "
        "page, that are read as unlabelled and known of nobody (but for a page's first sentence, "
        "where text.node_features is node)",
    )

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if (self.name is None) == (self.path is None):
            raise ValueError("needs exactly one of data.name and data.path")
        return self


class OtherDataConfig(DataConfig):
    """The same for runs that give a model no text of entities to read as unlabelled."""

    @model_validator(mode="after")
    def _nothing_described(self) -> OtherDataConfig:
        if self.descriptions != "known":
            raise ValueError(
                "has descriptions=texts, which only link prediction within a graph reads; leave "
                "the key away"
            )
        return self


class RuntimeConfig(Section):
    """Where a run goes; not part of the configuration's hash."""

    seed: int = Field(0, ge=0, description="of every named random stream")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where it is")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: text is encoded in bf16 where native, training is fp32"
    )
    threads: Count | None = Field(None, description="null: as many as the libraries choose")
    backend: Literal["native", "pyg", "dgl"] = Field(
        "native", description="what sums over edges: own kernels, PyTorch Geometric or DGL"
    )
    deterministic: bool = Field(True, description="only operations that repeat bit by bit")


class BudgetConfig(Section):
    """What a run may cost."""

    hours: Rate = Field(description="wall-clock hours on the hardware of `source`")
    gpu: bool = Field(False, description="the hours are of a GPU; a processor would take days")


class RunConfig(Section):
    """What every kind of run has."""

    data: DataConfig = Field(description="the data set")
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig, description="where it runs")
    source: str | None = Field(None, description="where the expected figures are from")
    expected: dict[str, float] = Field(default_factory=dict, description="metric: figure")
    budget: BudgetConfig | None = Field(None, description="what the run may cost")

    def to_yaml(self) -> str:
        """The resolved configuration as YAML, which `load_config` reads back to an equal one."""
        return written(self.model_dump(mode="json"))

    def sha256(self) -> str:
        """Hash of what the run computes: canonical JSON without `NOT_HASHED` and idle `YOUNGER`."""
        content = self.model_dump(mode="json", exclude=set(NOT_HASHED))
        for path, idle in YOUNGER.items():
            *sections, key = path.split(".")
            place: Any = content
            for section in sections:
                place = place.get(section) or {}
            if key in place and place[key] == idle:
                del place[key]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
