"""Configuration of runs on the Open Graph Benchmark."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from relgnn.config.base import (
    Count,
    Dropout,
    OtherDataConfig,
    Rate,
    RunConfig,
    Section,
    Weight,
)
from relgnn.config.graph import DecoderConfig, GnnConfig, TrainConfig, require_context


class OgbFitting(Section):
    """How a model of a data set of OGB is trained; valid selects the epoch."""

    dim: Count = Field(256, description="size of a node's vector")
    steps: int = Field(2, ge=0, description="steps of propagation")
    dropout: Dropout = Field(0.3, description="share dropped of nodes' vectors in training")
    epochs: Count = Field(100, description="passes over what is trained on at most")
    lr: Rate = Field(0.001, description="Adam's learning rate")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "linear", description="learning rate after the warm-up"
    )
    warmup: Dropout = Field(0.0, description="share of all steps over which the rate rises")
    clip: Weight = Field(1.0, description="largest gradient norm; 0: no clipping")
    eval_every: Count = Field(5, description="epochs between evaluations on valid")
    patience: Count | None = Field(
        None, description="evaluations on valid without gain before stopping; null: all epochs"
    )


class PairSettings(OgbFitting):
    """What predicts edges of one kind."""

    benchmark: Literal["ogbl-ddi", "ogbl-collab", "ogbl-citation2"] = Field(
        description="OGB's name of the data set, whose evaluator measures"
    )
    embedding: bool = Field(
        True, description="every node has a learned vector; false: its given features alone"
    )
    decoder_layers: int = Field(
        2, ge=0, description="hidden layers on the product of two nodes' vectors"
    )
    decoder_dropout: Dropout = Field(
        0.0, description="share dropped of each hidden layer, pair by pair, in training"
    )
    loss: Literal["bce", "auc"] = Field(
        "bce",
        description="bce: each pair by itself; auc: an edge one above each pair drawn for it",
    )
    negatives: Count = Field(1, description="pairs without an edge that are drawn for each edge")
    batch_size: Count = Field(65536, description="edges of a step, left out of its graph")
    fan_out: tuple[Count, ...] | None = Field(
        None,
        description="for each step of propagation, messages drawn into a node in a training step; "
        "null: all of the graph",
    )

    selected_among: Count | None = Field(
        None,
        description="pairs of valid, evenly spread, that select the epoch where each has its own "
        "negatives; null: all of them",
    )

    @model_validator(mode="after")
    def _fan_out_fits(self) -> PairSettings:
        if self.fan_out is not None and len(self.fan_out) != self.steps:
            raise ValueError(
                f"fan_out has {len(self.fan_out)} numbers for steps={self.steps}; give one for each"
            )
        return self


class AutoencoderSettings(Section):
    """A linear autoencoder in closed form; of several values valid chooses."""

    benchmark: Literal["ogbl-ddi"] = Field(
        description="OGB's name of the data set, whose evaluator measures"
    )
    damping: tuple[Weight, ...] = Field(
        (0.3, 0.4, 0.5), min_length=1, description="power of both degrees an edge is divided by"
    )
    shrinkage: tuple[Rate, ...] = Field(
        (0.5, 1.0, 2.0),
        min_length=1,
        description="weight of the squared weights, in mean squared lengths of a row",
    )
    restored: tuple[Weight, ...] = Field(
        (0.75, 1.0), min_length=1, description="share of the damping that is given back to a score"
    )


class NodeSettings(OgbFitting):
    """What tells the classes of nodes."""

    benchmark: Literal["ogbn-arxiv"] = Field(
        description="OGB's name of the data set, whose evaluator measures"
    )


class TripleSettings(Section):
    """Which knowledge graph; sections gnn, decoder and train say how."""

    benchmark: Literal["ogbl-biokg", "ogbl-wikikg2"] = Field(
        description="OGB's name of the data set, whose evaluator measures"
    )
    selected_among: Count | None = Field(
        10000, description="triples of valid, evenly spread, that select the epoch; null: all"
    )


class OgbConfig(RunConfig):
    """What every run on OGB has."""

    data: OtherDataConfig = Field(description="the data set")

    @model_validator(mode="after")
    def _all_is_given(self) -> OgbConfig:
        if self.data.fraction < 1:
            raise ValueError("OGB's splits are given whole; drop data.fraction")
        return self


class PairConfig(OgbConfig):
    """A run on edges of one kind."""

    pairs: PairSettings = Field(description="what is learned")

    @property
    def benchmark(self) -> str:
        """OGB's name of the data set."""
        return self.pairs.benchmark


class AutoencoderConfig(OgbConfig):
    """A run of a linear autoencoder of edges."""

    autoencoder: AutoencoderSettings = Field(description="what is solved")

    @property
    def benchmark(self) -> str:
        """OGB's name of the data set."""
        return self.autoencoder.benchmark


class NodeConfig(OgbConfig):
    """A run on nodes with classes."""

    nodes: NodeSettings = Field(description="what is learned")

    @property
    def benchmark(self) -> str:
        """OGB's name of the data set."""
        return self.nodes.benchmark


class TripleConfig(OgbConfig):
    """A run on a knowledge graph of OGB, ranked among OGB's own negatives."""

    triples: TripleSettings = Field(description="the data set")
    gnn: GnnConfig = Field(default_factory=GnnConfig, description="the graph encoder")
    decoder: DecoderConfig = Field(default_factory=DecoderConfig, description="the decoder")
    train: TrainConfig = Field(default_factory=TrainConfig, description="training")

    @property
    def benchmark(self) -> str:
        """OGB's name of the data set."""
        return self.triples.benchmark

    @property
    def one_weight_decay(self) -> float:
        """The weight decay, of which there is one alone."""
        assert not isinstance(self.train.weight_decay, tuple)
        return self.train.weight_decay

    @model_validator(mode="after")
    def _fits(self) -> TripleConfig:
        require_context(self.gnn, self.train)
        if isinstance(self.train.weight_decay, tuple):
            raise ValueError("train.weight_decay has several numbers; give one")
        if self.train.loss in ("cross_entropy", "bce"):
            raise ValueError(
                f"train.loss={self.train.loss} scores all entities, which here are many; set "
                "train.loss=self_adversarial or margin"
            )
        return self
