"""What trainings of a whole language model share: groups of rates, and the trainer's settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import nn

from relgnn.config.fitting import Fitting
from relgnn.runtime import Runtime
from relgnn.training import FitResult, Keeping, Task, TrainSettings


def fit(
    task: Task[Any],
    settings: Fitting,
    runtime: Runtime,
    run: Path,
    resume: bool,
    metric: str | None,
    epochs: int | None = None,
    part: str = "",
) -> FitResult:
    """Train a task; its epochs are added to the run's `log.jsonl`.

    Args:
        task: what is trained.
        settings: rates and steps.
        runtime: where.
        run: folder of the run; the state that can be resumed is in its `resume`.
        resume: go on from there.
        metric: of valid, that selects; None where there is no valid part.
        epochs: in place of the settings' own.
        part: which of the run's trainings this is, such as "refit"; "" for the first.
    """
    told = TrainSettings.of(settings, metric, epochs=epochs or settings.epochs)
    if part:
        task.name += f", {part}"
    return Keeping.of_run(run, resume).part(part).train(task, told, runtime)


def rate_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    rate: Callable[[str, nn.Parameter], float],
    weight_decay: float,
) -> list[dict[str, Any]]:
    """AdamW's groups of what is trained, by rate and decay; vectors do not decay.

    Args:
        parameters: with their names.
        rate: peak learning rate of one.
        weight_decay: of matrices.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, p in parameters:
        if p.requires_grad:
            decay = 0.0 if p.dim() < 2 else weight_decay
            groups.setdefault((rate(name, p), decay), []).append(p)
    return [
        {"params": params, "lr": lr, "weight_decay": decay}
        for (lr, decay), params in groups.items()
    ]


def two_rates(
    model: nn.Module, lr: float, head_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """`rate_groups` with `model.network` at `lr` and all else at `head_lr`."""
    return rate_groups(
        model.named_parameters(),
        lambda name, _: lr if name.startswith("network.") else head_lr,
        weight_decay,
    )
