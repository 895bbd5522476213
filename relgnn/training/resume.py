"""What a stopped training needs to go on as if it had not stopped, and its log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from relgnn.errors import InputError, MachineError
from relgnn.training.checkpoint import load_tensors, save_tensors, save_text

STATE_FILE = "state.safetensors"


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: number from 1, mean loss, last learning rate, valid metrics, seconds so far."""

    epoch: int
    loss: float
    lr: float
    valid: dict[str, float]
    seconds: float


@dataclass
class FitState:
    """Where a training is; `epoch` and `batches` count what is done."""

    epoch: int = 0
    batches: int = 0
    step: int = 0
    lr: float = 0.0
    loss_sum: float = 0.0
    items: float = 0.0
    best_metric: float | None = None
    best_epoch: int = 0
    misses: int = 0
    seconds: float = 0.0
    stopped: str = ""
    history: list[EpochRecord] = field(default_factory=list)


class ResumeFolder:
    """The files of one training.

    `state.safetensors` holds everything but the best weights; those lie in
    `best-<epoch>.safetensors`, written before the state that names it and deleted after the state
    that no longer does. So whichever write a crash cuts off, the state on the disk finds its files.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        """Use `folder` for a training whose settings are `fingerprint` (JSON values)."""
        self.folder = Path(folder)
        self._written: str | None = None
        self.fingerprint = json.loads(json.dumps(dict(fingerprint)))

    @property
    def path(self) -> Path:
        """The file of the state."""
        return self.folder / STATE_FILE

    def clear(self) -> None:
        """Delete the state of an earlier training.

        Raises:
            MachineError: when a file cannot be deleted.
        """
        self._delete([self.path, *self.folder.glob("best-*.safetensors")])

    def save(
        self, state: FitState, tensors: Mapping[str, Tensor], best: Mapping[str, Tensor] | None
    ) -> None:
        """Write a state.

        Args:
            state: the counters and the history.
            tensors: model, optimizer and generators.
            best: the best weights so far; None when there are none.

        Raises:
            MachineError: when the disk is full; the former state stays.
        """
        kept = self._best_file(state.best_epoch)
        if best is not None and self._written != kept.name:
            save_tensors(kept, best)
            self._written = kept.name
        metadata = {
            "state": asdict(state),
            "fingerprint": self.fingerprint,
            "best": kept.name if best is not None else None,
        }
        save_tensors(self.path, tensors, metadata)
        stale = set(self.folder.glob("best-*.safetensors"))
        self._delete(stale - {kept} if best is not None else stale)

    def load(self) -> tuple[FitState, dict[str, Tensor], dict[str, Tensor] | None] | None:
        """Read the state, its tensors and the best weights; None where nothing was saved yet.

        Raises:
            InputError: when a file is damaged, or the state is of a training with other settings.
        """
        if not self.path.exists():
            return None
        tensors, metadata = load_tensors(self.path)
        if not {"state", "fingerprint", "best"} <= metadata.keys():
            raise InputError(
                f"{self.path} is not the state of a training; delete it or start without resuming"
            )
        self._check(metadata["fingerprint"])
        state = FitState(**metadata["state"])
        state.history = [EpochRecord(**record) for record in metadata["state"]["history"]]
        self._written = metadata["best"]
        best = load_tensors(self.folder / self._written)[0] if self._written else None
        return state, tensors, best

    def _check(self, saved: Mapping[str, Any]) -> None:
        for key in sorted(saved.keys() | self.fingerprint.keys()):
            if saved.get(key) != self.fingerprint.get(key):
                raise InputError(
                    f"{self.path} was trained with {key}={saved.get(key)}, now it is "
                    f"{self.fingerprint.get(key)}; resume with the former value, or start anew"
                )

    def _best_file(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch:06d}.safetensors"

    def _delete(self, paths: Iterable[Path]) -> None:
        try:
            for path in paths:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise MachineError(
                f"cannot delete {error.filename}: {error.strerror}; check the folder's rights"
            ) from error


class TrainLog:
    """`log.jsonl`: one line an epoch; several trainings may share a file, told apart by `task`."""

    def __init__(self, path: Path, task: str) -> None:
        """Write to `path` under the name `task`."""
        self.path = Path(path)
        self.task = task

    def rewind(self, epochs: int) -> None:
        """Drop this task's lines after `epochs`, and a line that a crash cut off.

        Raises:
            MachineError: when the file cannot be written.
        """
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if self._keep(line, epochs)]
        save_text(self.path, "".join(f"{line}\n" for line in kept))

    def write(self, record: EpochRecord) -> None:
        """Append the line of an epoch.

        Raises:
            MachineError: when the file cannot be written.
        """
        line = json.dumps({"task": self.task, **asdict(record)})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise MachineError(
                f"cannot write {self.path}: {error.strerror}; free disk space or choose another "
                "folder, then resume"
            ) from error

    def _keep(self, line: str, epochs: int) -> bool:
        try:
            entry = json.loads(line)
        except ValueError:
            return False
        return entry.get("task") != self.task or entry.get("epoch", 0) <= epochs
