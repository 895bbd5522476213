"""What is told of a tuned classifier besides its F1: calibration, bias, groups, attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from relgnn.data.relations import Example
from relgnn.posterior.softmax import LabelCalibrator, softmax_report
from relgnn.runtime import Runtime
from relgnn.text.attention import attention_report
from relgnn.text.debias import bias_report
from relgnn.text.groups import group_report
from relgnn.text.reader import Reader
from relgnn.training import save_json, save_json_lines

SHOWN = 50
"""Test sentences whose attention is written down."""


def calibration(
    reader: Reader,
    calibrator: LabelCalibrator,
    examples: tuple[Example, ...],
    logits: np.ndarray,
    runtime: Runtime,
    folder: Path,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Write calibration.json: the calibrator, and log-loss and ECE before and after it.

    Returns:
        its content, and the figures that stand in a table.
    """
    truth = np.array([one.relation for one in examples])
    before, after = (
        softmax_report(x, truth, runtime.rng("calibration")) for x in (logits, calibrator(logits))
    )
    told = calibrator.to_json() | {"before": before, "after": after}
    if reader.model.settings.debias is not None:
        told["subtract"] = reader.subtract
    save_json(folder / "calibration.json", told)
    return told, {
        "ece": after["ece"], "ece_chance": after["ece_range"][1],
        "log_loss": after["log_loss"], "log_loss_before": before["log_loss"],
    }  # fmt: skip


def reports(
    reader: Reader, examples: tuple[Example, ...], logits: np.ndarray
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """What the configuration asks about bias and fairness.

    Returns:
        the reports, and those of their figures that stand in a table.
    """
    settings = reader.model.settings
    found: dict[str, dict[str, Any]] = {}
    columns: dict[str, float] = {}
    if settings.debias is not None:
        found["bias"] = bias_report(reader, examples)
        for view in ("entity_only", "entity_masked"):
            for metric, value in found["bias"][view].items():
                columns[f"{metric}_{view}"] = value
    if settings.fairness is not None:
        found["fairness"] = group_report(
            *reader.decided(examples, logits), settings.fairness.groups, reader.data.positive
        )
        for metric, value in found["fairness"]["gap"].items():
            columns[f"{metric}_gap"] = value
    return found, columns


def write_attention(reader: Reader, examples: tuple[Example, ...], path: Path) -> None:
    """The attention between the entities of the first examples, a JSON object each."""
    save_json_lines(path, attention_report(reader, examples[:SHOWN]))
