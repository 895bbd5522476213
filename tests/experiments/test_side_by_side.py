"""Runs at once: what others read comes first, and a failure begins nothing more."""

from __future__ import annotations

import os
from threading import Barrier, Event
from types import SimpleNamespace
from typing import Any

import pytest

from experiments import reproduce, side_by_side
from experiments.side_by_side import run_all, share_processors

READS = {"a": (), "b": (), "c": (), "ab": ("a", "b"), "all": ("a", "b", "ab", "c")}


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Jobs a, b, c, ab and all, of one seed."""
    jobs = {name: SimpleNamespace(name=name, key=("lp_toy", name, 0)) for name in READS}
    monkeypatch.setattr(side_by_side, "members", lambda job: [jobs[x] for x in READS[job.name]])
    return list(jobs.values())


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_every_job_runs_once_after_all_that_it_reads(plan: list[Any], at_once: int) -> None:
    began, ended = [], []

    def work(job: Any) -> None:
        assert set(READS[job.name]) <= set(ended)
        began.append(job.name)
        ended.append(job.name)

    run_all(plan, work, at_once)
    assert sorted(began) == sorted(READS)


def test_as_many_as_asked_for_run_at_the_same_time(plan: list[Any]) -> None:
    together = Barrier(3, timeout=60)
    run_all(plan[:3], lambda job: together.wait(), 3)


def test_after_a_failure_nothing_more_begins(plan: list[Any]) -> None:
    failed, began = Event(), []

    def work(job: Any) -> None:
        began.append(job.name)
        if job.name == "a":
            failed.set()
            raise SystemExit(3)
        assert failed.wait(60)

    with pytest.raises(SystemExit, match="3"):
        run_all(plan, work, 2)
    assert "all" not in began and "ab" not in began


def test_processors_are_shared_unless_the_user_said_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for at_once, share in ((2, "4"), (3, "2"), (16, "1")):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        share_processors(at_once)
        assert os.environ["OMP_NUM_THREADS"] == share
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    share_processors(2)
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_wrong_number_of_jobs_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce.main(["lp_codex_s", "--jobs", "0"]) == 2
    assert "--jobs 0: give 1 or more" in capsys.readouterr().err
