"""Curves for TensorBoard or W&B, through accelerate's trackers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relgnn.config import Config, RelationConfig
from relgnn.errors import InputError
from relgnn.training.resume import EpochRecord
from relgnn.training.trainer import Observer


class Tracker:
    """Shows the epochs and the results of a run, or nothing where no tracker is asked for.

    Args:
        tracker: a started tracker of accelerate's, or None.
        counts: whether it is told the epoch as its step; W&B's steps may not begin anew with the
            next training, so that there the epoch is a value like others.
    """

    def __init__(self, tracker: Any | None, counts: bool = True) -> None:
        self._tracker, self._counts = tracker, counts

    def observe(self, task: str, record: EpochRecord) -> None:
        """Show an epoch: loss, learning rate and metrics on valid."""
        values = {"loss": record.loss, "lr": record.lr, **record.valid}
        self._log(task.replace(" ", "_"), values, record.epoch)

    def observer(self, other: Observer | None) -> Observer:
        """Shows an epoch, and then tells another observer of it."""

        def both(task: str, record: EpochRecord) -> None:
            self.observe(task, record)
            if other is not None:
                other(task, record)

        return both

    def result(self, split: str, metrics: Mapping[str, float], epoch: int) -> None:
        """Show the final metrics of a split, chosen at an epoch."""
        self._log(split, metrics, epoch)

    def _log(self, group: str, values: Mapping[str, float], epoch: int) -> None:
        if self._tracker is None:
            return
        named = {f"{group}/{name}": value for name, value in values.items()}
        if self._counts:
            self._tracker.log(named, step=epoch)
        else:
            self._tracker.log({**named, f"{group}/epoch": epoch})


@contextmanager
def tracked(config: Config | RelationConfig, folder: Path) -> Iterator[Tracker]:
    """The tracker of a run, with its configuration; it writes below `folder`/tracking alone.

    Nothing is sent anywhere, and neither the environment nor the command line is recorded: both
    may hold secrets.

    Raises:
        InputError: its package is not installed.
    """
    tracking = config.tracking
    if tracking.kind == "none":
        yield Tracker(None)
        return
    place = folder / "tracking"
    place.mkdir(parents=True, exist_ok=True)
    try:
        start = _tensorboard if tracking.kind == "tensorboard" else _wandb
        tracker = start(config, place)
    except ImportError as error:
        raise InputError(
            f"tracking.kind={tracking.kind} needs packages that are not there ({error}); install "
            "the extra 'tracking' or set tracking.kind=none"
        ) from error
    try:
        yield Tracker(tracker, counts=tracking.kind == "tensorboard")
    finally:
        tracker.finish()
        if tracking.kind == "wandb":
            _end_wandb()


def _tensorboard(config: Config | RelationConfig, place: Path) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import TensorBoardTracker

    PartialState()  # its trackers ask this which process they are in
    tracker = TensorBoardTracker(config.tracking.project, place)
    tracker.start()
    tracker.log({"configuration": config.to_yaml()}, step=0)
    return tracker


def _wandb(config: Config | RelationConfig, place: Path) -> Any:
    import wandb
    from accelerate import PartialState
    from accelerate.tracking import WandBTracker

    PartialState()
    settings = wandb.Settings(
        mode="offline", console="off", silent=True, save_code=False, disable_git=True,
        x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True,
    )  # fmt: skip
    tracker = WandBTracker(
        config.tracking.project, name=place.parent.name, dir=str(place), settings=settings,
        config=config.model_dump(mode="json"),
    )  # fmt: skip
    tracker.start()
    return tracker


def _end_wandb() -> None:
    """Wait until everything is in its file, which `finish` does not, and end W&B's process."""
    import wandb

    wandb.teardown()
