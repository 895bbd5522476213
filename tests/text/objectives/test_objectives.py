"""Objectives: equations beside slow ones, gradients, frozen layers, and what a training keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from relgnn.config import RelationConfig
from relgnn.config.objectives import AdversarialConfig, ContrastConfig
from relgnn.data.relations import Example, RelationData
from relgnn.runtime import torch_rng
from relgnn.text.classifier import RelationClassifier
from relgnn.text.classifier_task import ClassifierTask, make_objectives
from relgnn.text.encoder import load_model
from relgnn.text.hiding import Hider
from relgnn.text.objectives import (
    Adversarial,
    BatchContrast,
    Counterfactual,
    Fairness,
    Mixup,
    Objective,
    QueueContrast,
    RDrop,
    Step,
    Virtual,
    symmetric_kl,
)
from relgnn.text.objectives.adversarial import projected, radius_of, unit, without_dropout
from relgnn.text.objectives.contrast import contrast, same_label
from relgnn.text.objectives.running_mean import move, running_mean
from relgnn.text.rows import Marker
from relgnn.training import Interrupted, Trainer, TrainSettings, module_tensors
from tests.text.toy import toy_occurrences

ROWS, _, RELATION = toy_occurrences()
EXAMPLES = tuple(
    Example(row.text, row.head_span, row.tail_span, int(r))
    for row, r in zip(ROWS, RELATION, strict=True)
)[:24]
DATA = RelationData("toy", ("born", "lives", "Other"), ("",) * 3, ("",) * 3, EXAMPLES, (), ())
EVERY = [
    {"adversarial": {"kind": "fgm"}}, {"adversarial": {"kind": "pgd"}},
    {"adversarial": {"kind": "vat"}}, {"contrast": {"kind": "batch", "dim": 8}},
    {"contrast": {"kind": "queue", "dim": 8, "size": 20}}, {"mixup": 0.5},
    {"debias": {"weight": 1.0}}, {"r_drop": 1.0},
    {"fairness": {"weight": 1.0, "groups": {"a": ["Ada"], "b": ["Ben"]}}},
]  # fmt: skip
NAMES = ["fgm", "pgd", "vat", "batch", "queue", "mixup", "debias", "r_drop", "fairness"]


class World:
    """A tiny classifier, its rows, and a step on the first eight of them."""

    def __init__(self, folder: str, device: torch.device | str = "cpu", **extraction: Any) -> None:
        self.config = RelationConfig.model_validate(
            {"data": {"name": "toy"}, "extraction": {"batch_size": 8, **extraction}}
        )
        network, tokenizer = load_model(folder)
        self.marker = Marker(tokenizer, "special")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.marker.resize(network)
            model = RelationClassifier(network, 3, self.config.extraction, DATA.negative)
        self.model = model.to(device)
        self.hider = Hider(self.marker)
        self.rows = self.marker.rows(EXAMPLES)
        self.labels = torch.tensor([one.relation for one in EXAMPLES])
        objectives = make_objectives(self.config, self.model, self.marker, DATA)
        self.task = ClassifierTask(
            self.model, self.rows, self.labels, None, DATA, self.config.extraction, objectives
        )
        self.device = device

    @property
    def objective(self) -> Objective:
        (only,) = self.task.objectives
        return only

    def step(self, index: Tensor | None = None) -> Step:
        index = torch.arange(8) if index is None else index
        rows, labels = self.rows.batch(index, self.device), self.labels[index].to(self.device)
        embeddings = self.model.embed(rows)
        if not embeddings.requires_grad:
            embeddings.requires_grad_()
        vectors = self.model.represent(rows, embeddings)
        logits = self.model.classify(vectors)

        def supervised(z: Tensor, y: Tensor, members: Tensor | None = None) -> Tensor:
            return nn.functional.cross_entropy(z, y)

        return Step(
            self.model, rows, index, labels, embeddings, vectors, logits,
            supervised(logits, labels), supervised, torch_rng("noise", 0, self.device),
        )  # fmt: skip


@pytest.mark.parametrize("extraction", EVERY, ids=NAMES)
@pytest.mark.parametrize("layers", [None, 1, 0])
def test_each_gives_a_gradient_whatever_is_frozen(
    tiny_bert: str, device: torch.device, extraction: dict[str, Any], layers: int | None
) -> None:
    world = World(tiny_bert, device, layers=layers, **extraction)
    task = world.task
    task.model.to(device).train()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        for start in (0, 8):
            loss = task.loss(torch.arange(start, start + 8), torch_rng("noise", 0, device))
    assert torch.isfinite(loss)
    loss.backward()
    trained = [(name, p) for name, p in task.model.named_parameters() if p.requires_grad]
    assert all(p.grad is not None for name, p in trained if "pooler" not in name)
    names = {name for name, _ in trained}
    assert any(".encoder.layer.2." in name for name in names) == (layers != 0)
    assert not any(".encoder.layer.1." in name for name in names) or layers is None
    for one in task.objectives:
        one.stepped(world.model)


@pytest.mark.parametrize("key", ["adversarial", "contrast", "debias"])
def test_weight_zero_is_the_baseline(tiny_bert: str, key: str) -> None:
    assert World(tiny_bert, **{key: {"weight": 0.0}}).task.objectives == []
    assert World(tiny_bert).task.objectives == []


def test_fgm_moves_words_by_epsilon_up_the_gradient(tiny_bert: str) -> None:
    world = World(tiny_bert, dropout=0.0)
    step, words = world.step(), world.hider.words(world.step().rows)
    settings = AdversarialConfig(kind="fgm", epsilon=0.05, weight=2.0)
    found = Adversarial(settings, world.hider)(step)
    clean = step.embeddings.detach().requires_grad_()
    loss = nn.functional.cross_entropy(world.model(step.rows, clean), step.labels)
    gradient = torch.autograd.grad(loss, clean)[0]
    expected = clean.detach().clone()
    for i in range(len(expected)):
        g = gradient[i][words[i]]
        expected[i][words[i]] += 0.05 * clean[i][words[i]].norm() * g / g.norm()
    other = nn.functional.cross_entropy(world.model(step.rows, expected), step.labels)
    torch.testing.assert_close(found, 2 * other)
    assert float(other.detach()) > float(step.loss.detach())
    one_step = settings.model_copy(update={"kind": "pgd", "steps": 1, "step_size": 1.0})
    torch.testing.assert_close(Adversarial(one_step, world.hider)(world.step()), found)


def test_pgd_climbs_higher_than_fgm_and_stays_in_the_ball(tiny_bert: str) -> None:
    world = World(tiny_bert, dropout=0.0)
    reached = [
        float(Adversarial(AdversarialConfig(kind=kind, epsilon=0.5, steps=6), world.hider)(
            world.step()
        ).detach())
        for kind in ("fgm", "pgd")
    ]  # fmt: skip
    assert reached[1] > reached[0]
    moves, radius = torch.randn(4, 5, 3), torch.tensor([0.1, 1.0, 5.0, 100.0])[:, None, None]
    found = projected(moves, radius)
    norms = moves.norm(dim=(1, 2))
    torch.testing.assert_close(found.norm(dim=(1, 2)), torch.minimum(norms, radius.flatten()))
    torch.testing.assert_close(found[3], moves[3])


def test_only_words_are_moved(tiny_bert: str) -> None:
    world = World(tiny_bert)
    rows = world.step().rows
    words = world.hider.words(rows)
    tokens = world.marker.tokenizer.convert_ids_to_tokens(rows.ids[0][words[0]].tolist())
    assert tokens == EXAMPLES[0].text.split()
    direction = unit(torch.randn(*rows.ids.shape, 4), words)
    assert not direction[~words].any()
    torch.testing.assert_close(direction.norm(dim=(1, 2)), torch.ones(8))
    assert not unit(torch.zeros(8, rows.ids.shape[1], 4), words).any()


def test_vat_needs_no_labels_and_finds_a_worse_direction_than_chance(tiny_bert: str) -> None:
    world = World(tiny_bert)
    step = world.step()
    settings = AdversarialConfig(kind="vat", epsilon=0.1, steps=3)
    virtual = Virtual(settings, world.hider)
    found = virtual(replace(step, labels=torch.full((8,), -1)))
    words = world.hider.words(step.rows)
    radius = radius_of(step.embeddings, words, 0.1)
    torch.manual_seed(0)
    with torch.no_grad(), without_dropout(world.model):
        answer = world.model(step.rows).softmax(1)

        def kl(move: Tensor) -> float:
            other = world.model(step.rows, step.embeddings + move).softmax(1)
            return float((answer * (answer / other).log()).sum(1).mean())

        chance = [kl(radius * unit(torch.randn_like(step.embeddings), words)) for _ in range(10)]
        assert kl(torch.zeros(())) == pytest.approx(0, abs=1e-6)
    assert float(found.detach()) > 2 * max(chance)
    assert world.model.training
    torch.testing.assert_close(virtual(world.step()), found)  # dropout has no part in it


def test_contrast_is_the_published_sum() -> None:
    torch.manual_seed(0)
    vectors = nn.functional.normalize(torch.randn(7, 4), dim=1)
    labels, negative = torch.tensor([0, 0, 1, 0, 2, 2, 1]), 2
    others = ~torch.eye(7, dtype=torch.bool)
    positive = same_label(labels, labels, negative) & others
    found = contrast(vectors @ vectors.T / 0.5, positive, others)
    terms = []
    for i in range(7):
        mates = [p for p in range(7) if p != i and labels[p] == labels[i] != negative]
        below = sum(float((vectors[i] @ vectors[a] / 0.5).exp()) for a in range(7) if a != i)
        if mates:
            above = [float((vectors[i] @ vectors[p] / 0.5).exp()) for p in mates]
            logs = [torch.tensor(x / below).log() for x in above]
            terms.append(-sum(logs) / len(mates))
    assert len(terms) == 5
    torch.testing.assert_close(found, torch.stack(terms).mean())
    assert float(contrast(vectors @ vectors.T, torch.zeros(7, 7, dtype=torch.bool), others)) == 0


def test_contrast_of_a_sentence_alone_is_nothing(tiny_bert: str) -> None:
    world = World(tiny_bert, contrast={"kind": "batch", "dim": 8})
    loss = world.task.loss(torch.arange(1), torch_rng("noise", 0))
    plain = World(tiny_bert).task
    assert float(world.objective(world.step(torch.arange(1))).detach()) == 0
    loss.backward()
    gradients = [p.grad for p in world.task.model.parameters() if p.grad is not None]
    assert torch.isfinite(loss) and all(torch.isfinite(g).all() for g in gradients)
    assert any(g.any() for g in gradients) and plain.objectives == []


def test_rows_of_several_labels_match_where_they_share_one() -> None:
    stated = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4], dtype=torch.bool)
    assert torch.equal(same_label(stated, stated, 2), expected)
    one = torch.tensor([0, 1, 2])
    hot = nn.functional.one_hot(one).float()
    assert torch.equal(same_label(one, one, None), same_label(hot, hot, None))


def test_the_queue_holds_the_newest_and_the_encoder_follows(tiny_bert: str) -> None:
    contrast = {"kind": "queue", "dim": 8, "size": 12, "momentum": 0.75}
    world = World(tiny_bert, dropout=0.0, layers=1, contrast=contrast)
    objective = world.objective
    assert isinstance(objective, QueueContrast)
    # Eight keys of the batch alone are known at first; every own key is a positive.
    step = world.step()
    own = nn.functional.normalize(objective.projection(step.vectors), dim=1)
    same = step.labels[:, None] == step.labels[None]
    everything = torch.ones(8, 8, dtype=torch.bool)
    expected = 0.1 * contrast_of(own, own, same, everything)
    torch.testing.assert_close(objective(step), expected)
    torch.testing.assert_close(objective.keys[:8], own.detach())
    objective(world.step(torch.arange(8, 16)))
    assert objective.labels[8:].tolist() == RELATION[8:12].tolist()
    assert objective.labels[:4].tolist() == RELATION[12:16].tolist()

    kept = {name: value.clone() for name, value in objective.mean_model.named_buffers()}
    with torch.no_grad():
        for p in world.model.parameters():
            p.add_(1.0)
    objective.stepped(world.model)
    trained = {name: p for name, p in world.model.named_parameters() if p.requires_grad}
    assert trained.keys() <= kept.keys()
    for name, p in trained.items():
        mean = objective.mean_model.get_buffer(name)
        torch.testing.assert_close(mean, 0.75 * kept[name] + 0.25 * p.detach())
    frozen = next(p for p in world.model.parameters() if not p.requires_grad)
    assert any(p is frozen for p in objective.mean_model.parameters())


def contrast_of(left: Tensor, right: Tensor, positive: Tensor, known: Tensor) -> Tensor:
    return contrast(left @ right.T / 0.1, positive, known)


def test_a_running_mean_is_saved_and_not_trained() -> None:
    linear = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    linear[1].requires_grad_(False)
    mean = running_mean(linear)
    assert [name for name, p in mean.named_parameters() if p.requires_grad] == []
    assert set(module_tensors(mean)) == {"0.weight", "0.bias"}
    x = torch.randn(5, 3)
    torch.testing.assert_close(mean(x), linear(x))
    with torch.no_grad():
        linear[0].weight.zero_()
    assert mean[0].weight.abs().sum() > 0
    move(mean, linear, 0.0)
    assert mean[0].weight.abs().sum() == 0


def test_mixup_is_the_loss_between_two_sentences(tiny_bert: str) -> None:
    world = World(tiny_bert, dropout=0.0, mixup=0.4)
    objective = world.objective
    assert isinstance(objective, Mixup)
    step = world.step()
    share, other = objective.draw(8, torch_rng("noise", 0))
    assert sorted(other.tolist()) == list(range(8))
    logs = world.model.head(share * step.vectors + (1 - share) * step.vectors[other]).log_softmax(1)
    each = [
        -share * logs[i, step.labels[i]] - (1 - share) * logs[i, step.labels[other[i]]]
        for i in range(8)
    ]
    torch.testing.assert_close(objective(step) + step.loss, torch.stack(each).mean())
    shares = [objective.draw(2, torch_rng("share", i))[0] for i in range(200)]
    assert 0.4 < sum(shares) / 200 < 0.6 and min(shares) < 0.05 and max(shares) > 0.95


def test_each_answer_of_a_mixed_sentence_has_the_weight_of_its_own(tiny_bert: str) -> None:
    world = World(tiny_bert, dropout=0.0, mixup=0.4)
    objective, step = world.objective, world.step()
    assert isinstance(objective, Mixup)
    world.task.weights[:8] = torch.tensor([1, 1, 1, 1, 0.2, 0.2, 0.2, 0.2])
    weights = world.task.weights[:8]
    share, other = objective.draw(8, torch_rng("noise", 0))
    assert (weights[other] != weights).any()
    logs = world.model.classify(share * step.vectors + (1 - share) * step.vectors[other])
    of_own, of_other = (
        nn.functional.cross_entropy(logs, labels, reduction="none")
        for labels in (step.labels, step.labels[other])
    )
    expected = (share * weights * of_own + (1 - share) * weights[other] * of_other).mean()
    found = world.task.loss(torch.arange(8), torch_rng("noise", 0))
    torch.testing.assert_close(found, expected)


def test_counterfactual_sentences_hide_the_entities(tiny_bert: str) -> None:
    world = World(tiny_bert, dropout=0.0)
    step = world.step()
    loss = Counterfactual(0.5, world.hider)(step)
    renamed = world.marker.rows(
        [replace_names(one, "zzz") for one in EXAMPLES[:8]]  # a word that the model does not know
    ).batch(torch.arange(8))
    expected = nn.functional.cross_entropy(world.model(renamed), step.labels)
    torch.testing.assert_close(loss, 0.5 * expected)


def replace_names(one: Example, name: str) -> Example:
    (a, b), (c, d) = one.head, one.tail
    text = one.text[:a] + name + one.text[b:c] + name + one.text[d:]
    shift = len(name) - (b - a)
    start = c + shift
    return one._replace(text=text, head=(a, a + len(name)), tail=(start, start + len(name)))


def test_fairness_is_the_gap_of_running_means(tiny_bert: str) -> None:
    world = World(tiny_bert, dropout=0.0)
    groups = torch.tensor([0, 0, 1, -1, 1, -1, -1, -1, *[-1] * 4, *[1] * 12])
    objective = Fairness(2.0, groups, 2)
    step = world.step()
    each = nn.functional.cross_entropy(step.logits, step.labels, reduction="none")
    first, second = each[:2].mean(), each[[2, 4]].mean()
    torch.testing.assert_close(objective(step), 2 * (first - second).abs())
    # Of the next batch only group 1 has sentences: group 0 stands with its mean, without gradient.
    for before, pulled in ((0.0, 1.0), (9.0, 0.0)):
        later = world.step(torch.arange(12, 20))
        objective.means[0], objective.means[1] = before, second.detach()
        found = objective(later)
        mean = 0.9 * second + 0.1 * later.loss
        torch.testing.assert_close(objective.means, torch.stack([mean * 0 + before, mean]).detach())
        torch.testing.assert_close(found, 2 * (mean - before).abs())
        gradient = torch.autograd.grad(found, later.logits, retain_graph=True)[0]
        own = torch.autograd.grad(later.loss, later.logits)[0]
        torch.testing.assert_close(gradient, 2 * pulled * own)
    alone = Fairness(2.0, groups, 2)(world.step(torch.arange(12, 20)))
    assert float(alone) == 0


def test_r_drop_is_two_losses_and_their_distance(tiny_bert: str) -> None:
    world = World(tiny_bert, dropout=0.3)
    step = world.step()
    torch.manual_seed(3)
    found = step.loss + RDrop(0.7)(step)
    torch.manual_seed(3)
    other = world.model(step.rows)
    both = (step.loss + nn.functional.cross_entropy(other, step.labels)) / 2
    torch.testing.assert_close(found, both + 0.7 * symmetric_kl(step.logits, other))
    assert float(symmetric_kl(step.logits, other).detach()) > 0


@pytest.mark.parametrize(
    "extraction", [EVERY[4], {**EVERY[8], **EVERY[5], **EVERY[2]}], ids=["queue", "others"]
)
def test_resumed_is_uninterrupted(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extraction: dict[str, Any]
) -> None:
    def trained(folder: Path, resume: bool = False, stop_after: int | None = None) -> Tensor:
        world = World(tiny_bert, layers=1, **extraction)
        if stop_after is not None:
            stopping(world.task, stop_after)
        settings = TrainSettings(epochs=2, lr=1e-2)
        Trainer(settings, save_seconds=0).fit(world.task, folder, resume, progress=False)
        return torch.cat([x.flatten() for x in module_tensors(world.task.model).values()])

    whole = trained(tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained(tmp_path / "part", stop_after=4)
    assert torch.equal(trained(tmp_path / "part", resume=True), whole)


def stopping(task: ClassifierTask, steps: int) -> None:
    """Interrupt a training in the middle of the step after `steps`."""
    loss: Callable[..., Tensor] = task.loss
    calls: list[int] = []

    def counted(*given: Any) -> Tensor:
        calls.append(1)
        found = loss(*given)
        if len(calls) > steps:
            raise Interrupted("stopped")
        return found

    task.loss = counted  # type: ignore[method-assign]


@pytest.mark.parametrize("name", ["fgm", "queue", "mixup", "debias", "fairness"])
def test_it_learns_with_each(tiny_bert: str, name: str) -> None:
    extraction = EVERY[NAMES.index(name)]
    world = World(tiny_bert, layers=0, dropout=0.0, head_lr=1e-2, **extraction)
    Trainer(TrainSettings(epochs=30, lr=1e-2)).fit(world.task, progress=False)
    predicted = world.model.eval()(world.rows.batch(torch.arange(24))).argmax(1)
    assert float((predicted == world.labels).float().mean()) > 0.9


def test_batch_contrast_pulls_sentences_of_one_relation_together(tiny_bert: str) -> None:
    world = World(tiny_bert, dropout=0.0)
    objective = BatchContrast(ContrastConfig(weight=1.0, dim=8), 32, DATA.negative)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    start = float(objective(world.step()).detach())
    for _ in range(20):
        optimizer.zero_grad()
        objective(world.step()).backward()
        optimizer.step()
    assert float(objective(world.step()).detach()) < start
