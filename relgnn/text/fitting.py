"""What every training of a whole language model shares: groups of rates, batches, the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from relgnn.config.fitting import Fitting
from relgnn.runtime import Runtime
from relgnn.training import FitResult, Task, Trainer, TrainSettings


def fit(
    task: Task[Any],
    settings: Fitting,
    runtime: Runtime,
    folder: Path,
    resume: bool,
    metric: str | None,
    epochs: int | None = None,
) -> FitResult:
    """Train a task; its log is beside `folder`, so that of a refit goes with the state.

    Args:
        task: what is trained.
        settings: rates and steps.
        runtime: where.
        folder: of the state that can be resumed, within the run's `resume`.
        resume: go on from there.
        metric: of valid, that selects; None where there is no valid part.
        epochs: in place of the settings' own.
    """
    told = TrainSettings(
        epochs=epochs or settings.epochs, lr=settings.lr, weight_decay=settings.weight_decay,
        schedule=settings.schedule, warmup=settings.warmup, clip=settings.clip,
        patience=settings.patience if metric else None, metric=metric,
    )  # fmt: skip
    run = next(parent.parent for parent in (folder, *folder.parents) if parent.name == "resume")
    trainer = Trainer(
        told, device=runtime.device, autocast=lambda: runtime.autocast(training=True),
        seed=runtime.seed, resume_command=f"relgnn run --resume {run}",
    )  # fmt: skip
    return trainer.fit(task, folder, resume, log=folder.parent / "log.jsonl")


def two_rates(model: nn.Module, settings: Fitting) -> list[dict[str, Any]]:
    """AdamW's groups: `model.network` at `lr`, all else at `head_lr`; vectors do not decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            rate = settings.lr if name.startswith("network.") else settings.head_lr
            decay = 0.0 if p.dim() < 2 else settings.weight_decay
            groups.setdefault((rate, decay), []).append(p)
    return [
        {"params": params, "lr": rate, "weight_decay": decay}
        for (rate, decay), params in groups.items()
    ]
