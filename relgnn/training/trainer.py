"""The one training loop of the project."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from relgnn.errors import Diverged, InputError
from relgnn.runtime import torch_rng
from relgnn.training.checkpoint import (
    module_tensors,
    restore_module,
    save_tensors,
)
from relgnn.training.interrupt import Interrupted, StopRequest, stop_signals
from relgnn.training.progress import Bar, bar
from relgnn.training.resume import EpochRecord, FitState, ResumeFolder, TrainLog
from relgnn.training.schedule import TrainSettings, lr_factor
from relgnn.training.stepper import Stepper
from relgnn.training.task import Task
from relgnn.training.watch import LossWatch, Watched

BAD_BATCH = "bad_batch.safetensors"
"""A batch whose loss was not finite, beside the resumable state."""

Observer = Callable[[str, EpochRecord], None]
"""Told of every epoch: the task's name and its record."""


@dataclass(frozen=True)
class FitResult:
    """How a training ended; the model holds the best weights (the last ones without a metric).

    `best_metric` is None where nothing was evaluated, `best_epoch` counts from 1, `stopped` is
    "epochs" or "patience", and `seconds` adds up over resumed parts.
    """

    best_metric: float | None
    best_epoch: int
    history: tuple[EpochRecord, ...]
    seconds: float
    stopped: str


class Trainer:
    """Gradient steps, early stopping on valid, a state that can be resumed."""

    def __init__(
        self,
        settings: TrainSettings,
        device: torch.device | str = "cpu",
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        seed: int = 0,
        resume_command: str | None = None,
        save_seconds: float = 30.0,
        observe: Observer | None = None,
    ) -> None:
        """Prepare a trainer; it keeps nothing between two fits.

        Args:
            settings: the knobs.
            device: where the model is put.
            autocast: makes the context in which losses are computed, such as `runtime.autocast`;
                where that is to float16, losses are scaled.
            seed: root of the streams for order, noise and dropout.
            resume_command: what an interrupted user should type.
            save_seconds: time between two saved states; 0 saves after every step.
            observe: called after every epoch, such as to draw curves.
        """
        self.settings = settings
        self.device = torch.device(device)
        self.autocast = autocast
        self.seed = seed
        self.resume_command = resume_command
        self.save_seconds = save_seconds
        self.observe = observe

    def fit(
        self,
        task: Task[Any],
        folder: Path | None = None,
        resume: bool = False,
        progress: bool = True,
        log: Path | None = None,
    ) -> FitResult:
        """Train the task's model in place.

        On one CPU configuration, a training resumed from `folder` gives bit for bit the weights and
        the history of an uninterrupted one; a finished one is read back without training.

        Args:
            task: what to train.
            folder: where the resumable state is kept; none is kept without it.
            resume: go on from the state in `folder`, where there is one.
            progress: show a bar (on a terminal, unless quiet).
            log: the `log.jsonl` to add a line an epoch to; by default the one in `folder`.

        Returns:
            The best metric, its epoch, and the history.

        Raises:
            Interrupted: on Ctrl-C or SIGTERM, once the state is saved.
            InputError: for an unknown metric, a state that does not fit.
            Diverged: an InputError too, for a loss that is not finite.
            MachineError: when the state cannot be written.
        """
        steps = sum(self._steps(task, epoch) for epoch in range(self.settings.epochs))
        cuda = [self.device] if self.device.type == "cuda" else []
        with ExitStack() as stack:
            # Dropout draws from the default generators: borrowed here, given back as they were.
            stack.enter_context(torch.random.fork_rng(devices=cuda))
            stop = stack.enter_context(stop_signals())
            shown = stack.enter_context(bar(task.name, steps, quiet=not progress))
            fit = _Fit(self, task, folder, log, steps, stop, shown)
            try:
                return fit.run(resume)
            except KeyboardInterrupt:
                raise Interrupted(fit.interrupted_message()) from None

    @property
    def half(self) -> bool:
        """Whether losses are computed in float16."""
        kind = self.device.type
        with self.autocast():
            dtype = torch.get_autocast_dtype(kind)
            return torch.is_autocast_enabled(kind) and dtype == torch.float16

    def _steps(self, task: Task[Any], epoch: int) -> int:
        return math.ceil(task.num_batches(epoch) / self.settings.accumulate)


