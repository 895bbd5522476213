"""A run of relation extraction: it learns, resumes to the same numbers, opens, and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DistilBertConfig, DistilBertModel

from relgnn.config import RelationConfig, TuningConfig, load_run_config
from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.ranking.classification import macro_f1
from relgnn.runtime import torch_rng
from relgnn.text.classifier import RelationClassifier
from relgnn.text.classifier_task import ClassifierTask
from relgnn.text.encoder import load_model
from relgnn.text.objectives import symmetric_kl
from relgnn.text.reader import Reader, load_data, open_reader
from relgnn.text.relation_run import evaluate_run, run_relations
from relgnn.text.rows import Marker
from relgnn.training import Trainer, TrainSettings, load_json
from tests.text.stopping import lasting, stopped_and_resumed
from tests.text.toy import toy_occurrences

ROWS, _, RELATION = toy_occurrences()
LABELS = ("born", "lives")


def line(i: int) -> dict[str, Any]:
    row = ROWS[i]
    return {
        "text": row.text,
        "head": {"span": row.head_span, "type": "PER"},
        "tail": {"span": row.tail_span, "type": "LOC"},
        "relation": LABELS[RELATION[i]],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "relations.tsv").write_text("born\tborn in\t\nlives\tlives in\t\n")
    order = np.random.default_rng(0).permutation(len(ROWS))
    parts = {"train": order[:64], "valid": order[64:96], "test": order[96:]}
    for split, rows in parts.items():
        text = "".join(json.dumps(line(i)) + "\n" for i in rows)
        (folder / f"{split}.jsonl").write_text(text)
    return folder


def config(data: Path, model: str, *changes: str) -> RelationConfig:
    path = data.parent / "toy.yaml"
    path.write_text(
        f"data: {{path: {data}}}\ntext: {{model: {model}, max_tokens: 32}}\n"
        "extraction: {epochs: 4, batch_size: 16, lr: 3.0e-3, head_lr: 1.0e-2}\n"
    )
    found = load_run_config(path, changes)
    assert isinstance(found, RelationConfig)
    return found


def test_it_learns_selects_refits_and_opens(data: Path, tiny_bert: str, tmp_path: Path) -> None:
    settings = config(data, tiny_bert, "extraction.refit=true", "extraction.epochs=8")
    metrics = run_relations(settings, tmp_path / "run")
    assert metrics["test"]["micro_f1"] > 0.9
    assert set(metrics["rows"]["final"]) == {
        "macro_f1", "micro_f1", "ece", "ece_chance", "log_loss", "log_loss_before",
        "trained_parameters",
    }  # fmt: skip
    assert load_json(tmp_path / "run" / "calibration.json") == metrics["calibration"]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    valid = [entry["valid"]["macro_f1"] for entry in log if entry["valid"]]
    assert metrics["epoch"] == 1 + valid.index(max(valid))
    assert metrics == load_json(tmp_path / "run" / "metrics.json")
    again = evaluate_run(tmp_path / "run", "test")
    assert again == pytest.approx({name: metrics["test"][name] for name in again})
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.unlink()
    with pytest.raises(InputError, match="checkpoint.safetensors"):
        open_reader(tmp_path / "run")
    with pytest.raises(InputError, match="holds a run already"):
        run_relations(settings, tmp_path / "run")


@pytest.mark.parametrize("changes", [
    ["extraction.layers=0"], ["extraction.layers=1", "extraction.pooling=markers"],
    ["extraction.marking=none", "extraction.pooling=spans", "extraction.first=false"],
    ["extraction.focal=2.0", "extraction.label_smoothing=0.1"], ["extraction.r_drop=1.0"],
    ["extraction.marking=typed", "extraction.layer_decay=0.8"],
    ["extraction.optimizer=adafactor", "extraction.lr=0.1"], ["extraction.accumulate=3"],
    ["extraction.averaging=0.9", "extraction.refit=true"], ["extraction.checkpointing=true"],
    ["runtime.precision=fp16"], ["text.device_map={'': cpu}"],
])  # fmt: skip
def test_every_way_runs(data: Path, tiny_bert: str, tmp_path: Path, changes: list[str]) -> None:
    metrics = run_relations(config(data, tiny_bert, *changes), tmp_path / "run")
    assert 0 <= metrics["test"]["macro_f1"] <= 1


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    data: Path, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(data, tiny_bert, "extraction.refit=true")
    whole = run_relations(settings, tmp_path / "whole")
    resumed = stopped_and_resumed(run_relations, settings, tmp_path / "part", monkeypatch)
    assert resumed == lasting(whole)


def test_a_run_without_test_ends_with_the_selection(
    data: Path, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_relations(config(data, tiny_bert), tmp_path / "whole")
    seen: list[tuple[str, int]] = []
    judged, whole_data = Reader.logits, load_data(config(data, tiny_bert))

    def only_valid(reader: Reader, examples: Any) -> Any:
        assert not set(examples) & set(whole_data.test)
        return judged(reader, examples)

    monkeypatch.setattr(Reader, "logits", only_valid)
    metrics = run_relations(
        config(data, tiny_bert, "extraction.refit=true"), tmp_path / "run", test=False,
        observe=lambda task, record: seen.append((task, record.epoch)),
    )  # fmt: skip
    assert metrics["valid"] == whole["valid"] and metrics["epoch"] == whole["epoch"]
    assert metrics["sentences"]["test"] == 0 and "test" not in metrics
    assert seen == [("relation classifier", epoch) for epoch in range(1, 5)]
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_curves_and_results_are_tracked(data: Path, tiny_bert: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = run_relations(config(data, tiny_bert, "tracking.kind=tensorboard"), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tracking" / "relgnn"))
    events.Reload()
    loss = [event.step for event in events.Scalars("relation_classifier/loss")]
    (test,) = events.Scalars("test/macro_f1")
    assert loss == [1, 2, 3, 4]
    assert (test.step, test.value) == (metrics["epoch"], pytest.approx(metrics["test"]["macro_f1"]))


def test_accumulated_batches_are_the_large_one(tiny_bert: str) -> None:
    examples = [Example(row.text, row.head_span, row.tail_span, int(r))
                for row, r in zip(ROWS, RELATION, strict=True)][:32]  # fmt: skip

    def trained(batch: int, accumulate: int) -> torch.Tensor:
        network, tokenizer = load_model(tiny_bert)
        marker = Marker(tokenizer, "none")
        tuning = TuningConfig(batch_size=batch, dropout=0.0, lr=1e-3)
        torch.manual_seed(0)
        model = RelationClassifier(network, 2, tuning)
        labels = torch.tensor([one.relation for one in examples])
        task = InOrder(model, marker.rows(examples), labels, None, None, tuning)  # type: ignore[arg-type]
        settings = TrainSettings(epochs=1, lr=1e-3, accumulate=accumulate, clip=1.0)
        Trainer(settings).fit(task)
        return model.head.weight.detach()

    torch.testing.assert_close(trained(32, 1), trained(8, 4), rtol=1e-4, atol=1e-6)


class InOrder(ClassifierTask):
    def batches(self, epoch: int, generator: torch.Generator) -> list[torch.Tensor]:
        return list(torch.arange(len(self.rows)).split(self.settings.batch_size))


def test_batches_cover_every_sentence_once_and_follow_the_generator(tiny_bert: str) -> None:
    network, tokenizer = load_model(tiny_bert)
    tuning = TuningConfig(batch_size=5)
    rows = Marker(tokenizer, "none").rows(
        [Example(row.text, row.head_span, row.tail_span, 0) for row in ROWS]
    )
    model = RelationClassifier(network, 2, tuning)
    labels = torch.zeros(len(rows), dtype=torch.long)
    task = ClassifierTask(model, rows, labels, None, None, tuning)  # type: ignore[arg-type]
    first, second, other = (list(task.batches(0, torch_rng("order", seed))) for seed in (0, 0, 1))
    assert sorted(torch.cat(first).tolist()) == list(range(len(rows)))
    assert len(first) == task.num_batches(0)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_official_score_counts_a_wrong_direction_twice() -> None:
    families = ["A", "A", "B", "Other"]
    truth = np.array([0, 0, 1, 2, 3])
    predicted = np.array([0, 1, 1, 3, 2])
    # A: 3 true, 3 said, 2 hit. B: 1 true, 1 said, none hit.
    assert macro_f1(truth, predicted, [0, 1, 2], families) == pytest.approx((2 / 3 + 0) / 2)
    own = ["a", "b", "c", "d"]
    assert macro_f1(truth, predicted, [0, 1, 2], own) == pytest.approx(
        macro_f1(truth, predicted, [0, 1, 2])
    )


def test_symmetric_kl_is_zero_for_equal_rows_and_symmetric() -> None:
    a, b = torch.randn(4, 3), torch.randn(4, 3)
    assert float(symmetric_kl(a, a + 2.0)) == pytest.approx(0, abs=1e-6)
    p, q = a.softmax(1), b.softmax(1)
    both = ((p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)) / 2
    torch.testing.assert_close(symmetric_kl(a, b), both.mean())


@pytest.mark.parametrize(("change", "told"), [
    ("data.fraction=0.5", "no subset with 50 %"),
    ("text.model=/nowhere/at/all", "cannot be loaded"),
    ("extraction.layers=9", "has 3 layers"),
    ("text.device_map=nonsense", "cannot be loaded"),
    ("text.device_map={'': 97}", "text.device_map: {'': 97} cannot be followed here"),
    ("text.device_map={embeddings: disk, encoder: cpu, pooler: cpu}", "cannot be tuned"),
    ("text.max_tokens=129", "the model has 128 positions; set text.max_tokens=128 or less"),
    ("text.max_tokens=7", "markers and ends take 6; two mentions need at least 8"),
    ("data.path=/nowhere", "/nowhere: no such folder"),
])  # fmt: skip
def test_what_cannot_be(data: Path, tiny_bert: str, tmp_path: Path, change: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        run_relations(config(data, tiny_bert, change), tmp_path / "run")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_whose_layers_lie_otherwise(data: Path, tiny_bert: str, tmp_path: Path) -> None:
    _, tokenizer = load_model(tiny_bert)
    tokenizer.save_pretrained(tmp_path / "distil")
    DistilBertModel(DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, n_layers=2, n_heads=2, hidden_dim=64,
        max_position_embeddings=96,
    )).save_pretrained(tmp_path / "distil")  # fmt: skip
    model = f"text.model={tmp_path / 'distil'}"
    for i, change in enumerate(("extraction.layers=null", "extraction.layers=0")):
        settings = config(data, tiny_bert, model, change, "extraction.epochs=1")
        metrics = run_relations(settings, tmp_path / f"run{i}")
        again = evaluate_run(tmp_path / f"run{i}", "test")
        assert again == pytest.approx({name: metrics["test"][name] for name in again})
    for name, change, told in (
        (
            "few",
            "extraction.layers=1",
            "extraction.layers is 1, and DistilBertModel has no encoder.layer",
        ),
        ("falling", "extraction.layer_decay=0.9", "set it to 1$"),
    ):
        with pytest.raises(InputError, match=told):
            run_relations(config(data, tiny_bert, model, change), tmp_path / name)


@pytest.mark.parametrize(("split", "told"), [
    ("train", "has 0 training, 32 validation and 32 test"),
    ("valid", "has 64 training, 0 validation and 32 test"),
    ("test", "has 64 training, 32 validation and 0 test"),
])  # fmt: skip
def test_an_empty_part_is_refused(
    data: Path, tiny_bert: str, tmp_path: Path, split: str, told: str
) -> None:
    (data / f"{split}.jsonl").write_text("")
    with pytest.raises(InputError, match=told):
        run_relations(config(data, tiny_bert), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_data_set_is_told_where_it_was_looked_for(data: Path, tiny_bert: str) -> None:
    settings = config(data, tiny_bert)
    named = settings.model_copy(
        update={"data": settings.data.model_copy(update={"path": None, "name": "nothing"})}
    )
    with pytest.raises(InputError, match=r"data.name: nothing was not found in .*RELGNN_DATA"):
        load_data(named)
