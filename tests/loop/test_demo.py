from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relgnn.config import load_config
from relgnn.data import load, registry
from relgnn.errors import InputError
from relgnn.loop import demo
from relgnn.loop.demo import MARKER, demo_config, run_demo
from relgnn.training import load_json, save_json
from tests.loop.fake_run import write_fake_run

SMALL = (
    "loop.rounds=1", "loop.folds=2", "loop.implied=20", "loop.candidates=400",
    "loop.extractor.max_candidates=10", "loop.extractor.epochs=1", "train.epochs=1",
    "decoder.dim=8", "text.max_tokens=16",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set beside the checkout, and none in RELGNN_DATA."""
    monkeypatch.delenv("RELGNN_DATA", raising=False)
    monkeypatch.setattr(registry, "search_folders", lambda: [Path("/nowhere")])


@pytest.fixture(scope="module")
def fake_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_fake_run(folder, load("atlas").at_fraction(0.1, 0))
    return folder


@pytest.fixture
def fake_loop(monkeypatch: pytest.MonkeyPatch, fake_run: Path) -> list[bool]:
    """Writes a made-up run in place of training; what is returned lists each run's `resume`."""
    resumed: list[bool] = []

    def run(config: Any, folder: Path, resume: bool) -> dict[str, Any]:
        resumed.append(resume)
        shutil.copytree(fake_run, folder, dirs_exist_ok=True)
        (folder / "config.yaml").write_text(config.to_yaml())
        return load_json(folder / "metrics.json")

    monkeypatch.setattr(demo, "run", run)
    return resumed


def test_configuration_has_every_control_that_the_data_permit() -> None:
    atlas = load("atlas")
    config = demo_config(atlas, 0.3, "compgcn")
    assert (config.data.name, config.data.fraction, config.gnn.kind) == ("atlas", 0.3, "compgcn")
    assert config.loop is not None and config.loop.rounds == 2
    assert set(config.loop.controls) == {
        "alltext", "comention", "shuffled", "random_pairs", "oracle", "read",
    }  # fmt: skip
    plain = demo_config(replace(atlas, strata=None), 0.1, "rgcn")
    assert plain.loop is not None and "oracle" not in plain.loop.controls


def test_demo_tells_what_it_did_and_starts_afresh(
    tmp_path: Path,
    fake_loop: list[bool],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "runs" / "demo"
    result = run_demo(folder)
    out = " ".join(capsys.readouterr().out.split())
    assert "embedded graph atlas, because codex_s was not found" in out
    assert "round 0, before" in out and "round 2, result" in out
    assert "random pairs" in out and "oracle" in out
    assert "Took 12 min 14 s" in out and "report.html" in out
    assert Path(result["report"]).exists() and Path(result["picture"]).exists()
    (folder / "left over").write_text("")
    monkeypatch.setattr(demo, "write_report", lambda folder, *_: folder / "report.html")
    run_demo(folder, quiet=True)
    assert capsys.readouterr().out == ""
    assert not (folder / "left over").exists()
    assert fake_loop == [False, False]


def test_interrupted_demo_goes_on_unless_it_was_another(
    tmp_path: Path, fake_loop: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "write_report", lambda folder, *_: folder / "report.html")
    run_demo(tmp_path, quiet=True)
    (tmp_path / "metrics.json").unlink()
    run_demo(tmp_path, quiet=True)
    (tmp_path / "metrics.json").unlink()
    run_demo(tmp_path, gnn="compgcn", quiet=True)
    assert fake_loop == [False, True, False]


def test_demo_replaces_nothing_that_is_not_its_own(tmp_path: Path, fake_loop: list[bool]) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="not the demo's"):
        run_demo(tmp_path, quiet=True)
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "verdicts.jsonl").write_text("{}\n")
    save_json(tmp_path / MARKER, {})
    with pytest.raises(InputError, match="a person's verdicts"):
        run_demo(tmp_path, quiet=True)
    assert (tmp_path / "thesis.tex").exists() and fake_loop == []


@pytest.mark.slow
def test_demo_runs_without_any_data_set(tmp_path: Path) -> None:
    result = run_demo(tmp_path / "demo", quiet=True, overrides=SMALL)
    assert {"round0", "alltext", "loop", "loop+read", "oracle"} <= result["rows"].keys()
    assert "embedded graph atlas" in result["data"]
    assert load_config(tmp_path / "demo" / "config.yaml").data.name == "atlas"
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert "round0 + read" in page
