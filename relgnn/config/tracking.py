"""Configuration of trackers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relgnn.config.base import Section


class TrackingConfig(Section):
    """Curves of the trainings of a run, drawn by another program; not part of the hash."""

    kind: Literal["none", "tensorboard", "wandb"] = Field(
        "none", description="who draws; W&B writes files and sends nothing: see `wandb sync`"
    )
    project: str = Field(
        "relgnn", min_length=1, pattern=r"^[\w.-]+$", description="what the tracker files it under"
    )
