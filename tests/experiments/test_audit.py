"""An audit: what is drawn, what judges may see, and what follows from their words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import audit
from experiments.results import read_lines
from relgnn.config import make_config
from relgnn.errors import InputError
from relgnn.training import load_json, save_json


@pytest.fixture(scope="module")
def drawn(own_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("audit")
    audit.draw(own_run, folder / "items", folder / "sheets")
    return folder / "items", folder / "sheets"


def test_accepted_triples_are_drawn_from_every_fifth(
    own_run: Path, drawn: tuple[Path, Path]
) -> None:
    about = load_json(drawn[0] / "accepted.json")
    items = about["items"]
    count = np.bincount([item["stratum"] for item in items], minlength=audit.STRATA)
    assert len(items) == min(about["accepted"], audit.ACCEPTED) and (count[:-1] >= count[1:]).all()
    shares = {item["stratum"]: item["share"] for item in items}
    assert sum(shares.values()) == pytest.approx(1)
    surest = [[i["p"] for i in items if i["stratum"] == s] for s in sorted(shares)]
    assert all(min(a) >= max(b) for a, b in zip(surest, surest[1:], strict=False))


def test_answers_are_in_no_split(drawn: tuple[Path, Path]) -> None:
    items = load_json(drawn[0] / "answers.json")["items"]
    p = [item["p"] for item in items]
    assert 0 < len(items) <= audit.ANSWERS and p == sorted(p, reverse=True)
    assert not any(item["in_data_set"] for item in items)


def test_a_sheet_tells_nothing_but_words(drawn: tuple[Path, Path]) -> None:
    for name in ("accepted", "answers"):
        items = load_json(drawn[0] / f"{name}.json")["items"]
        path = drawn[1] / f"{name}.sheet.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert sorted(line["id"] for line in lines) == list(range(len(items)))
        assert all(line.keys() == {"id", "head", "relation", "tail", "sentences"} for line in lines)
        assert len(items) < 4 or [line["id"] for line in lines] != sorted(range(len(items)))


def judged(folder: Path, first: list[bool], second: list[bool], **options: object) -> Path:
    """Two strata of two, of which the first is three quarters of all."""
    ends = {"head": "a", "relation": "r", "tail": "b", "in_data_set": False, "evidence": []}
    items = [ends | {"p": 0.9, "stratum": i // 2, "share": (0.75, 0.25)[i // 2]} for i in range(4)]
    save_json(folder / "accepted.json", {"items": items, "promised": 0.8})
    for name, verdicts in zip(audit.JUDGES, (first, second), strict=True):
        lines = [json.dumps({"id": i, "verdict": v, "reason": ""}) for i, v in enumerate(verdicts)]
        (folder / f"accepted.{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_precision_is_weighted_and_differences_count_half(tmp_path: Path) -> None:
    found = audit.assess("accepted", judged(tmp_path, [True, True, True, False], [True] * 4))
    assert found["precision"] == pytest.approx(0.75 + 0.25 * 0.75)
    assert found["precision_high"] - found["precision"] == pytest.approx(
        1.96 * 0.25 * np.sqrt(np.var([1, 0.5], ddof=1) / 2)
    )
    assert found["promised"] == 0.8 and found["kappa"] == 0
    (tmp_path / "accepted.settled.jsonl").write_text(
        '{"id": 3, "verdict": false}\n{"id": 0, "verdict": false}\n'
    )
    settled = audit.assess("accepted", tmp_path)
    assert settled["precision"] == pytest.approx(0.875), "where judges agree nothing is settled"


def test_judges_that_agree_have_kappa_one(tmp_path: Path) -> None:
    verdicts = [True, False, True, False]
    assert audit.assess("accepted", judged(tmp_path, verdicts, verdicts))["kappa"] == 1


def test_verdicts_that_are_all_the_same_have_no_kappa(tmp_path: Path) -> None:
    found = audit.assess("accepted", judged(tmp_path, [True] * 4, [True] * 4))
    assert found["precision"] == 1 and "kappa" not in found
    assert not any(np.isnan(value) for value in found.values())


def test_one_triple_of_a_stratum_leaves_the_widest_room(tmp_path: Path) -> None:
    folder = judged(tmp_path, [True] * 4, [True] * 4)
    about = json.loads((folder / "accepted.json").read_text())
    for item, stratum in zip(about["items"], (0, 0, 0, 1), strict=True):
        item |= {"stratum": stratum, "share": 0.75 if stratum == 0 else 0.25}
    save_json(folder / "accepted.json", about)
    found = audit.assess("accepted", folder)
    assert found["precision_low"] == pytest.approx(1 - 1.96 * 0.25 * 0.5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 0}', "expected .*verdict"),
        ('{"id": 0, "verdict": "yes"}', "expected .*verdict"),
        ("nonsense", "expected .*verdict"),
        ('{"id": 9, "verdict": true}', "judges 1 of 4"),
    ],
)
def test_broken_verdicts_are_named(tmp_path: Path, line: str, message: str) -> None:
    folder = judged(tmp_path, [True] * 4, [True] * 4)
    (folder / "accepted.judge2.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        audit.assess("accepted", folder)


def test_a_judge_must_have_spoken(tmp_path: Path) -> None:
    folder = judged(tmp_path, [True] * 4, [True] * 4)
    (folder / "accepted.judge2.jsonl").unlink()
    with pytest.raises(InputError, match="judge2.jsonl: is not there"):
        audit.assess("accepted", folder)


def test_what_was_judged_is_recorded(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    shutil.copytree(drawn[0], folder)
    for name in ("accepted", "answers"):
        count = len(load_json(folder / f"{name}.json")["items"])
        for judge in audit.JUDGES:
            lines = [json.dumps({"id": i, "verdict": i % 2 == 0}) for i in range(count)]
            (folder / f"{name}.{judge}.jsonl").write_text("\n".join(lines))
    audit.score(folder, tmp_path / "results")
    lines = {line.row: line.metrics for line in read_lines(audit.TABLE, tmp_path / "results")}
    assert lines.keys() == {"accepted", "answers"}
    assert "promised" in lines["accepted"] and "promised" not in lines["answers"]


@pytest.mark.usefixtures("clean_tree")
def test_a_line_names_the_code_that_drew_what_was_judged(tmp_path: Path) -> None:
    folder = judged(tmp_path / "audit", [True] * 4, [True] * 4)
    about = load_json(folder / "accepted.json") | {
        "config": make_config({"data": {"name": "nations"}}).model_dump(mode="json"), "seed": 0,
        "cost": {"seconds": 1.0, "peak_memory_mb": 1.0},
        "environment": {"hardware": "two cores", "versions": {}},
    }  # fmt: skip
    for dirty in (False, True):
        code = {"git_commit": "d" * 40, "dirty": dirty}
        save_json(folder / "accepted.json", about | {"code": code})
        audit.score(folder, tmp_path / "results")
    found = [(x.git_commit, x.dirty) for x in read_lines(audit.TABLE, tmp_path / "results")]
    assert found == [("d" * 40, False), ("d" * 40, True)]


@pytest.mark.parametrize("kept", [True, False], ids=["a round", "round 0"])
def test_a_run_that_accepted_nothing_is_refused(own_run: Path, tmp_path: Path, kept: bool) -> None:
    shutil.copytree(own_run, tmp_path / "run")
    metrics = load_json(tmp_path / "run" / "metrics.json")
    if kept:
        path = tmp_path / "run" / "rounds" / str(metrics["round"]) / "posterior.parquet"
        pd.read_parquet(path).assign(weight=0.0).to_parquet(path)
    else:
        save_json(tmp_path / "run" / "metrics.json", metrics | {"round": 0})
    with pytest.raises(InputError, match="accepted nothing that counts"):
        audit.draw(tmp_path / "run", tmp_path / "out", tmp_path / "sheets")
    assert audit.main(["draw", str(tmp_path / "nothing")]) == 2
