"""The learning rate over the steps."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.training.schedule import Schedule, TrainSettings, lr_factor


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)]),
    ],
)
def test_values_of_six_steps_of_which_two_warm_up(
    schedule: Schedule, expected: list[float]
) -> None:
    assert [lr_factor(schedule, step, 6, 1 / 3) for step in range(6)] == pytest.approx(expected)


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.integers(1, 300),
    st.floats(0.0, 0.99),
)
def test_it_rises_then_falls_and_no_step_is_lost(
    schedule: Schedule, total: int, warmup: float
) -> None:
    factors = [lr_factor(schedule, step, total, warmup) for step in range(total)]
    assert all(0.0 < factor <= 1.0 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_a_section_tells_what_it_has_and_stops_nothing_where_nothing_is_measured() -> None:
    section = SimpleNamespace(epochs=3, lr=0.1, patience=2, metric="own", mode="own", dim=4)
    given = TrainSettings.of(section, "mrr", epochs=5, schedule="linear")
    assert given == TrainSettings(epochs=5, lr=0.1, schedule="linear", patience=2, metric="mrr")
    assert TrainSettings.of(section, None) == TrainSettings(epochs=3, lr=0.1)


@pytest.mark.parametrize(("mode", "good", "bad"), [("max", 0.6, 0.4), ("min", 0.4, 0.6)])
def test_better_is_strict_and_never_nan(mode: str, good: float, bad: float) -> None:
    settings = TrainSettings(epochs=1, lr=0.1, mode="max" if mode == "max" else "min")
    assert settings.better(good, 0.5) and settings.better(bad, None)
    assert not settings.better(bad, 0.5) and not settings.better(0.5, 0.5)
    assert not settings.better(float("nan"), None)
