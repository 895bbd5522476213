"""The one trainer: precision, accumulation, schedules, checkpoints, early stopping and log."""

from relgnn.training.checkpoint import (
    CHECKPOINT,
    atomic_file,
    load_json,
    load_module,
    load_tensors,
    module_tensors,
    require_file_name,
    restore_module,
    save_json,
    save_json_lines,
    save_tensors,
    save_text,
)
from relgnn.training.interrupt import Interrupted, stop_signals
from relgnn.training.keeping import KEEP_NOTHING, Keeping
from relgnn.training.progress import named_lines, quiet_bars, track
from relgnn.training.resume import EpochRecord
from relgnn.training.schedule import TrainSettings
from relgnn.training.task import Task
from relgnn.training.trainer import FitResult, Observer, Trainer

__all__ = [
    "CHECKPOINT",
    "KEEP_NOTHING",
    "EpochRecord",
    "FitResult",
    "Interrupted",
    "Keeping",
    "Observer",
    "Task",
    "TrainSettings",
    "Trainer",
    "atomic_file",
    "load_json",
    "load_module",
    "load_tensors",
    "module_tensors",
    "named_lines",
    "quiet_bars",
    "require_file_name",
    "restore_module",
    "save_json",
    "save_json_lines",
    "save_tensors",
    "save_text",
    "stop_signals",
    "track",
]
