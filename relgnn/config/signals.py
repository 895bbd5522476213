"""Configuration of what joins the loss of a link predictor, and of two that teach each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relgnn.config.base import Count, Dropout, Rate, Section, Weight


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


class CoteachingConfig(Section):
    """Two predictors, each trained on the accepted targets that the other finds likely."""

    forget: Dropout = Field(
        0.2, description="share of accepted targets left out in the end: the share that is wrong"
    )
    ramp: Count = Field(10, description="epochs over which the share left out rises from 0")
