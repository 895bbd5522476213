"""Token buckets: a burst, then the rate, each asker alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.serving import limits
from relgnn.serving.limits import Buckets


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    buckets = Buckets(2.0, 3, clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, pytest.approx(0.5)]
    assert buckets.take("b") == 0
    clock.now += 0.5
    assert buckets.take("a") == 0 and buckets.take("a") > 0
    clock.now += 1000
    assert [buckets.take("a") == 0 for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0.5, 20), st.integers(1, 10))
def test_never_more_than_burst_and_rate(waits: list[float], rate: float, size: int) -> None:
    clock = Clock()
    buckets, passed = Buckets(rate, size, clock), 0
    for wait in waits:
        clock.now += wait
        passed += buckets.take("a") == 0
    assert passed <= size + rate * sum(waits) + 1e-6


def test_a_wait_is_as_long_as_told() -> None:
    clock = Clock()
    buckets = Buckets(3.0, 1, clock)
    buckets.take("a")
    clock.now += buckets.take("a") + 1e-9
    assert buckets.take("a") == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMEMBERED", 5)
    buckets = Buckets(1.0, 1, Clock())
    for number in range(50):
        buckets.take(str(number))
    assert len(buckets._level) == 5
    assert buckets.take("49") > 0 and buckets.take("0") == 0
