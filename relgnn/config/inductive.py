"""Configuration of link prediction between entities that training never saw."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from relgnn.config.base import Count, Fraction, OtherDataConfig, Rate, RunConfig, Section


class TextsConfig(Section):
    """Which texts are read, and by which language model."""

    model: str = Field("minilm", description="'minilm' (packaged) or a Hugging Face name or path")
    max_tokens: Count = Field(128, description="longer texts are cut")
    relations: bool = Field(
        False,
        description="relations are known by their texts alone, so that new ones can be asked; "
        "false: each is learned by itself",
    )
    nodes: bool = Field(False, description="a score reads the texts of head and answer")

    @model_validator(mode="after")
    def _reads_something(self) -> TextsConfig:
        if not (self.relations or self.nodes):
            raise ValueError("reads neither relations nor nodes; set one of them, or drop the key")
        return self


class InductiveSettings(Section):
    """What is learned on one graph and asked of another."""

    method: Literal["paths", "pagerank"] = Field(
        "paths",
        description="paths: the query-conditioned encoder; pagerank: nearness alone, blind to "
        "relations, nothing trained",
    )
    dim: Count = Field(64, description="size of a node's state")
    layers: Count = Field(4, description="the longest path")
    nodes: Count = Field(100, description="nodes that send in a step of a query, the best first")
    edges: Count = Field(1000, description="messages of a step after which no further node sends")
    negatives: Count = Field(32, description="nodes drawn as wrong answers of each true one")
    drop_between: bool = Field(
        False,
        description="a step leaves out all edges between the ends of its targets, not the targets' "
        "own alone; for data whose valid and test pairs are never joined by a given triple",
    )
    asked: str | None = Field(
        None,
        description="the graph that is asked, a name or folder; null: that of data with _ind at "
        "its end",
    )
    epochs: Count = Field(10, description="passes over the training triples, both ways, at most")
    batch_size: Count = Field(32, description="queries of a step")
    lr: Rate = Field(0.005, description="Adam's learning rate")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "constant", description="what becomes of the rate over all epochs"
    )
    patience: Count | None = Field(
        3, description="epochs without gain on valid before stopping; null: all epochs"
    )
    restart: Fraction = Field(0.15, description="chance that pagerank's walker returns to the head")


class InductiveConfig(RunConfig):
    """A run that trains on `data` and is tested on another graph, of entities never seen.

    That graph has the same relations, unless they are known by their texts.
    """

    data: OtherDataConfig = Field(description="the data set")
    inductive: InductiveSettings = Field(description="what is learned")
    text: TextsConfig | None = Field(None, description="texts that are read; null: none")

    @model_validator(mode="after")
    def _pagerank_reads_nothing(self) -> InductiveConfig:
        if self.text is not None and self.inductive.method == "pagerank":
            raise ValueError("inductive.method pagerank reads no texts; drop the key text")
        return self