class _Fit:
    """One training under way."""

    def __init__(
        self,
        trainer: Trainer,
        task: Task[Any],
        folder: Path | None,
        log: Path | None,
        steps: int,
        stop: StopRequest,
        shown: Bar,
    ) -> None:
        self.trainer = trainer
        self.settings = trainer.settings
        self.task = task
        self.steps = steps
        self.stop = stop
        self.shown = shown
        self.model = task.place(trainer.device)
        groups = task.parameter_groups(self.settings.lr, self.settings.weight_decay)
        self.stepper = Stepper(groups, self.settings, trainer.device, trainer.half)
        self.watch = LossWatch(self._stop_at)
        self.state = FitState()
        self.best: dict[str, Tensor] | None = None
        self.noise = torch.Generator(trainer.device)
        self.saved_generators: dict[str, Tensor] = {}
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=trainer.device)
        self.began = self.last_save = time.monotonic()
        fingerprint = {"seed": trainer.seed, **asdict(self.settings)}
        self.files = ResumeFolder(folder, fingerprint) if folder is not None else None
        log = folder / "log.jsonl" if log is None and folder is not None else log
        self.log = TrainLog(log, task.name) if log is not None else None

    def run(self, resume: bool) -> FitResult:
        if self.files is not None:
            if resume:
                self._restore(self.files)
            else:
                self.files.clear()
        if self.log is not None:
            self.log.rewind(self.state.epoch)
        while not self.state.stopped:
            self._train_epoch()
            self._close_epoch()
            self._save_if_due()
        return self._result()

    def interrupted_message(self) -> str:
        done, epochs = self.state.epoch, self.settings.epochs
        where = f"{self.task.name} stopped after {done} of {epochs} epochs"
        if self.trainer.resume_command is not None:
            return f"{where}; go on with: {self.trainer.resume_command}"
        if self.files is not None:
            return f"{where}; its state is in {self.files.folder}: resume from there"
        return f"{where}; nothing was kept, as no folder was given"

    def _train_epoch(self) -> None:
        epoch, state = self.state.epoch, self.state
        order = self._start_generators(epoch)
        self.model.train()
        batches = iter(self.task.batches(epoch, order))
        for _ in islice(batches, state.batches):
            pass
        self._take_up_generators()
        while group := list(islice(batches, self.settings.accumulate)):
            self._step(group)
            state.batches += len(group)
            state.step += 1
            self._save_if_due()

    def _step(self, group: list[Any]) -> None:
        factor = lr_factor(
            self.settings.schedule, self.state.step, self.steps, self.settings.warmup
        )
        self.state.lr = self.stepper.begin(factor)
        items = [self.task.items(batch) for batch in group]
        for batch, count in zip(group, items, strict=True):
            with self.trainer.autocast():
                loss = self.task.loss(batch, self.noise)
            self.watch.see(loss, batch, self.state.epoch, self.state.step)
            self.stepper.backward(loss * (count / sum(items)))
            self.loss_sum += loss.detach().double() * count
        self.stepper.step()
        self.task.stepped()
        self.state.items += sum(items)
        self.shown.advance()

    def _stop_at(self, watched: Watched, loss: float) -> None:
        """Keep the batch whose loss is not finite, and raise."""
        kept = ""
        if self.files is not None:
            path = self.files.folder / BAD_BATCH
            save_tensors(path, self.task.tensors(watched.batch), {"task": self.task.name})
            kept = f"; its batch is in {path}"
        keys = self.task.rate_keys
        advice = [f"{verb} {key}, " for verb, key in zip(("lower", "set"), keys, strict=False)]
        raise Diverged(
            f"the loss of {self.task.name} is {loss} in epoch {watched.epoch + 1}, step "
            f"{watched.step + 1}, at {keys[0] if keys else 'lr'}={self.settings.lr}{kept}; "
            f"{''.join(advice)}{'or ' if advice else ''}set runtime.precision=fp32"
        )

    def _close_epoch(self) -> None:
        """Evaluate, record, select; the epoch counts as done only after it."""
        self.watch.check()
        state = self.state
        loss = float(self.loss_sum) / max(1.0, state.items)
        last = state.epoch + 1 == self.settings.epochs
        due = last or (state.epoch + 1) % self.settings.eval_every == 0
        valid = self._evaluate() if due and self.settings.metric is not None else {}
        state.epoch += 1
        record = EpochRecord(state.epoch, loss, state.lr, valid, self._seconds())
        if self.log is not None:
            self.log.write(record)
        if self.trainer.observe is not None:
            self.trainer.observe(self.task.name, record)
        state.history.append(record)
        state.batches, state.items = 0, 0.0
        self.loss_sum.zero_()
        self._select(valid)
        if last or self._out_of_patience():
            state.stopped = "epochs" if last else "patience"
            self._finish()
        self.shown.advance(0, _describe(self.task.name, self.settings, record))

    def _evaluate(self) -> dict[str, float]:
        self.model.eval()
        with torch.no_grad():
            valid = {name: float(value) for name, value in self.task.evaluate().items()}
        if self.settings.metric not in valid:
            raise InputError(
                f"train.metric={self.settings.metric} is not a metric of {self.task.name}; "
                f"choose one of {', '.join(sorted(valid))}"
            )
        return valid

    def _select(self, valid: dict[str, float]) -> None:
        if self.settings.metric is None or not valid:
            return
        value = valid[self.settings.metric]
        if self.settings.better(value, self.state.best_metric):
            self.state.best_metric, self.state.best_epoch = value, self.state.epoch
            self.state.misses = 0
            self.best = module_tensors(self.model)
        else:
            self.state.misses += 1

    def _out_of_patience(self) -> bool:
        return self.settings.patience is not None and self.state.misses >= self.settings.patience

    def _finish(self) -> None:
        """Put the best weights back; what is kept on the disk is then they alone."""
        if self.best is not None:
            restore_module(self.model, self.best, "the best weights")
        else:
            self.state.best_epoch = self.state.epoch
        self.state.seconds, self.best = self._seconds(), None
        if self.files is not None:
            self.files.save(self.state, _prefixed("model", module_tensors(self.model)), None)

    def _result(self) -> FitResult:
        state = self.state
        self.model.eval()
        return FitResult(
            state.best_metric, state.best_epoch, tuple(state.history), state.seconds, state.stopped
        )

    def _seconds(self) -> float:
        return self.state.seconds + time.monotonic() - self.began

    def _start_generators(self, epoch: int) -> torch.Generator:
        """Seed the epoch's streams from its number; returns the one for the order."""
        seed, device = self.trainer.seed, self.trainer.device
        torch.manual_seed(torch_rng(f"training/dropout/{epoch}", seed).initial_seed())
        self.noise = torch_rng(f"training/noise/{epoch}", seed, device)
        return torch_rng(f"training/order/{epoch}", seed)

    def _take_up_generators(self) -> None:
        """Inside an epoch, put the streams where the saved state left them."""
        saved, self.saved_generators = self.saved_generators, {}
        if not saved:
            return
        self.noise.set_state(saved["noise"])
        torch.set_rng_state(saved["default"])
        if self.trainer.device.type == "cuda":
            torch.cuda.set_rng_state(saved["cuda"], self.trainer.device)

    def _generators(self) -> dict[str, Tensor]:
        states = {"noise": self.noise.get_state(), "default": torch.get_rng_state()}
        if self.trainer.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.trainer.device)
        return states

    def _save_if_due(self) -> None:
        """Keep the state if it is time, and leave if a stop was asked for."""
        due = time.monotonic() - self.last_save >= self.trainer.save_seconds
        if self.files is not None and not self.state.stopped and (due or self.stop.requested):
            self._save(self.files)
        if self.stop.requested:
            raise Interrupted(self.interrupted_message())

    def _save(self, files: ResumeFolder) -> None:
        self.watch.check()
        tensors = {
            **_prefixed("model", module_tensors(self.model)),
            **_prefixed("optimizer", self.stepper.tensors()),
            **_prefixed("generator", self._generators()),
        }
        self.state.loss_sum = float(self.loss_sum)
        self.state.seconds, self.began = self._seconds(), time.monotonic()
        files.save(self.state, tensors, self.best)
        self.last_save = time.monotonic()

    def _restore(self, files: ResumeFolder) -> None:
        saved = files.load()
        if saved is None:
            return
        self.state, tensors, best = saved
        restore_module(self.model, _unprefixed("model", tensors), files.path)
        if best is not None:
            self.best = {name: value.to(self.trainer.device) for name, value in best.items()}
        if not self.state.stopped:
            self.stepper.restore(_unprefixed("optimizer", tensors))
            # Between two epochs the generators are seeded anew.
            if self.state.batches:
                self.saved_generators = _unprefixed("generator", tensors)
        self.loss_sum.fill_(self.state.loss_sum)
        self.began = time.monotonic()
        self.shown.advance(self.state.step)


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def _unprefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}


def _describe(name: str, settings: TrainSettings, record: EpochRecord) -> str:
    words = f"{name} epoch {record.epoch}/{settings.epochs} loss {record.loss:.4f}"
    if settings.metric in record.valid:
        words += f" {settings.metric} {record.valid[settings.metric]:.4f}"
    return words
