"""How to train: the knobs of the trainer, and the learning rate over the steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

Schedule = Literal["constant", "linear", "cosine"]
Mode = Literal["max", "min"]
Optimizer = Literal["adamw", "adafactor"]


@dataclass(frozen=True)
class TrainSettings:
    """What the trainer is told; `config.train` says which knobs a user may turn.

    Args:
        epochs: passes over the task's batches, at most.
        lr: peak learning rate.
        weight_decay: decoupled weight decay.
        optimizer: AdamW (Loshchilov and Hutter, 2019), or Adafactor (Shazeer and Stern, 2018),
            which keeps the second moment's rows and columns alone; its rates are shares of a
            weight's size.
        accumulate: batches whose gradients make one step.
        schedule: what the learning rate does after the warm-up.
        warmup: share of all steps, in [0, 1), in which the learning rate rises from zero.
        clip: greatest norm of the gradient; 0 for no limit.
        patience: evaluations without a better metric after which to stop; None never stops.
        eval_every: epochs between two evaluations; the last epoch is always evaluated.
        metric: the valid metric that selects the weights; None evaluates nothing, keeps the last.
        mode: whether the greatest or the least metric is best.
    """

    epochs: int
    lr: float
    weight_decay: float = 0.0
    optimizer: Optimizer = "adamw"
    accumulate: int = 1
    schedule: Schedule = "constant"
    warmup: float = 0.0
    clip: float = 0.0
    patience: int | None = None
    eval_every: int = 1
    metric: str | None = None
    mode: Mode = "max"

    @classmethod
    def of(cls, section: object, metric: str | None, **others: Any) -> TrainSettings:
        """What a section of the configuration tells the trainer.

        Args:
            section: its fields of the names above are taken, but for `metric` and `mode`, which
                may mean something else there.
            metric: as above; where it is None, nothing stops early.
            others: in place of the section's.
        """
        names = {field.name for field in fields(cls)} - {"metric", "mode"}
        told = {name: getattr(section, name) for name in names if hasattr(section, name)}
        if metric is None:
            told["patience"] = None
        return cls(**(told | {"metric": metric} | others))

    def better(self, value: float, best: float | None) -> bool:
        """Whether `value` beats the best so far; NaN never does."""
        if math.isnan(value):
            return False
        return best is None or (value > best if self.mode == "max" else value < best)


def lr_factor(schedule: Schedule, step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at a step.

    With w = ceil(warmup · total): (step + 1) / w in the warm-up. Then, with
    u = (step - w) / (total - w): 1 (constant), 1 - u (linear), (1 + cos πu) / 2 (cosine;
    Loshchilov and Hutter, SGDR, 2017).

    Args:
        schedule: the shape after the warm-up.
        step: steps already taken, from 0.
        total: steps of the whole training.
        warmup: share of the steps that warm up.

    Returns:
        A number in [0, 1].
    """
    rising = math.ceil(warmup * total)
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    done = min(1.0, (step - rising) / max(1, total - rising))
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
