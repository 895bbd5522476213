"""Configuration of what joins the loss of a link predictor, and of two that teach each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relgnn.config.base import Count, Dropout, Fraction, Rate, Section, Weight


class NodeAdversarialConfig(Section):
    """The loss of encoded nodes that are moved to where it is high."""

    epsilon: Rate = Field(
        0.05, description="length of the move, as a share of the length of the node's vector"
    )
    weight: Weight = Field(1.0, description="of the loss there; 0: none")


class ViewContrastConfig(Section):
    """A node's vectors under two draws of the context nearer to each other than to other nodes'."""

    weight: Weight = Field(0.1, description="of the contrast; 0: none")
    temperature: Rate = Field(0.2, description="of the cosines' softmax")
    nodes: Count = Field(256, description="nodes contrasted in a step, drawn anew")
    edge_dropout: Dropout = Field(0.3, description="share of edges left out of a view")


class ConsistencyConfig(Section):
    """Text and graph should say the same of an accepted triple."""

    kind: Literal["kl", "logit"] = Field(
        "kl", description="symmetric KL of both probabilities, or squared difference of log odds"
    )
    weight: Weight = Field(0.1, description="of the distance; 0: none")


class MemoryConfig(Section):
    """Vectors beside the predictor that learn what the posterior says of every candidate."""

    dim: Count = Field(400, multiple_of=2, description="width of the vectors, even")
    epochs: Count = Field(20, description="passes over all queries that something was told of")
    lr: Rate = Field(0.01, description="peak learning rate; falls linearly to 0")
    batch_size: Count = Field(256, description="queries in a step")
    floor: Fraction = Field(
        0.1, description="what is less probable is not taught; the log odds above it are"
    )
    weight: Weight = Field(0.4, description="factor of these log odds")


class CoteachingConfig(Section):
    """Two predictors, each trained on the accepted targets that the other finds likely."""

    forget: Dropout = Field(
        0.2, description="share of accepted targets left out in the end: the share that is wrong"
    )
    ramp: Count = Field(10, description="epochs over which the share left out rises from 0")
