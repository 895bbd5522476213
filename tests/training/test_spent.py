"""Time and memory of runs that were interrupted: all parts count."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from relgnn.config import RulesConfig
from relgnn.errors import MachineError
from relgnn.runtime import Runtime
from relgnn.training import Interrupted, load_json, spent
from relgnn.training.run_folder import carry_out
from relgnn.training.spent import Spent


class Clock:
    """Seconds and MiB as a test sets them."""

    now = 100.0
    memory = 50.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(spent, "time", SimpleNamespace(perf_counter=lambda: found.now))
    monkeypatch.setattr(spent, "peak_memory_mb", lambda: found.memory)
    return found


def take(clock: Clock, folder: Path, resume: bool, seconds: float, memory: float) -> Spent:
    """A part of a run that is interrupted after a while."""
    one = Spent(folder, resume)
    with pytest.raises(KeyboardInterrupt), one:
        clock.now += seconds
        clock.memory = memory
        raise KeyboardInterrupt
    return one


def test_parts_add_up_and_the_highest_memory_counts(clock: Clock, tmp_path: Path) -> None:
    take(clock, tmp_path, False, 7.0, 900.0)
    take(clock, tmp_path, True, 5.0, 300.0)
    clock.now, clock.memory = 3.0, 100.0  # another process has a clock of its own
    last = Spent(tmp_path, True)
    clock.now += 2.0
    assert last.total() == {"seconds": 14.0, "peak_memory_mb": 900.0}
    anew = Spent(tmp_path, False)
    clock.now += 1.0
    assert anew.total() == {"seconds": 1.0, "peak_memory_mb": 100.0}


def test_what_ends_well_leaves_nothing(clock: Clock, tmp_path: Path) -> None:
    with Spent(tmp_path, False):
        clock.now += 1.0
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_killed_has_kept_its_time(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, save_json = Event(), spent.save_json

    def save(path: Path, value: Any) -> None:
        save_json(path, value)
        kept.set()

    monkeypatch.setattr(spent, "EVERY_S", 0.001)
    monkeypatch.setattr(spent, "save_json", save)
    with Spent(tmp_path, False):
        assert kept.wait(60)
        assert load_json(tmp_path / "resume" / "spent.json")["peak_memory_mb"] == 50.0


def test_a_full_disk_hides_no_other_error(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(path: Path, value: Any) -> None:
        raise MachineError("no space left")

    monkeypatch.setattr(spent, "save_json", save)
    take(clock, tmp_path, False, 1.0, 1.0)


def test_a_resumed_run_tells_the_time_of_all_its_parts(clock: Clock, tmp_path: Path) -> None:
    config = RulesConfig.model_validate({"data": {"name": "nations"}, "rules": {}})
    folder = tmp_path / "run"
    steps = iter((40.0, 2.0))

    def load(config: RulesConfig) -> None:
        clock.now += 1.0

    def work(data: None, runtime: Runtime) -> dict[str, Any]:
        step = next(steps)
        clock.now += step
        if step > 9:
            raise Interrupted("stopped")
        return {"rows": {}}

    with pytest.raises(Interrupted):
        carry_out(config, folder, False, load, work)
    metrics = carry_out(config, folder, True, load, work)
    assert metrics == load_json(folder / "metrics.json")
    assert metrics == {"rows": {}, "seconds": 44.0, "peak_memory_mb": 50.0}
    assert not (folder / "resume").exists()
