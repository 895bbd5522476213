"""Runs that train on rewritten sentences and are attacked: files, resuming, the fixed sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from relgnn.config import RelationConfig, TuningConfig, load_run_config
from relgnn.data.relations import read_relations
from relgnn.errors import InputError
from relgnn.text import characters, rewriting
from relgnn.text.classifier import RelationClassifier
from relgnn.text.classifier_task import ClassifierTask
from relgnn.text.encoder import load_model
from relgnn.text.relation_run import attack_run, run_relations
from relgnn.text.rows import Marker
from tests.experiments.tiny import write_tiny_relations
from tests.text.stopping import lasting, stopped_and_resumed

CHANGING = ("seconds", "peak_memory_mb")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny_relations(tmp_path / "tiny")


def config(data: Path, model: str, *changes: str) -> RelationConfig:
    path = data.parent / "tiny.yaml"
    path.write_text(
        f"data: {{path: {data}}}\ntext: {{model: {model}, max_tokens: 32}}\n"
        "extraction: {epochs: 3, lr: 3.0e-3, head_lr: 1.0e-2}\n"
    )
    found = load_run_config(path, changes)
    assert isinstance(found, RelationConfig)
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rewrites_are_trained_on_and_written_as_data(
    data: Path, tiny_bert: str, tmp_path: Path
) -> None:
    settings = config(
        data, tiny_bert, "augmentation={kinds: [entity_swap, distractors], copies: 2, weight: 0.5}",
        "extraction.refit=true",
    )  # fmt: skip
    run_relations(settings, tmp_path / "run")
    found = lines(tmp_path / "run" / "augmented_train.jsonl")
    assert {one["kind"] for one in found} == {"entity_swap", "distractors"}
    assert 24 * 2 < len(found) <= 24 * 4
    assert len(lines(tmp_path / "run" / "augmented_valid.jsonl")) > 24 * 2
    # they are read as the data are
    (tmp_path / "run" / "augmented_train.jsonl").rename(data / "train.jsonl")
    assert len(read_relations(data).train) == len(found)


def test_an_adversarial_run_is_attacked_before_and_after(
    data: Path, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(
        data, tiny_bert, "augmentation={kinds: [entity_swap, adversarial]}",
        "attack={sentences: 16, min_similarity: 0.0, budget: 20}", "extraction.epochs=8",
    )  # fmt: skip
    whole = run_relations(settings, tmp_path / "whole")
    assert whole["attack"].keys() == {
        "attack_rate", "attack_rate_synonyms", "attack_rate_entity_swap",
        "attack_rate_distractors", "attack_edits", "attacked",
    }  # fmt: skip
    assert whole["test"]["attack_rate"] == whole["attack"]["attack_rate"]
    assert 0 <= whole["test"]["attack_rate_before"] <= 1
    found = lines(tmp_path / "whole" / "adversarial.jsonl")
    assert found and all(one["kind"].startswith("adversarial/") for one in found)
    flips = lines(tmp_path / "whole" / "attack.jsonl")
    assert all(flip["said"] != flip["before"]["relation"] == flip["after"]["relation"]
               for flip in flips)  # fmt: skip
    # the same sentences and rewrites again, from the checkpoint
    again = attack_run(tmp_path / "whole", out=tmp_path / "again.jsonl")
    assert again == whole["attack"]
    assert lines(tmp_path / "again.jsonl") == flips

    resumed = stopped_and_resumed(run_relations, settings, tmp_path / "part", monkeypatch)
    assert resumed == lasting(whole)


@pytest.mark.parametrize("changes", [
    ["extraction.fairness={groups: {a: [Ada], b: [Ben]}}", "extraction.r_drop=1.0"],
    ["extraction.ensemble=2", "augmentation.weight=0.5"], ["extraction.loss=bce"],
])  # fmt: skip
def test_rewrites_join_every_way_of_training(
    data: Path, tiny_bert: str, tmp_path: Path, changes: list[str]
) -> None:
    changes = ["augmentation.kinds=[entity_swap, adversarial]", "attack.budget=4", *changes]
    metrics = run_relations(config(data, tiny_bert, *changes), tmp_path / "run")
    assert 0 <= metrics["test"]["attack_rate_before"] <= 1


def test_weights_of_sentences_weigh_their_losses(data: Path, tiny_bert: str) -> None:
    network, tokenizer = load_model(tiny_bert)
    tuning = TuningConfig(dropout=0.0)
    found = read_relations(data)
    rows = Marker(tokenizer, "none").rows(found.train[:6])
    labels = torch.tensor([one.relation for one in found.train[:6]])
    model = RelationClassifier(network, 3, tuning).eval()

    def loss(weights: list[float] | None) -> float:
        task = ClassifierTask(
            model, rows, labels, None, found, tuning,
            weights=None if weights is None else torch.tensor(weights),
        )  # fmt: skip
        with torch.no_grad():
            return float(task.loss(torch.arange(6), torch.Generator()))

    each = [6 * loss([float(i == j) for i in range(6)]) for j in range(6)]
    assert loss(None) == pytest.approx(sum(each) / 6)
    assert loss([1, 1, 1, 0, 0, 0.5]) == pytest.approx((sum(each[:3]) + each[5] / 2) / 6)


def test_a_run_of_characters_is_attacked_at_its_end_and_again(
    data: Path, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(characters, "PACKAGED", tiny_bert)
    settings = config(
        data, "characters", "text.max_tokens=64", "extraction.epochs=1", "attack={sentences: 9}",
        "augmentation={kinds: [synonyms]}",
    )  # fmt: skip
    metrics = run_relations(settings, tmp_path / "run")
    assert lines(tmp_path / "run" / "augmented_train.jsonl") == []  # a character has no synonym
    assert metrics["attack"]["attack_rate_synonyms"] == 0
    assert attack_run(tmp_path / "run") == pytest.approx(metrics["attack"])


def test_an_attack_takes_the_synonyms_of_the_model_that_the_run_tuned(
    data: Path, masked_bert: str, tmp_path: Path
) -> None:
    settings = config(
        data, masked_bert, "extraction.epochs=1", "attack={min_similarity: 0.0}",
        "pretraining={epochs: 1, lr: 1.0e-2}",
    )  # fmt: skip
    metrics = run_relations(settings, tmp_path / "run")
    asked: list[str] = []

    def load(model: str) -> Any:
        asked.append(model)
        return load_model(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewriting, "load_model", load)
        again = attack_run(tmp_path / "run")
    assert asked == [str(tmp_path / "run" / "model")]
    assert again == pytest.approx(metrics["attack"])


@pytest.mark.parametrize(("change", "told"), [
    ("augmentation={kinds: [wordnet]}", "set augmentation.wordnet=PATH"),
    ("augmentation={kinds: [back_translation]}", "set augmentation.translation"),
    ("augmentation={kinds: [paraphrase], prompt: 'Say {this}'}", "prompt"),
    ("augmentation={kinds: [paraphrase], paraphraser: /nowhere}", "augmentation.paraphraser"),
    ("augmentation={kinds: [paraphrase], paraphraser: /nowhere/a.gguf}", "a .gguf file"),
    ("augmentation={kinds: [synonyms]}\nextraction.loss=bce\nextraction.multi_label=true",
     "set extraction.multi_label=false"),
    ("augmentation={kinds: [synonym]}", "'augmentation.kinds.0'"),
])  # fmt: skip
def test_what_cannot_be(data: Path, tiny_bert: str, tmp_path: Path, change: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        run_relations(config(data, tiny_bert, *change.split("\n")), tmp_path / "run")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
