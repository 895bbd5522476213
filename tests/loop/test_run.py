"""A whole run: what it leaves, what it refuses, and that a stop changes no number."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from relgnn.config import Config, load_config
from relgnn.errors import InputError
from relgnn.loop.ledger import Ledger
from relgnn.loop.run import run
from relgnn.ranking.metrics import KINDS, metrics_by_stratum, read_ranks
from relgnn.text.pairs import fit_pairs
from relgnn.training import Interrupted, load_json, load_tensors, save_json
from relgnn.training.trainer import _Fit

ROWS = ["round0", "loop", "round0+read", "loop+read"]
FILES = {
    "config.yaml", "metrics.json", "checkpoint.safetensors", "calibration.json", "splits.json",
    "environment.json", "log.jsonl", "vocab/entities.tsv", "vocab/relations.tsv",
    "extractor/pairs.safetensors", "extractor/pairs.json", "extractor/fusion.json",
    "extractor/extractor.safetensors", "extractor/extractor.json",
    "rounds/0/checkpoint.safetensors", "rounds/1/checkpoint.safetensors",
    "rounds/1/candidates.parquet", "rounds/1/sentences.parquet", "rounds/1/posterior.parquet",
    "rounds/1/calibration.json", "ledger/events-1.parquet", "context.safetensors",
    *(f"ranks/{row}.tsv" for row in ROWS),
}  # fmt: skip


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in metrics.items() if k not in ("seconds", "peak_memory_mb", "stages")}


def test_the_run_folder_has_its_files_and_no_others_half_written(own_run: Path) -> None:
    found = files(own_run)
    assert found >= FILES
    assert not [name for name in found if name.endswith((".tmp", ".part")) or "resume/" in name]
    assert load_json(own_run / "splits.json")["train"] == 40
    environment = load_json(own_run / "environment.json")
    assert environment["versions"] and environment["threads"] and len(environment["data"]) == 1
    assert load_config(own_run / "config.yaml").loop is not None


def test_metrics_json_has_the_contracts_shape(own_run: Path) -> None:
    metrics = load_json(own_run / "metrics.json")
    assert list(metrics["rows"]) == ROWS
    for split, triples in (("valid", 7), ("test", 13)):
        both = metrics[split]["all"]["both"]
        assert set(both) == set(KINDS)
        assert set(both["realistic"]) == {"mrr", "hits@1", "hits@3", "hits@10", "queries"}
        assert both["realistic"]["queries"] == 2 * triples
        assert metrics[split]["all"]["head"]["realistic"]["queries"] == triples
    assert metrics["rows"]["loop"] == metrics["test"] == metrics["rounds"][-1]["test"]
    assert [entry["round"] for entry in metrics["rounds"]] == [0, 1]
    assert metrics["rounds"][1]["accepted"] == metrics["extraction"]["accepted"] > 0
    assert 0 <= metrics["extraction"]["real"] <= 1
    assert {"score", "posterior"} <= set(metrics["calibration"])
    assert metrics["seconds"] > 0 and metrics["peak_memory_mb"] > 0
    stages = {lap["stage"] for lap in metrics["stages"]}
    assert stages >= {"linking mentions", "graph judges", "pair models", "extractors", "evaluation"}
    assert sum(lap["seconds"] for lap in metrics["stages"]) < metrics["seconds"]


def test_ranks_give_the_metrics_again(own_run: Path) -> None:
    metrics = load_json(own_run / "metrics.json")
    for row in ROWS:
        ranks = {side: found for side, (_, found) in read_ranks(
            own_run / "ranks" / f"{row}.tsv").items()}  # fmt: skip
        assert metrics_by_stratum(ranks)["all"] == metrics["rows"][row]["all"]


def test_the_ledger_tells_what_was_accepted(own_run: Path) -> None:
    ledger = Ledger(own_run / "ledger")
    ledger.verify()
    context = load_tensors(own_run / "context.safetensors")[0]
    typed = context["triples"][:, 1] < 3
    assert len(ledger.state()) == int(typed.sum()) < len(typed) == len(context["weight"])
    taken = pd.read_parquet(own_run / "rounds/1/posterior.parquet").query("weight > 0")
    assert sorted(ledger.state().values()) == sorted(taken["weight"])


def _stop_epoch(task: str, epoch: int, stop: Callable[[], None]) -> Callable[[_Fit], None]:
    close = _Fit._close_epoch

    def closed(self: _Fit) -> None:
        if self.task.name == task and self.state.epoch + 1 == epoch:
            stop()
        close(self)

    return closed


def _ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _second_ctrl_c() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("task", "epoch", "stop"),
    [
        ("round 0", 3, _ctrl_c),
        ("round 1 judge 1", 5, _second_ctrl_c),
        ("pair model", 2, _ctrl_c),
        ("round 1", 4, _ctrl_c),
    ],
    ids=["round 0", "a judge, hard", "the pair model", "round 1"],
)
def test_a_stopped_run_goes_on_to_the_same_numbers(
    own_run: Path,
    own_config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    epoch: int,
    stop: Callable[[], None],
) -> None:
    config, folder = load_config(own_config), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(_Fit, "_close_epoch", _stop_epoch(task, epoch, stop))
        with pytest.raises(Interrupted):
            run(config, folder)
    assert not (folder / "metrics.json").exists()
    assert numbers(run(config, folder, resume=True)) == numbers(load_json(own_run / "metrics.json"))
    _require_same(folder, own_run)


def test_a_stop_between_two_trainings_changes_nothing_either(
    own_run: Path, own_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = load_config(own_config), tmp_path / "run"
    calls = []

    def stopped(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return fit_pairs(*arguments)

    monkeypatch.setattr("relgnn.loop.textmodel.fit_pairs", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(config, folder)
    assert load_json(folder / "resume" / "spent.json")["seconds"] > 0
    save_json(folder / "resume" / "spent.json", {"seconds": 1e6, "peak_memory_mb": 2e6})
    metrics = run(config, folder, resume=True)
    assert metrics["seconds"] > 1e6 and metrics["peak_memory_mb"] == 2e6
    assert len(calls) == 2
    _require_same(folder, own_run)


def _require_same(one: Path, other: Path) -> None:
    for name in ("checkpoint.safetensors", "context.safetensors", "extractor/pairs.safetensors",
        "extractor/extractor.safetensors",
    ):  # fmt: skip
        a, b = load_tensors(one / name)[0], load_tensors(other / name)[0]
        assert a.keys() == b.keys()
        assert all(bool((a[key] == b[key]).all()) for key in a)
    assert Ledger(one / "ledger").state() == Ledger(other / "ledger").state()
    logs = [(folder / "log.jsonl").read_text().splitlines() for folder in (one, other)]
    lines = [sorted((e["task"], e["epoch"], e["loss"]) for e in map(json.loads, log))
             for log in logs]  # fmt: skip
    assert lines[0] == lines[1]
    assert files(one) == files(other)


def test_a_stopped_run_does_not_go_on_with_other_data(
    own_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(own_config.parent / "data", data)
    config = _changed(own_config, f"data.path={data}", "loop=null")
    with monkeypatch.context() as patch:
        patch.setattr(_Fit, "_close_epoch", _stop_epoch("link prediction", 3, _ctrl_c))
        with pytest.raises(Interrupted):
            run(config, folder)
    before = (folder / "environment.json").read_bytes()
    former = (data / "train.tsv").read_text(encoding="utf-8")
    (data / "train.tsv").write_text(former.split("\n", 1)[1], encoding="utf-8")
    with pytest.raises(InputError, match="data have changed since the run began .*put the former"):
        run(config, folder, resume=True)
    assert (folder / "environment.json").read_bytes() == before
    (data / "train.tsv").write_text(former, encoding="utf-8")
    assert "test" in run(config, folder, resume=True)


def test_a_run_without_a_loop(own_config: Path, tmp_path: Path) -> None:
    config = load_config(own_config, ["loop=null", "gnn.kind=compgcn", "train.epochs=2"])
    metrics = run(config, tmp_path / "run")
    assert list(metrics["rows"]) == ["final"] and metrics["rounds"] == []
    assert metrics["rows"]["final"] == metrics["test"]
    assert not (tmp_path / "run" / "extractor").exists()


def _changed(config: Path, *overrides: str) -> Config:
    return load_config(config, overrides)


def test_what_cannot_run_leaves_no_folder(own_config: Path, tmp_path: Path) -> None:
    data = own_config.parent / "data"
    bare = tmp_path / "bare"
    bare.mkdir()
    for split in ("train", "valid", "test"):
        (bare / f"{split}.tsv").write_bytes((data / f"{split}.tsv").read_bytes())
    folder = tmp_path / "run"
    for change, message in [
        (f"data.path={bare}", "needs unlabelled text and there is none"),
        ("loop.controls=[oracle]", "needs strata.tsv"),
        ("text.model=/nowhere", "cannot be loaded"),
        ("data.path=/nowhere", "/nowhere: no such folder"),
        ("loop.rules={file: /nowhere.txt}", "/nowhere.txt"),
    ]:
        with pytest.raises(InputError, match=message):
            run(_changed(own_config, change), folder)
        assert not folder.exists()
    lone = tmp_path / "lone"
    shutil.copytree(data, lone)
    first = (lone / "train.tsv").read_text().splitlines()[0]
    for split in ("train", "test"):
        (lone / f"{split}.tsv").write_text(f"{first}\n")
    (lone / "valid.tsv").write_text("")
    with pytest.raises(InputError, match=r"train.tsv has too few triples \(1\) for judges"):
        run(_changed(own_config, f"data.path={lone}"), folder)


def test_a_folder_that_holds_a_run_is_left_alone(own_run: Path, own_config: Path) -> None:
    before = files(own_run)
    with pytest.raises(InputError, match="holds a run already; give another --out"):
        run(load_config(own_config), own_run)
    assert files(own_run) == before


def test_the_same_run_twice_gives_the_same_numbers(
    own_run: Path, own_config: Path, tmp_path: Path
) -> None:
    run(load_config(own_config), tmp_path / "run")
    _require_same(tmp_path / "run", own_run)
    np.testing.assert_array_equal(
        pd.read_parquet(tmp_path / "run/rounds/1/posterior.parquet")["p"],
        pd.read_parquet(own_run / "rounds/1/posterior.parquet")["p"],
    )


def test_curves_are_tracked_and_a_run_can_do_without_test(own_config: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen: list[tuple[str, int]] = []
    config = load_config(own_config, ["loop=null", "tracking.kind=tensorboard"])
    metrics = run(
        config, tmp_path / "run", test=False,
        observe=lambda task, record: seen.append((task, record.epoch)),
    )  # fmt: skip
    assert seen == [("link prediction", epoch) for epoch in range(1, 7)]
    assert "test" not in metrics and not (tmp_path / "run" / "ranks").exists()
    assert load_json(tmp_path / "run" / "splits.json")["test"] == 0
    events = EventAccumulator(str(tmp_path / "run" / "tracking" / "relgnn"))
    events.Reload()
    assert [e.step for e in events.Scalars("link_prediction/loss")] == [1, 2, 3, 4, 5, 6]
    (mrr,) = events.Scalars("valid/mrr")
    assert mrr.value == pytest.approx(metrics["valid"]["all"]["both"]["realistic"]["mrr"])
    whole = run(load_config(own_config, ["loop=null"]), tmp_path / "whole")
    assert whole["valid"] == metrics["valid"]
    half = run(load_config(own_config, ["loop=null", "runtime.precision=fp16"]), tmp_path / "half")
    assert 0 < half["valid"]["all"]["both"]["realistic"]["mrr"] <= 1
