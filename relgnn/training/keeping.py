"""Where a training keeps its state, in which precision it computes, and whom it tells."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relgnn.runtime import Runtime
from relgnn.training.schedule import TrainSettings
from relgnn.training.task import Task
from relgnn.training.trainer import FitResult, Observer, Trainer


@dataclass(frozen=True)
class Keeping:
    """Where a training keeps its state, and whom it tells.

    Args:
        folder: holds what a resumed training needs; None keeps nothing.
        resume: go on from `folder`.
        log: shared log.jsonl.
        resume_command: told to the user after an interrupt.
        observe: called after every epoch.
    """

    folder: Path | None = None
    resume: bool = False
    log: Path | None = None
    resume_command: str | None = None
    observe: Observer | None = None

    @classmethod
    def of_run(cls, run: Path, resume: bool, observe: Observer | None = None) -> Keeping:
        """That of a run's folder: its `resume`, its `log.jsonl` and the command that resumes it."""
        return cls(run / "resume", resume, run / "log.jsonl", f"relgnn run --resume {run}", observe)

    def part(self, name: str) -> Keeping:
        """The same for a training that is a part of this one; of no name, itself."""
        return replace(self, folder=self.folder / name if self.folder else None)

    def train(
        self,
        task: Task[Any],
        settings: TrainSettings,
        runtime: Runtime,
        *,
        exact: bool = False,
        seed: int | None = None,
    ) -> FitResult:
        """Train a task.

        Args:
            task: what is trained.
            settings: rates and steps.
            runtime: device, and precision unless `exact`.
            exact: keeps to the precision of the weights.
            seed: in place of the runtime's.
        """
        autocast = nullcontext if exact else lambda: runtime.autocast(training=True)
        trainer = Trainer(
            settings, device=runtime.device, autocast=autocast,
            seed=runtime.seed if seed is None else seed,
            resume_command=self.resume_command, observe=self.observe,
        )  # fmt: skip
        return trainer.fit(task, folder=self.folder, resume=self.resume, log=self.log)


KEEP_NOTHING = Keeping()
