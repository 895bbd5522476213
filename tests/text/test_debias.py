"""Names alone, the context alone, and groups: views, reports, and runs that give them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from relgnn.config import RelationConfig
from relgnn.data.relations import Example
from relgnn.text.debias import best_share, debiased
from relgnn.text.encoder import load_model
from relgnn.text.groups import group_report, groups_of
from relgnn.text.hiding import Hider
from relgnn.text.reader import open_reader
from relgnn.text.relation_run import evaluate_run, run_relations
from relgnn.text.rows import Marker, marker_names
from relgnn.training import load_json
from tests.text.toy import PEOPLE, TOWNS, VERBS

ONE = Example("Ada was born in Bonn .", (0, 3), (16, 20), 0)


def line(person: str, town: str, relation: int) -> str:
    tokens = [person, *VERBS[relation], town, "."]
    ends = {"head": {"span": [0, 1]}, "tail": {"span": [4, 5]}}
    return json.dumps({"tokens": tokens, **ends, "relation": ("born", "lives")[relation]}) + "\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """In train and valid the town gives the relation away; in test it misleads."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "relations.tsv").write_text("born\tborn in\t\nlives\tlives in\t\n")
    for split, people, turn in (("train", PEOPLE[:4], 0), ("valid", PEOPLE[4:6], 0),
                                ("test", PEOPLE[6:], 1)):  # fmt: skip
        lines = [
            line(person, town, (i + turn) % 2) for person in people for i, town in enumerate(TOWNS)
        ]
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


def config(data: Path, model: str, **extraction: Any) -> RelationConfig:
    settings = {"epochs": 2, "lr": 3e-3, "head_lr": 1e-2, **extraction}
    content = {"data": {"path": str(data)}, "text": {"model": model, "max_tokens": 32},
               "extraction": settings}  # fmt: skip
    return RelationConfig.model_validate_json(json.dumps(content))


@pytest.mark.parametrize("marking", ["special", "punctuation", "none"])
def test_a_hider_hides_the_entities_or_all_but_them(tiny_bert: str, marking: Any) -> None:
    _, tokenizer = load_model(tiny_bert)
    marker = Marker(tokenizer, marking)
    rows, hider = marker.rows([ONE]), Hider(marker)

    def words(ids: torch.Tensor) -> list[str]:
        kept = hider.words(rows)
        return list(tokenizer.convert_ids_to_tokens(ids[kept].tolist()))

    hidden = tokenizer.unk_token  # it has no mask token
    if marking == "punctuation":
        # The toy words know neither @ nor #: unknown, like what is hidden.
        assert hider.words(rows).sum() <= len(rows.ids) - 2
        return
    assert words(hider.context(rows).ids) == [hidden, "was", "born", "in", hidden, "."]
    assert words(hider.entities(rows).ids) == ["Ada", hidden, hidden, hidden, "Bonn", hidden]
    others = ~hider.words(rows)
    for view in (hider.context(rows), hider.entities(rows)):
        assert torch.equal(view.ids[others], rows.ids[others])
        assert torch.equal(view.role, rows.role)
    batch = rows.batch(torch.tensor([0]))
    assert torch.equal(hider.context(batch).ids[0], hider.context(rows).ids)
    if marking == "special":
        kept = tokenizer.convert_ids_to_tokens(rows.ids[others].tolist())
        assert set(marker_names("special")) < set(kept)


def test_a_share_is_taken_away_and_the_best_one_is_the_smallest_of_equals() -> None:
    logits, names = np.array([[2.0, 1.85]]), np.array([[1.0, 0.0]])
    np.testing.assert_allclose(debiased(logits, names, 0.5), [[1.5, 1.85]])
    right = lambda found: float(found.argmax(1)[0] == 1)  # noqa: E731
    assert best_share(logits, names, right) == pytest.approx(0.2)
    assert best_share(logits, names, lambda found: 1.0) == 0


