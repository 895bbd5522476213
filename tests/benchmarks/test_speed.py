"""The harness of the benchmarks: turns, memory, what cannot run, and the table of results."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import measure, scale, speed
from experiments import commit, results
from experiments.speed import render_speed
from relgnn.errors import InputError, MachineError
from tests.benchmarks import toy

LIMITS = measure.Limits(copy=1e9, matmul=1e9)


@pytest.fixture(scope="module")
def found() -> tuple[dict[str, measure.Measured], list[str]]:
    said: list[str] = []
    measured, agreed = measure.measure(toy.BENCH, 3, said.append)
    # In turns: the peer is not left to the end, when the machine may be another.
    assert [line.split(":")[0] for line in said] == ["ours", "peer"] * 4
    return measured, agreed


def test_memory_is_what_the_call_adds(found: tuple[dict[str, measure.Measured], list[str]]) -> None:
    measured, agreed = found
    assert measured["ours"].memory_mb is not None and measured["ours"].memory_mb < 32
    assert measured["peer"].memory_mb == pytest.approx(64, abs=16)
    assert agreed == [f"peer has {1 << 24}"]


def test_what_does_not_fit_is_told(found: tuple[dict[str, measure.Measured], list[str]]) -> None:
    huge = found[0]["huge"]
    assert huge.seconds is None
    assert huge.failure == "out of memory (an allocation of 140,737.5 GB failed)"


def test_a_mistake_is_no_lack_of_memory() -> None:
    bench = replace(toy.BENCH, sides={"ours": toy.broken})
    with pytest.raises(RuntimeError, match="a mistake"):
        measure._out_of_memory(RuntimeError("a mistake"))
    assert bench.only(["ours"]).pairs == []


def test_only_some_sides() -> None:
    bench = toy.BENCH.only(["ours", "peer"])
    assert list(bench.sides) == ["ours", "peer"]
    assert [pair.row for pair in bench.pairs] == ["memory"]
    with pytest.raises(InputError, match="side 'mine': expected one of ours, peer, huge"):
        toy.BENCH.only(["mine"])


def test_rows_lines_and_table(
    found: tuple[dict[str, measure.Measured], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = speed.rows_of(toy.BENCH, found[0], LIMITS)
    memory, failure = rows
    assert memory["ratio"] == memory["peer_s"] / memory["ours_s"]
    assert memory["limit_s"] == memory["ours_s"]
    assert memory["peer"] == "peer (torch)"
    assert failure["ratio"] is None and failure["limit_s"] == 1e-9
    json.dumps(rows)

    kept: list[results.Line] = []
    monkeypatch.setattr(speed, "append", lambda table, lines: kept.extend(lines))
    monkeypatch.setattr(commit, "_git", lambda *words: "")
    began = {"git_commit": "c" * 40, "dirty": False}
    speed.record("layer", rows, {"repeats": 3}, began, "python -m benchmarks.speed layer")
    results.append("speed", kept, tmp_path)
    (first, second) = results.read_lines("speed", tmp_path)
    assert first.peer == "peer (torch)" and second.peer == f"huge: {failure['failure']}"
    text = render_speed([first, second])
    assert "| `memory` | peer (torch) |" in text
    assert "| `failure` | huge: out of memory" in text
    assert "python -m benchmarks.speed layer" in text


def test_a_failure_of_ours_is_not_the_peers(
    found: tuple[dict[str, measure.Measured], list[str]],
) -> None:
    sides = {**found[0], "ours": measure.Measured(None, None, "out of memory")}
    memory, failure = speed.rows_of(toy.BENCH, sides, LIMITS)
    assert memory["failure"] == "ours: out of memory" and memory["peer_s"] is not None
    assert failure["failure"] == f"{found[0]['huge'].failure}; ours: out of memory"
    assert speed._cell("ratio", memory) == "ours: out of memory"
    assert speed._cell("ours_s", memory) == "–"


def test_sides_without_a_pair_are_timed_all_the_same(
    found: tuple[dict[str, measure.Measured], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(speed, "importlib", SimpleNamespace(import_module=lambda name: toy))
    monkeypatch.setattr(speed, "measure", lambda bench, repeats, say: found)
    monkeypatch.setattr(speed, "machine_limits", lambda: LIMITS)
    monkeypatch.setattr(speed, "record", lambda *told: recorded.append(told))
    recorded: list[tuple[object, ...]] = []
    assert speed.main(["layer", "--sides", "ours", "--threads", "1", "--record"]) == 0
    assert "1 threads" in capsys.readouterr().out
    [(part, rows, settings, _, command)] = recorded
    assert (part, rows, settings) == ("layer", [], {"repeats": 5, "threads": 1})
    assert command == "python -m benchmarks.speed layer --threads 1 --sides ours"


def test_a_line_is_dirty_where_the_code_was_before_or_is_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[results.Line] = []
    monkeypatch.setattr(speed, "append", lambda table, lines: kept.extend(lines))
    row = {"row": "one", "peer": None, "ours_s": 1.0, "ours_mb": 1.0}
    for before, after in ((False, ""), (True, ""), (False, " M benchmarks/speed.py")):
        monkeypatch.setattr(commit, "_git", lambda *words, said=after: said)
        began = {"git_commit": "c" * 40, "dirty": before}
        speed.record("layer", [row], {}, began, "the command")
    assert [line.dirty for line in kept] == [False, True, True]
    assert {line.git_commit for line in kept} == {"c" * 40}


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes begin as copies of this one, which takes no time."""
    get = measure.multiprocessing.get_context
    monkeypatch.setattr(measure.multiprocessing, "get_context", lambda kind: get("fork"))


