"""A stopwatch with named laps."""

from __future__ import annotations

import pytest

from relgnn.training.stages import Stages, by_stage


def test_laps_are_written_down_as_they_end() -> None:
    stages = Stages()
    with stages.lap("outer"):
        with stages.lap("inner", 1):
            pass
        with stages.lap("inner", 2):
            pass
    assert [(one["stage"], one["round"]) for one in stages.laps] == [
        ("inner", 1), ("inner", 2), ("outer", 0),
    ]  # fmt: skip
    assert all(one["seconds"] >= 0 and one["peak_memory_mb"] > 0 for one in stages.laps)
    assert stages.laps[2]["seconds"] >= stages.laps[0]["seconds"] + stages.laps[1]["seconds"]


def test_what_fails_is_no_lap() -> None:
    stages = Stages()
    with pytest.raises(ValueError, match="broken"), stages.lap("one"):
        raise ValueError("broken")
    assert stages.laps == []


def test_sums_by_stage() -> None:
    laps = [
        {"stage": "a", "round": 1, "seconds": 1.0, "peak_memory_mb": 5.0},
        {"stage": "b", "round": 1, "seconds": 2.0, "peak_memory_mb": 7.0},
        {"stage": "a", "round": 2, "seconds": 3.0, "peak_memory_mb": 6.0},
    ]
    assert by_stage(laps) == [
        {"stage": "a", "laps": 2, "seconds": 4.0, "peak_memory_mb": 6.0},
        {"stage": "b", "laps": 1, "seconds": 2.0, "peak_memory_mb": 7.0},
    ]
    assert by_stage([]) == []
