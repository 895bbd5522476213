"""Configuration of rules that are mined from a graph and predict its links."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from relgnn.config.base import Count, Probability, RunConfig, Section, Weight


class MiningConfig(Section):
    """Which rules are looked for, and which count."""

    length: int = Field(3, ge=1, le=3, description="atoms of a body at most")
    min_confidence: Probability = Field(0.01, description="path rules below are dropped")
    min_support: Count = Field(3, description="pairs that a rule must be right on")
    unseen: Weight = Field(
        5.0, description="pairs without the head relation that are added to those a body connects"
    )
    triples: Count = Field(500, description="of a relation, from which bodies are generalised")
    branch: Count = Field(30, description="neighbours followed from a node to find bodies")
    bodies: Count = Field(300, description="of a relation and length that are counted at most")
    starts: Count = Field(1000, description="entities that a body is counted from at most")
    constants: bool = Field(True, description="also rules that name an entity")
    constant_confidence: Probability = Field(0.02, description="rules with one below are dropped")
    decay: Probability = Field(
        0.5, description="what each next most confident rule of an answer counts for"
    )
    file: Path | None = Field(None, description="rules of a person, which are added")


class RulesConfig(RunConfig):
    """A run that mines rules and predicts links by them."""

    rules: MiningConfig = Field(description="what is mined")
