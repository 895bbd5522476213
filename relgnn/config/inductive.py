"""Configuration of link prediction between entities that training never saw."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relgnn.config.base import Count, Fraction, Rate, RunConfig, Section


class InductiveSettings(Section):
    """What is learned on one graph and asked of another."""

    method: Literal["paths", "pagerank"] = Field(
        "paths",
        description="paths: the query-conditioned encoder; pagerank: nearness alone, blind to "
        "relations, nothing trained",
    )
    dim: Count = Field(32, description="size of a node's state")
    layers: Count = Field(4, description="the longest path")
    nodes: Count = Field(100, description="nodes that send in a step of a query, the best first")
    edges: Count = Field(1000, description="messages of a step after which no further node sends")
    negatives: Count = Field(32, description="nodes drawn as wrong answers of each true one")
    drop_between: bool = Field(
        True,
        description="a step leaves out all edges between the ends of its targets; false: the "
        "targets' own alone, where a reverse or parallel triple is a fair clue",
    )
    epochs: Count = Field(10, description="passes over the training triples, both ways, at most")
    batch_size: Count = Field(32, description="queries of a step")
    lr: Rate = Field(0.005, description="Adam's learning rate")
    patience: Count | None = Field(
        3, description="epochs without gain on valid before stopping; null: all epochs"
    )
    restart: Fraction = Field(0.15, description="chance that pagerank's walker returns to the head")


class InductiveConfig(RunConfig):
    """A run that trains on `data` and is tested on the graph of unseen entities beside it.

    That graph has the same name, or folder, with `_ind` at its end, and the same relations.
    """

    inductive: InductiveSettings = Field(description="what is learned")
