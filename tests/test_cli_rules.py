"""The command line on a run of rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.answers import Call, require_one_line


@pytest.fixture
def rules_run(own_config: Path, tmp_path: Path, call: Call) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(
        f"data: {{path: {own_config.parent / 'data'}}}\nrules: {{min_support: 1}}\n", "utf-8"
    )
    status, out, _ = call("run", path, "--out", tmp_path / "run")
    assert status == 0 and "final" in out
    return tmp_path / "run"


def test_rules_are_shown(call: Call, rules_run: Path) -> None:
    status, out, _ = call("rules", rules_run, "--limit", 3)
    assert status == 0
    assert out.startswith("3 of ") and "<-" in out
    status, out, _ = call("rules", rules_run, "--limit", 5, "--json")
    shown: list[dict[str, Any]] = json.loads(out)
    assert status == 0 and 3 < len(shown) <= 5
    confidence = [one["confidence"] for one in shown]
    assert confidence == sorted(confidence, reverse=True)
    head = shown[0]["rule"].partition("(")[0]
    status, out, _ = call("rules", rules_run, "--relation", head, "--json")
    assert all(one["rule"].startswith(f"{head}(") for one in json.loads(out))


def test_answers_come_with_proofs(call: Call, rules_run: Path) -> None:
    triples = (rules_run / "ranks" / "final.tsv").read_text("utf-8").splitlines()[1:]
    proofs = 0
    for line in triples[:6]:
        head, relation, tail = line.split("\t")[:3]
        for side, given in (("--head", head), ("--tail", tail)):
            words = ("predict", rules_run, "--relation", relation, side, given, "-k", 2)
            status, out, _ = call(*words, "--json")
            answers = json.loads(out)
            assert status == 0 and len(answers) <= 2
            assert all(one["score"] > 0 and one["why"] for one in answers)
            proofs += sum(len(one["why"]) for one in answers)
            status, out, _ = call(*words)
            assert all(one["entity"] in out for one in answers)
    assert proofs > 5


def test_it_is_measured_again(call: Call, rules_run: Path, tmp_path: Path) -> None:
    status, out, _ = call("evaluate", rules_run, "--json", "--ranks", tmp_path / "ranks.tsv")
    metrics = json.loads((rules_run / "metrics.json").read_text())
    assert status == 0
    assert json.loads(out)["test"] == metrics["test"]
    assert (tmp_path / "ranks.tsv").read_text() == (rules_run / "ranks" / "final.tsv").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evaluate", "RUN", "--typed"), "leave --typed"),
        (("rules", "RUN", "--relation", "nothing"), "relation 'nothing' is not in"),
        (("predict", "RUN", "--relation", "nothing", "--head", "x"), "'nothing' is not in"),
        (("score", "RUN", "triples.tsv"), "triples.tsv"),
        (("rules", "."), "is no finished run of rules"),
    ],
)
def test_what_cannot_be(call: Call, rules_run: Path, words: tuple[str, ...], said: str) -> None:
    require_one_line(call(*(rules_run if word == "RUN" else word for word in words)), 2, said)
