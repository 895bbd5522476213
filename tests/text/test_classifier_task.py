"""The moving average of a classifier's weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from relgnn.config import TuningConfig
from relgnn.data.relations import Example, RelationData
from relgnn.text.classifier import RelationClassifier
from relgnn.text.classifier_task import ClassifierTask
from relgnn.text.encoder import load_model
from relgnn.text.objectives import RDrop
from relgnn.text.rows import Marker
from relgnn.training import Interrupted, Trainer, TrainSettings
from tests.text.toy import toy_occurrences

ROWS, _, RELATION = toy_occurrences()
EXAMPLES = tuple(
    Example(row.text, row.head_span, row.tail_span, int(relation))
    for row, relation in zip(ROWS, RELATION, strict=True)
)[:24]
DATA = RelationData("toy", ("born", "lives"), ("", ""), ("", ""), EXAMPLES, EXAMPLES, ())
TUNING = TuningConfig(batch_size=8, averaging=0.5, dropout=0.1)
SETTINGS = TrainSettings(epochs=3, lr=1e-3, clip=1.0, metric="macro_f1")


def made(model: str, on_step: Callable[[ClassifierTask], None] | None = None) -> ClassifierTask:
    class Told(ClassifierTask):
        def stepped(self) -> None:
            super().stepped()
            if on_step is not None:
                on_step(self)

    network, tokenizer = load_model(model)
    torch.manual_seed(0)
    marker = Marker(tokenizer)
    marker.resize(network)
    classifier = RelationClassifier(network, 2, TUNING)
    rows, labels = marker.rows(EXAMPLES), torch.tensor([one.relation for one in EXAMPLES])
    return Told(classifier, rows, labels, (rows, labels), DATA, TUNING)


def test_it_follows_the_weights_and_is_what_remains(tiny_bert: str) -> None:
    weights: list[torch.Tensor] = []
    task = made(tiny_bert, lambda task: weights.append(task._model.hidden.weight.detach().clone()))
    Trainer(TrainSettings(epochs=2, lr=1e-3)).fit(task)
    expected = weights[0]
    for weight in weights[1:]:
        expected = 0.5 * expected + 0.5 * weight
    torch.testing.assert_close(task.judged.hidden.weight, expected)
    assert not torch.allclose(task._model.hidden.weight, expected)
    task.keep_average()
    for name, value in task.judged.state_dict().items():
        assert torch.equal(task._model.state_dict()[name], value), name


def test_the_optimiser_leaves_it_alone(tiny_bert: str) -> None:
    task = made(tiny_bert)
    trained = {id(p) for group in task.parameter_groups(1e-3, 0.0) for p in group["params"]}
    assert trained == {id(p) for p in task._model.parameters()}


def test_a_resumed_average_is_the_uninterrupted_one(tiny_bert: str, tmp_path: Path) -> None:
    whole, resumed = made(tiny_bert), made(tiny_bert)
    trainer = Trainer(SETTINGS, save_seconds=0.0)
    expected = trainer.fit(whole)
    steps: list[int] = []

    def stop(task: ClassifierTask) -> None:
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        trainer.fit(made(tiny_bert, stop), tmp_path)
    found = trainer.fit(resumed, tmp_path, resume=True)
    assert [r.valid for r in found.history] == [r.valid for r in expected.history]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def frozen(model: str, **settings: float) -> ClassifierTask:
    network, tokenizer = load_model(model)
    torch.manual_seed(0)
    marker = Marker(tokenizer, "none")
    tuning = TuningConfig(layers=0, marking="none", pooling="spans", batch_size=8, **settings)
    classifier = RelationClassifier(network, 2, tuning)
    objectives = [RDrop(tuning.r_drop)] if tuning.r_drop else []
    rows, labels = marker.rows(EXAMPLES), torch.tensor([one.relation for one in EXAMPLES])
    return ClassifierTask(classifier, rows, labels, (rows, labels), DATA, tuning, objectives)


def test_a_frozen_model_reads_every_sentence_once(tiny_bert: str) -> None:
    task = frozen(tiny_bert, dropout=0.3)
    read: list[int] = []
    task._model.network.register_forward_hook(lambda *found: read.append(1))
    found = Trainer(SETTINGS).fit(task)
    assert len(read) == 2  # train and valid, whatever the number of epochs
    assert found.history[-1].valid != {}


def test_what_was_read_once_is_what_would_be_read_again(tiny_bert: str) -> None:
    task = frozen(tiny_bert, dropout=0.3)
    task.place(torch.device("cpu"))
    batch = torch.tensor([3, 0, 17])

    def gradient() -> torch.Tensor:
        task.model.train().zero_grad()
        torch.manual_seed(1)
        task.loss(batch, torch.Generator()).backward()
        return torch.cat([p.grad.flatten() for p in task._model.parameters() if p.requires_grad])

    kept, valid = gradient(), task.evaluate()
    assert task.states is not None
    task.states = None
    torch.testing.assert_close(kept, gradient())
    assert task.evaluate() == valid


def test_an_objective_or_a_tuned_layer_reads_anew(tiny_bert: str) -> None:
    task = frozen(tiny_bert, r_drop=1.0)
    task.place(torch.device("cpu"))
    assert task._model.frozen
    assert task.states is None
    tuned = made(tiny_bert)
    tuned.place(torch.device("cpu"))
    assert not tuned._model.frozen
    assert tuned.states is None
