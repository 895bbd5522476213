"""The time to the first answer: of a page that opens, and of a question on an open page."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import explorer, speed
from experiments.results import append, read_lines
from experiments.speed import render_speed


def test_without_a_browser_or_a_run_it_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert explorer.main([str(tmp_path)]) == 3
    assert "no Chromium is on the PATH" in capsys.readouterr().err
    monkeypatch.setattr(shutil, "which", lambda name: "/none")
    assert explorer.main([str(tmp_path)]) == 2
    assert "is no run folder" in capsys.readouterr().err


@pytest.mark.skipif(
    not any(map(shutil.which, explorer.BROWSERS)),
    reason="needs Chromium on the PATH (Debian: apt-get install chromium)",
)
def test_every_repeat_is_told(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(speed, "append", lambda table, lines: append(table, lines, tmp_path))
    assert explorer.main([str(own_run), "--repeats", "2", "--json", "--record"]) == 0
    assert [line.row for line in read_lines("speed", tmp_path)] == ["explorer_open", "explorer_ask"]
    clean = [replace(line, dirty=False) for line in read_lines("speed", tmp_path)]
    assert "| `explorer_open` |" in render_speed(clean)
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"open", "ask"}
    rows = {row["row"]: row for row in explorer.rows_of(found)}
    assert rows.keys() == {"explorer_open", "explorer_ask"}
    for row in rows.values():
        assert row["least_s"] <= row["ours_s"] <= row["most_s"] and row["repeats"] == 2
    assert all(len(times) == 2 and min(times) > 0 for times in found.values())