@pytest.mark.usefixtures("forked")
def test_what_another_process_found_is_told_here() -> None:
    assert measure.apart(max, 2, 3) == 3
    with pytest.raises(InputError, match=r"^toy: is no size$"):
        measure.apart(toy.refuse, "toy")
    with pytest.raises(MachineError, match=r"^die: its process was killed by signal 9; free mem"):
        measure.apart(toy.die, 9)
    with pytest.raises(MachineError, match=r"^leave: its process ended with code 7"):
        measure.apart(toy.leave, 7)


@pytest.mark.usefixtures("forked")
def test_a_side_that_cannot_run_here_has_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_peak", lambda module, side: toy.die(9))
    assert "killed by signal 9" in str(measure.peak_memory("tests.benchmarks.toy", "ours"))
    monkeypatch.setattr(measure, "_peak", lambda module, side: toy.refuse(side))
    with pytest.raises(InputError, match="mine: is no size"):
        measure.peak_memory("tests.benchmarks.toy", "mine")


def test_limits_are_the_best_of_two_measurements() -> None:
    slow, mixed = measure.Limits(1.0, 2.0), measure.Limits(3.0, 1.0)
    assert slow.best(mixed) == measure.Limits(3.0, 2.0)


def test_exponents_are_slopes_from_the_large_sizes_up() -> None:
    scales = [
        scale.Scale(size, size // 6, 1e-6 * size, 1e-9 * size**1.5, 0.1, float(size))
        for size in (10_000, 1_000_000, 16_000_000)
    ]
    scales[0] = replace(scales[0], forward_s=99.0)
    rows = speed.scale_rows(scales)
    assert rows[-1]["exponent_forward_s"] == pytest.approx(1.5)
    assert rows[-1]["exponent_build_s"] == pytest.approx(1)
    assert rows[-1]["exponent_step_s"] == pytest.approx(0, abs=1e-9)
    assert math.isclose(rows[-1]["exponent_memory_mb"], 1)


def test_scale_runs_at_a_small_size() -> None:
    one = scale.measure_size(2000, steps=2)
    assert one.nodes == round(2000 / scale.DENSITY)
    assert min(one.build_s, one.forward_s, one.step_s, one.memory_mb) > 0


def test_a_power_law_graph_has_hubs_and_its_own_density() -> None:
    triples, nodes = scale.power_law_triples(20_000)
    degree = triples[:, 0].bincount(minlength=nodes)
    assert degree.max() > 50 * degree.float().mean()
    assert triples[:, 1].max() < scale.RELATIONS
    assert triples.min() >= 0 and triples[:, [0, 2]].max() < nodes
    again, _ = scale.power_law_triples(20_000)
    assert triples.equal(again)