def test_a_run_tells_its_bias_and_gives_the_same_again(
    data: Path, tiny_bert: str, tmp_path: Path
) -> None:
    groups = {"first": ["born", "Zoe"], "second": ["NOW"]}
    settings = config(
        data, tiny_bert, debias={"weight": 1.0, "subtract": 0.7},
        fairness={"groups": groups, "weight": 0.1},
    )  # fmt: skip
    metrics = run_relations(settings, tmp_path / "run")
    bias, test = metrics["bias"], metrics["test"]
    assert bias["gap"]["macro_f1"] == bias["full"]["macro_f1"] - bias["entity_only"]["macro_f1"]
    assert bias["debiased"]["macro_f1"] == test["macro_f1"]
    assert test["macro_f1_entity_only"] == bias["entity_only"]["macro_f1"]
    assert load_json(tmp_path / "run" / "calibration.json")["subtract"] == 0.7
    assert metrics["fairness"]["first"]["count"] == metrics["fairness"]["second"]["count"] == 8
    assert test["error_gap"] == metrics["fairness"]["gap"]["error"]
    again = evaluate_run(tmp_path / "run", "test")
    assert again.keys() >= {"micro_f1", "micro_f1_entity_only", "error_gap"}
    assert again == pytest.approx({name: test[name] for name in again})

    reader = open_reader(tmp_path / "run")
    examples = reader.data.test
    rows, hider = reader.marker.rows(examples), Hider(reader.marker)
    full, names = reader.read(rows), reader.read(hider.entities(rows))
    np.testing.assert_allclose(reader.logits(examples), full - 0.7 * names, atol=1e-5)


def test_counterfactual_training_reads_the_context(
    data: Path, tiny_bert: str, tmp_path: Path
) -> None:
    plain, trained = (
        run_relations(
            config(data, tiny_bert, epochs=8, debias={"weight": weight, "subtract": "valid"}),
            tmp_path / str(weight),
        )["bias"]
        for weight in (0.0, 2.0)
    )
    assert trained["entity_masked"]["micro_f1"] > plain["entity_masked"]["micro_f1"]
    assert trained["full"]["micro_f1"] > plain["full"]["micro_f1"]
    assert trained["debiased"]["micro_f1"] >= trained["full"]["micro_f1"]
    assert trained["entity_masked"]["micro_f1"] > 0.9
    assert trained["entity_only"]["micro_f1"] < 0.7


def test_a_report_alone_changes_no_number(data: Path, tiny_bert: str, tmp_path: Path) -> None:
    before = run_relations(config(data, tiny_bert, epochs=1), tmp_path / "before")
    groups = {"weight": 0.0, "groups": {"a": ["born"], "b": ["now"]}}
    after = run_relations(
        config(data, tiny_bert, epochs=1, debias={}, fairness=groups), tmp_path / "after"
    )
    assert after["valid"] == before["valid"]
    assert after["test"].items() >= before["test"].items()


@pytest.mark.parametrize("extraction", [
    {"loss": "bce", "focal": 1.0, "multi_label": True, "contrast": {"kind": "queue", "size": 16}},
    {"loss": "threshold", "multi_label": True, "mixup": 0.5},
    {"loss": "threshold", "attention": 4},
])  # fmt: skip
def test_other_losses_run_and_open(
    data: Path, tiny_bert: str, tmp_path: Path, extraction: dict[str, Any]
) -> None:
    both = (data / "train.jsonl").read_text().splitlines()[0].replace('"born"', '"lives"')
    for split in ("train", "test"):
        with (data / f"{split}.jsonl").open("a") as file:
            file.write(both + "\n")
    metrics = run_relations(config(data, tiny_bert, epochs=3, **extraction), tmp_path / "run")
    again = evaluate_run(tmp_path / "run", "test")
    assert again == pytest.approx({name: metrics["test"][name] for name in again})
    assert np.isfinite(metrics["test"]["log_loss"])
    shown = tmp_path / "run" / "attention.jsonl"
    assert shown.exists() == ("attention" in extraction)
    if shown.exists():
        assert len(shown.read_text().splitlines()) == len(open_reader(tmp_path / "run").data.test)


def test_groups_go_by_whole_words_in_any_case() -> None:
    texts = ["She said", "the shed", "HE and she", "he said", ""]
    examples = [Example(text, (0, 1), (1, 2), 0) for text in texts]
    groups = {"female": ["she", "her"], "male": ["he", "his"]}
    assert groups_of(examples, groups).tolist() == [0, -1, 0, 1, -1]
    truth, predicted = np.array([0, 0, 1, 1, 0]), np.array([0, 1, 0, 1, 0])
    report = group_report(examples, truth, predicted, {**groups, "none": ["xyz"]}, [0, 1])
    assert report["female"] == {"count": 2, "error": 0.5, "micro_f1": 0.5}
    assert report["male"] == {"count": 1, "error": 0.0, "micro_f1": 1.0}
    assert report["none"] == {"count": 0}
    assert report["gap"] == {"error": 0.5, "micro_f1": 0.5}
