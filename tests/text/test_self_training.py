"""Self-training: what is labelled, which round is kept, and a run of it that can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from relgnn.config import SemiConfig
from relgnn.data.relations import Example, RelationData
from relgnn.errors import InputError
from relgnn.posterior.selectors import SELECTORS
from relgnn.text.relation_run import run_relations
from relgnn.text.self_training import PseudoLabels, label, make_selector, of_softmax, self_train
from relgnn.training import FitResult, load_json
from tests.text.stopping import lasting, stopped_and_resumed
from tests.text.test_relation_run import config, data, line

__all__ = ["data"]  # a fixture

P = np.array([[0.97, 0.02, 0.01], [0.2, 0.7, 0.1], [0.1, 0.85, 0.05], [0.34, 0.33, 0.33]])


class Known:
    """A classifier whose probabilities are given: `P` of the unlabelled sentences.

    On valid it is right as often as it says, so that its temperature is 1.
    """

    def __init__(self) -> None:
        valid = [r for r, count in enumerate((14, 4, 2)) for _ in range(count)]
        one = Example("a b", (0, 1), (2, 3), 0)
        self.data = RelationData(
            "toy", ("x", "y", "z"), ("", "", ""), ("", "", ""), (one, one._replace(relation=1)),
            tuple(one._replace(relation=r) for r in valid), (),
            tuple(one._replace(relation=-1, group=str(i)) for i in range(len(P))),
        )  # fmt: skip

    def logits(self, examples: Sequence[Example]) -> np.ndarray:
        if examples is self.data.valid:
            return np.log(np.tile([[0.7, 0.2, 0.1]], (len(examples), 1)))
        return np.log(P)


def result(valid: float) -> FitResult:
    return FitResult(valid, 1, (), 0.0, "epochs")


def test_only_the_likeliest_label_is_taken_with_its_weight() -> None:
    found = label(Known(), SemiConfig(selector="fixed", threshold=0.6))
    assert [(one.group, one.relation) for one in found.examples] == [("0", 0), ("2", 1), ("1", 1)]
    assert found.weight == pytest.approx([0.97, 0.85, 0.7], abs=1e-3)
    assert found.targets.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    # a low threshold accepts second labels too: they are left
    low = label(Known(), SemiConfig(selector="fixed", threshold=0.1, soft_targets=True))
    assert sorted(one.group for one in low.examples) == ["0", "1", "2", "3"]
    order = [int(one.group) for one in low.examples]
    assert low.targets == pytest.approx(P[order], abs=1e-3)


@pytest.mark.parametrize("name", get_args(SemiConfig.model_fields["selector"].annotation))
def test_every_selector_labels(name: Any) -> None:
    settings = SemiConfig(selector=name, threshold=0.8, top=1.0)
    found = label(Known(), settings)
    assert isinstance(make_selector(settings, Known().data), SELECTORS[name])
    assert found.examples[0].relation == 0
    assert len(found.examples) == len(found.weight) == len(found.targets)
    assert ((found.weight > 0) & (found.weight <= 1)).all()


def test_a_softmax_as_posteriors() -> None:
    found = of_softmax(P)
    assert len(found) == P.size
    assert found.relation.tolist() == [0, 1, 2] * len(P)
    assert found.surest().tolist() == P.max(1).tolist()


def test_valid_says_which_round_is_kept() -> None:
    settings = SemiConfig(selector="fixed", threshold=0.6, rounds=3)
    first, values, asked = Known(), iter([0.4, 0.7, 0.6]), []
    readers = [Known(), Known(), Known()]

    def teach(pseudo: PseudoLabels, number: int) -> tuple[Known, FitResult]:
        asked.append((number, len(pseudo.examples)))
        return readers[number - 1], result(next(values))

    found = self_train(first, result(0.5), settings, teach)
    assert asked == [(1, 3), (2, 3), (3, 3)]
    assert found.reader is readers[1]
    assert found.pseudo is not None
    assert [entry["valid"] for entry in found.rounds] == [0.5, 0.4, 0.7, 0.6]
    values = iter([0.1, 0.5, 0.2])
    kept = self_train(first, result(0.5), settings, teach)
    assert kept.reader is first
    assert kept.pseudo is None


def test_nothing_accepted_ends_the_rounds() -> None:
    def teach(pseudo: PseudoLabels, number: int) -> tuple[Known, FitResult]:
        raise AssertionError("nothing to teach")

    settings = SemiConfig(selector="fixed", threshold=0.99, rounds=3)
    found = self_train(Known(), result(0.5), settings, teach)
    assert found.rounds == [{"valid": 0.5}]


@pytest.fixture
def partly(data: Path) -> Path:
    """The toy data with sixteen labelled training sentences, the others without a label."""
    lines = (data / "train.jsonl").read_text().splitlines(keepends=True)
    (data / "train.jsonl").write_text("".join(lines[:16]))
    (data / "unlabelled.jsonl").write_text("".join(lines[16:]))
    return data


SELF = ("semi={kind: self_training, selector: soft, rounds: 2, ratio: 2}", "extraction.refit=true",
        "extraction.batch_size=4", "extraction.epochs=8")  # fmt: skip


def test_self_training_runs_and_goes_on_to_the_same_numbers(
    partly: Path, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(partly, tiny_bert, *SELF)
    whole = run_relations(settings, tmp_path / "whole")
    assert whole["test"]["micro_f1"] > 0.9
    assert [set(entry) for entry in whole["rounds"]][1:] == [{"valid", "accepted", "weight"}] * 2
    assert whole["valid"]["macro_f1"] == max(entry["valid"] for entry in whole["rounds"])
    log = (tmp_path / "whole" / "log.jsonl").read_text()
    assert all(f'"relation classifier, {part}"' in log for part in ("round 1", "round 2", "refit"))
    resumed = stopped_and_resumed(run_relations, settings, tmp_path / "part", monkeypatch, 3)
    assert resumed == lasting(whole)
    assert load_json(tmp_path / "part" / "metrics.json")["rounds"] == whole["rounds"]


@pytest.mark.parametrize(
    "semi", ["{kind: mean_teacher}", "{kind: fixmatch, selector: fixed, threshold: 0.9}"]
)
def test_the_other_kinds_run(partly: Path, tiny_bert: str, tmp_path: Path, semi: str) -> None:
    changes = (f"semi={semi}", "extraction.batch_size=4", "extraction.epochs=8")
    found = run_relations(config(partly, tiny_bert, *changes), tmp_path / "run")
    assert found["test"]["micro_f1"] > 0.9
    assert "rounds" not in found


def test_what_cannot_be(data: Path, tiny_bert: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no unlabelled sentences for 'semi'") as caught:
        run_relations(config(data, tiny_bert, "semi={}"), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"set semi\.kind=self_training"):
        config(data, tiny_bert, "semi={kind: fixmatch, selector: class_top}")
    with pytest.raises(InputError, match=r"set extraction\.loss=cross_entropy or semi=null"):
        config(data, tiny_bert, "semi={}", "extraction.loss=bce")
    assert line(0)["relation"] == "born"
