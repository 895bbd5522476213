"""Configuration of link predictors that compare texts, and of what joins them with others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from relgnn.config.base import Count, Dropout, Rate, RunConfig, Section, Weight
from relgnn.config.efficient import EfficientConfig


class DistilConfig(Section):
    """Another link predictor that teaches the bi-encoder."""

    run: str = Field(description="a row of the same table and seed, or a run folder")
    weight: Weight = Field(1.0, description="of the divergence from the teacher's answers")
    temperature: Rate = Field(1.0, description="divides the teacher's scores; above 1: softer")


class BiEncoderTextConfig(Section):
    """The language model, and what it reads of a query and of an entity."""

    model: str = Field("minilm", description="'minilm' (packaged) or a Hugging Face name or path")
    max_tokens: Count = Field(40, description="of an entity's own text; longer ones are cut")
    neighbours: int = Field(
        0, ge=0, description="names of the head's neighbours in a query, those of fewest triples"
    )


class EncoderTuning(Section):
    """How a language model that reads texts of links is tuned."""

    epochs: Count = Field(10, description="passes over what is learned from, at most")
    checkpointing: bool = Field(
        False, description="keep each layer's input alone and compute the rest again: less memory"
    )
    lr: Rate = Field(1e-4, description="peak learning rate")
    weight_decay: Weight = Field(1e-4, description="decoupled weight decay")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "linear", description="learning rate after the warm-up"
    )
    warmup: Dropout = Field(0.05, description="share of all steps over which the rate rises")
    clip: Weight = Field(10.0, description="largest gradient norm; 0: no clipping")
    dropout: Dropout = Field(0.1, description="of the language model")
    patience: Count | None = Field(
        3, description="evaluations on valid without gain before stopping; null: all epochs"
    )
    eval_every: Count = Field(1, description="epochs between evaluations on valid")


class BiEncoderSettings(EncoderTuning):
    """How two encoders learn to bring a query near to its answer."""

    layers: Count | None = Field(
        None,
        description="top layers that are tuned: those below read each text once, and a query is "
        "put together of what they say of its parts; null: all layers",
    )
    efficient: EfficientConfig | None = Field(
        None, description="tunes few parameters in place of the model's own; null: its own"
    )
    batch_size: Count = Field(128, description="triples of a step, each asked for both ways")
    temperature: float = Field(
        0.05, ge=0.01, description="divides cosines at first; it is learned, never below 0.01"
    )
    margin: Weight = Field(0.02, description="taken from an answer's cosine in training")
    self_negatives: bool = Field(True, description="the head is a wrong answer of its query")
    queue: int = Field(0, ge=0, description="vectors of former batches that are wrong answers too")
    momentum: Dropout = Field(
        0.0, description="of the encoder that fills the queue; 0: the trained one itself fills it"
    )
    neighbourhood: Weight = Field(
        0.0, description="added to the cosine of a candidate that is near the head; 0: nothing"
    )
    hops: Count = Field(2, description="given triples between head and candidate that are near")
    distil: DistilConfig | None = Field(
        None, description="another link predictor teaches this one; null: none does"
    )

    @model_validator(mode="after")
    def _fits(self) -> BiEncoderSettings:
        if self.efficient is not None and self.layers is not None:
            raise ValueError("tunes either upper layers or efficient's parameters; drop one key")
        if self.efficient is not None and self.efficient.method in ("adalora", "prefix"):
            raise ValueError(
                f"cannot be tuned by {self.efficient.method}; take efficient.method lora, ia3 or "
                "adapter"
            )
        if self.efficient is not None and self.efficient.save == "merged":
            raise ValueError("keeps what was tuned beside the model; set efficient.save=adapter")
        if self.momentum and not self.queue:
            raise ValueError("has a momentum and no queue to fill; set queue, or momentum to 0")
        return self


class BiEncoderConfig(RunConfig):
    """A run that compares the text of a query with the texts of all entities."""

    text: BiEncoderTextConfig = Field(
        default_factory=BiEncoderTextConfig, description="the language model"
    )
    biencoder: BiEncoderSettings = Field(description="how it is tuned")


class CrossEncoderSettings(EncoderTuning):
    """How an encoder that reads a query and a candidate together learns to tell the answer."""

    of: str = Field(
        description="the run whose best candidates are read: a row of the same table and seed, or "
        "a run folder"
    )
    top: int = Field(50, ge=2, description="candidates of a query that are read and ranked anew")
    negatives: Count = Field(7, description="wrong candidates beside each answer in training")
    queries: Count | None = Field(
        16384, description="queries of an epoch, drawn anew for each; null: all, both ways"
    )
    valid_triples: Count | None = Field(
        500, description="valid triples that select the epoch, drawn; null: all"
    )
    epochs: Count = Field(3, description="passes over so many queries, at most")
    batch_size: Count = Field(16, description="queries of a step")
    lr: Rate = Field(5e-5, description="peak learning rate")
    warmup: Dropout = Field(0.1, description="share of all steps over which the rate rises")


class CrossEncoderConfig(RunConfig):
    """A run that reads the best candidates of another run, each together with its query."""

    text: BiEncoderTextConfig = Field(
        default_factory=BiEncoderTextConfig, description="the language model"
    )
    crossencoder: CrossEncoderSettings = Field(description="how it is tuned, and what it reads")


class EnsembleSettings(Section):
    """Which link predictors are added up, and how valid weighs them."""

    of: list[str] = Field(
        min_length=2, description="rows of the same table and seed, or run folders"
    )
    steps: Count = Field(20, description="weights are multiples of 1 / steps and sum to 1")
    by_relation: bool = Field(
        True, description="weights are each directed relation's own, shrunk to those of all"
    )


class EnsembleConfig(RunConfig):
    """A run that adds up the scores of finished runs of link prediction; nothing is trained."""

    ensemble: EnsembleSettings = Field(description="what is added up")


class RerankSettings(Section):
    """How the best candidates of another run are put into a new order."""

    of: str = Field(description="the run whose best candidates are ranked: a row, or a folder")
    views: list[str] = Field(
        default_factory=list,
        description="further runs whose scores are features; those of an ensemble always are",
    )
    read: str | None = Field(
        None,
        description="a loop, a row or a folder: what it read of candidates in texts is a feature; "
        "null: nothing is read",
    )
    top: int = Field(50, ge=2, description="candidates of a query that are ranked anew")
    hidden: tuple[Count, ...] = Field(
        (16, 64), description="hidden units of the networks that valid chooses among"
    )
    epochs: Count = Field(60, description="passes over the queries that are learned from, at most")
    patience: Count = Field(10, description="epochs without gain before stopping")
    lr: Rate = Field(0.003, description="Adam's learning rate")
    weight_decay: Weight = Field(0.01, description="decoupled weight decay")
    batch_size: Count = Field(128, description="queries of a step")
    dropout: Dropout = Field(0.2, description="of hidden units")


class RerankConfig(RunConfig):
    """A run that learns from half of valid how to put another run's best candidates in order."""

    rerank: RerankSettings = Field(description="how they are ordered")
