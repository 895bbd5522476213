"""What unlabelled sentences add to a step: equations, views, memory, and a resumed training."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from relgnn.config import SemiConfig, TuningConfig
from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.posterior.thresholds import FixedWeigher
from relgnn.text.classifier import RelationClassifier
from relgnn.text.classifier_task import ClassifierTask
from relgnn.text.encoder import load_model
from relgnn.text.marking import NEITHER
from relgnn.text.objectives import Objective, Step
from relgnn.text.objectives.unlabelled import (
    FixMatch,
    MeanTeacher,
    PseudoLabelled,
    TokenMask,
    make_unlabelled,
)
from relgnn.text.rows import Marker, Marking
from relgnn.training import Interrupted, Trainer, TrainSettings
from tests.text.toy import toy_occurrences

EXAMPLES = [Example(row.text, row.head_span, row.tail_span, int(r))
            for row, r in zip(toy_occurrences()[0], toy_occurrences()[2], strict=True)]  # fmt: skip
LABELLED, UNLABELLED = EXAMPLES[:8], EXAMPLES[8:24]


class World:
    """A classifier, its marker, and a step over eight labelled sentences."""

    def __init__(self, tiny_bert: str, dropout: float = 0.0, marking: Marking = "special") -> None:
        network, tokenizer = load_model(tiny_bert)
        self.marker = Marker(tokenizer, marking)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.marker.resize(network)
            self.tuning = TuningConfig(dropout=dropout, batch_size=4)
            self.model = RelationClassifier(network, 2, self.tuning).train()
        self.rows = self.marker.rows(UNLABELLED)
        self.all = torch.arange(len(UNLABELLED))

    def step(self, seed: int = 0) -> Step:
        batch = self.marker.rows(LABELLED).batch(torch.arange(8))
        labels = torch.tensor([one.relation for one in LABELLED])
        embeddings = self.model.embed(batch)
        vectors = self.model.represent(batch, embeddings)
        logits = self.model.classify(vectors)
        return Step(
            self.model, batch, torch.arange(8), labels, embeddings, vectors, logits,
            functional.cross_entropy(logits, labels), functional.cross_entropy,
            torch.Generator().manual_seed(seed),
        )  # fmt: skip

    def logits(self) -> Tensor:
        return self.model(self.rows.batch(self.all))

    def view(self, share: float = 0.0) -> TokenMask:
        return TokenMask.of(self.marker, share)


@pytest.mark.parametrize("marking", ["special", "punctuation", "none"])
def test_hidden_tokens_are_a_share_of_the_free_ones(tiny_bert: str, marking: Marking) -> None:
    world = World(tiny_bert, marking=marking)
    rows = world.rows.batch(world.all)
    unknown = world.marker.tokenizer.unk_token_id  # the tiny model has no mask token
    every = TokenMask.of(world.marker, 0.999999)(rows, torch.Generator().manual_seed(0))
    hidden = every.ids != rows.ids
    assert (every.ids[hidden] == unknown).all()
    assert (rows.role[hidden] == NEITHER).all()
    words = world.marker.tokenizer.convert_ids_to_tokens(rows.ids[hidden].tolist())
    assert set(words) == {"was", "born", "lives", "now", "in", "."}
    assert int(hidden.sum()) == 4 * len(UNLABELLED)
    found = [TokenMask.of(world.marker, 0.5)(rows, torch.Generator().manual_seed(i)).ids
             for i in (0, 0, 1)]  # fmt: skip
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert 0.3 < float((found[0] != rows.ids)[hidden].float().mean()) < 0.7


def test_a_view_without_hiding_is_the_row_and_needs_no_token(tiny_bert: str) -> None:
    world = World(tiny_bert)
    rows = world.rows.batch(world.all)
    assert world.view()(rows, torch.Generator()) is rows
    poor: Any = SimpleNamespace(
        tokenizer=SimpleNamespace(mask_token_id=None, unk_token_id=None, all_special_ids=[]),
        plain=[], of_type={},
    )  # fmt: skip
    TokenMask.of(poor, 0.0)
    with pytest.raises(InputError, match=r"set semi\.mask=0"):
        TokenMask.of(poor, 0.1)


def test_fixmatch_is_its_equation(tiny_bert: str) -> None:
    world = World(tiny_bert)
    logits = world.logits()
    sure, label = logits.softmax(1).detach().max(1)
    threshold = float(sure.median())
    weight = (sure >= threshold).float()
    assert 0 < float(weight.mean()) < 1
    settings = SemiConfig(kind="fixmatch", ratio=2, weight=3.0)  # every row in a step
    objective = FixMatch(world.rows, settings, world.view(), FixedWeigher(threshold))
    found = objective(world.step())
    each = functional.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(found, 3.0 * (weight * each).mean())
    parameters = list(world.model.parameters())
    gradients = (torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
                 for loss in (found, 3.0 * (weight * each).mean()))  # fmt: skip
    for mine, reference in zip(*gradients, strict=True):
        if reference is not None:
            torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-6)
    none = FixMatch(world.rows, settings, world.view(), FixedWeigher(1.1))
    assert none(world.step()).item() == 0


def test_fixmatch_labels_without_dropout_and_teaches_with_it(tiny_bert: str) -> None:
    world = World(tiny_bert, dropout=0.5)
    seen: list[tuple[Tensor, Tensor]] = []

    class Recorder(FixedWeigher):
        def forward(self, p: Tensor, index: Tensor) -> Tensor:
            seen.append((p, index))
            return super().forward(p, index)

    settings = SemiConfig(kind="fixmatch", ratio=2)
    objective = FixMatch(world.rows, settings, world.view(), Recorder(0.5))
    losses = [float(objective(world.step(seed)).detach()) for seed in (0, 1)]
    assert world.model.training
    first, second = (p[index.argsort()] for p, index in seen)
    torch.testing.assert_close(first, second)
    assert not seen[0][0].requires_grad
    assert losses[0] != pytest.approx(losses[1])


def test_mean_teacher_moves_and_is_not_trained(tiny_bert: str) -> None:
    world = World(tiny_bert)
    settings = SemiConfig(kind="mean_teacher", ratio=2, decay=0.75)
    teacher = MeanTeacher(world.rows, settings, world.view(), world.model)
    assert not list(teacher.parameters())
    assert float(teacher(world.step()).detach()) == pytest.approx(0, abs=1e-10)
    before = world.logits().softmax(1).detach()
    old = world.model.head.weight.detach().clone()
    with torch.no_grad():
        world.model.head.weight.add_(1.0 + old)
    distance = ((world.logits().softmax(1) - before) ** 2).sum(1).mean()
    torch.testing.assert_close(teacher(world.step()), distance)
    teacher.stepped(world.model)
    expected = 0.75 * old + 0.25 * world.model.head.weight
    torch.testing.assert_close(teacher.state_dict()["teacher.head.weight"], expected)


def test_pseudo_labels_are_weighted_and_may_be_soft(tiny_bert: str) -> None:
    world = World(tiny_bert)
    generator = torch.Generator().manual_seed(3)
    targets = torch.rand(16, 2, generator=generator)
    targets /= targets.sum(1, keepdim=True)
    weight = torch.rand(16, generator=generator)
    settings = SemiConfig(ratio=2, weight=0.5)
    found = PseudoLabelled(world.rows, targets, weight, settings, world.view())(world.step())
    each = -(targets * world.logits().log_softmax(1)).sum(1)
    torch.testing.assert_close(found, 0.5 * (weight * each).mean())


def test_the_weight_rises_over_its_steps(tiny_bert: str) -> None:
    world = World(tiny_bert)
    settings = SemiConfig(ratio=2, ramp_up=4)
    targets, weight = torch.full((16, 2), 0.5), torch.ones(16)
    objective = PseudoLabelled(world.rows, targets, weight, settings, world.view())
    found = []
    for _ in range(6):
        found.append(float(objective(world.step()).detach()))
        objective.stepped(world.model)
    expected = [math.exp(-5 * (1 - min(t / 4, 1)) ** 2) for t in range(6)]
    assert found == pytest.approx([found[-1] * x for x in expected], rel=1e-4)


def test_a_step_draws_rows_anew_and_never_more_than_there_are(tiny_bert: str) -> None:
    world = World(tiny_bert)
    seen: list[Tensor] = []

    class Recorder(FixedWeigher):
        def forward(self, p: Tensor, index: Tensor) -> Tensor:
            seen.append(index)
            return super().forward(p, index)

    for ratio in (1, 1, 5):
        settings = SemiConfig(kind="fixmatch", ratio=ratio)
        FixMatch(world.rows, settings, world.view(), Recorder(0.5))(world.step(len(seen)))
    assert [len(set(index.tolist())) for index in seen] == [8, 8, 16]
    assert set(seen[0].tolist()) != set(seen[1].tolist())


@pytest.mark.parametrize("semi", [
    SemiConfig(kind="mean_teacher", ramp_up=3),
    SemiConfig(kind="fixmatch", selector="flex", threshold=0.55, min_probability=0.1),
    SemiConfig(kind="fixmatch", selector="free", momentum=0.5),
    SemiConfig(kind="fixmatch", selector="soft", momentum=0.5),
], ids=lambda semi: f"{semi.kind} {semi.selector}")  # fmt: skip
def test_a_resumed_training_is_the_uninterrupted_one(
    tiny_bert: str, tmp_path: Path, semi: SemiConfig
) -> None:
    class Cut(ClassifierTask):
        """Stops the training in the middle of the second epoch."""

        calls, at = 0, -1

        def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
            self.calls += 1
            if self.calls == self.at:
                raise KeyboardInterrupt
            return super().loss(batch, generator)

    def fitted(folder: Path, at: int = -1, resume: bool = False) -> dict[str, Tensor]:
        world = World(tiny_bert, dropout=0.1)
        labels = torch.tensor([one.relation for one in LABELLED])
        objectives: list[Objective] = [make_unlabelled(semi, world.rows, world.model, world.marker)]
        task = Cut(
            world.model, world.marker.rows(LABELLED), labels, None, None,  # type: ignore[arg-type]
            world.tuning, objectives,
        )  # fmt: skip
        task.at = at
        trainer = Trainer(TrainSettings(epochs=3, lr=1e-3), save_seconds=0.0)
        trainer.fit(task, folder, resume)
        return task.model.state_dict()

    whole = fitted(tmp_path / "whole")
    with pytest.raises(Interrupted):
        fitted(tmp_path / "part", at=4)
    resumed = fitted(tmp_path / "part", resume=True)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
