"""The bi-encoder: what it reads, what its vectors are, what it learns from a batch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.data.folder import read_folder
from relgnn.errors import InputError
from relgnn.linkpred.biencoder import BiEncoder, BiEncoderScorer, Neighbourhood, new_biencoder
from relgnn.linkpred.biencoder_task import BiEncoderTask
from relgnn.linkpred.biencoder_texts import NONE, PackedRows, nearest
from relgnn.runtime import Runtime
from relgnn.text.encoder import load_model
from tests.linkpred.people import biencoder_config, write_people
from tests.linkpred.toy import RUNTIME


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "data")


@pytest.fixture(scope="module")
def people(folder: Path) -> KnowledgeGraph:
    return read_folder(folder)


def make(
    folder: Path, people: KnowledgeGraph, tiny_bert: str, *changes: str
) -> tuple[BiEncoder, BiEncoderTask]:
    config = biencoder_config(folder, tiny_bert, *changes)
    model = new_biencoder(config, RUNTIME, people)
    return model, BiEncoderTask(model, people, config.biencoder, RUNTIME)


def decoded(model: BiEncoder, packed: PackedRows, tiny_bert: str) -> list[str]:
    tokenizer = load_model(tiny_bert)[1]
    sizes = [length for n, length in packed.shapes for _ in range(n)]
    rows = model.texts.parts.ids[packed.place].split(sizes)
    return [tokenizer.decode(rows[place]) for place in packed.back.tolist()]


def test_a_query_is_the_heads_text_its_neighbours_and_the_relation(
    folder: Path, people: KnowledgeGraph, tiny_bert: str
) -> None:
    model, _ = make(folder, people, tiny_bert, "text.neighbours=2")
    head, relation, tail = people.train[0]
    R = people.num_relations
    asked = model.texts.queries(torch.tensor([head, tail]), torch.tensor([relation, relation + R]))
    first, second = decoded(model, asked, tiny_bert)
    name = people.entity_names[head]
    assert first.startswith(f"[CLS] {name}. was born in") or first.startswith(f"[CLS] {name} .")
    assert first.endswith(f"[SEP] {people.relation_names[relation]} [SEP]")
    # the tiny model does not know the word "inverse"
    assert second.endswith(f"[UNK] [UNK] {people.relation_names[relation]} [SEP]")
    assert f"[SEP] {people.entity_names[tail]} [SEP]" in first
    hidden = decoded(
        model, model.texts.queries(torch.tensor([head]), torch.tensor([relation]),
                                   torch.tensor([tail])), tiny_bert,
    )[0]  # fmt: skip
    assert f"[SEP] {people.entity_names[tail]} [SEP]" not in hidden


def test_rows_keep_their_order_and_are_cut(
    folder: Path, people: KnowledgeGraph, tiny_bert: str
) -> None:
    model, _ = make(folder, people, tiny_bert, "text.max_tokens=6")
    nodes = torch.tensor([30, 0, 25, 7, 0])
    packed = model.texts.entities(nodes)
    assert sum(n for n, _ in packed.shapes) == 4  # what is asked for twice is read once
    found = decoded(model, model.texts.entities(nodes), tiny_bert)
    for text, node in zip(found, nodes.tolist(), strict=True):
        assert people.entity_names[node].split()[0] in text
        assert len(text.split()) <= 6
    assert model.texts.lengths(nodes).max() == 6


def test_neighbours_of_fewest_triples_come_first(people: KnowledgeGraph) -> None:
    near = nearest(people, 3)
    pairs = {(h, t) for h, _, t in people.train.tolist()}
    linked = {(a, b) for a, b in pairs if a != b} | {(b, a) for a, b in pairs if a != b}
    degree = np.bincount([a for a, _ in linked], minlength=people.num_entities)
    for node, row in enumerate(near.tolist()):
        own = sorted((b for a, b in linked if a == node), key=lambda b: (degree[b], b))
        assert row == (own + [NONE] * 3)[:3]


@pytest.mark.parametrize("changes", [(), ("biencoder.checkpointing=true",)])
def test_vectors_are_mean_pooled_states_of_the_language_model(
    folder: Path, people: KnowledgeGraph, tiny_bert: str, changes: tuple[str, ...]
) -> None:
    model, _ = make(folder, people, tiny_bert, *changes)
    nodes = torch.arange(people.num_entities)
    found = model.entities(nodes)
    network, tokenizer = load_model(tiny_bert)
    for node, text in enumerate(people.node_texts()):
        states = network(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = torch.nn.functional.normalize(states.mean(0), dim=0)
        torch.testing.assert_close(found[node], expected, rtol=1e-4, atol=1e-4)
    found.sum().backward()
    assert next(model.entity.parameters()).grad is not None


def test_upper_layers_over_kept_states_are_the_whole_model(
    folder: Path, people: KnowledgeGraph, tiny_bert: str
) -> None:
    whole, _ = make(folder, people, tiny_bert)
    upper, _ = make(folder, people, tiny_bert, "biencoder.layers=1")
    nodes = torch.arange(people.num_entities)
    # states are kept in bfloat16
    torch.testing.assert_close(upper.entities(nodes), whole.entities(nodes), rtol=0, atol=0.02)
    assert sum(p.numel() for p in upper.parameters()) < sum(p.numel() for p in whole.parameters())
    with pytest.raises(InputError, match="has 3 layers; set it from 1 to 2"):
        make(folder, people, tiny_bert, "biencoder.layers=3")


def slow_loss(task: BiEncoderTask, batch: list[int]) -> float:
    """The loss, query by query, with Python sets."""
    model, settings, R = task.encoder, task.settings, task.num_relations
    triples = task.triples.tolist()
    known = {(h, r, t) for h, r, t in triples} | {(t, r + R, h) for h, r, t in triples}
    chosen = [triples[i] for i in batch]
    queries = chosen + [[t, r + R, h] for h, r, t in chosen]
    ends = {end for h, _, t in chosen for end in (h, t)}
    heads, relations, answers = torch.tensor(queries).T
    q = model.queries(heads, relations, answers)
    v = dict(zip(sorted(ends), model.entities(torch.tensor(sorted(ends))), strict=True))
    total = 0.0
    for i, (h, r, t) in enumerate(queries):
        own = (q[i] @ v[t] - settings.margin) * model.scale
        wrong = [
            q[i] @ v[e] * model.scale
            for e in ends
            if e != t and (h, r, e) not in known and (settings.self_negatives or e != h)
        ]
        if task.queue is not None:
            wrong += [
                q[i] @ vector * model.scale
                for node, vector in zip(
                    task.queue.nodes.tolist(), task.queue.vectors, strict=True
                )
                if node >= 0 and (h, r, node) not in known
            ]  # fmt: skip
        total += float(torch.stack([own, *wrong]).logsumexp(0) - own)
        others = [
            q[j] @ v[t] * model.scale - (settings.margin * model.scale if t == t2 else 0)
            for j, (h2, r2, t2) in enumerate(queries)
            if j != i and (h2, r2, t) not in known
        ]
        total += float(torch.stack([own, *others]).logsumexp(0) - own)
    return total / len(queries)


@pytest.mark.parametrize(
    "changes", [(), ("biencoder.self_negatives=false",), ("biencoder.queue=20",)]
)
def test_loss_is_that_of_the_definition(
    folder: Path, people: KnowledgeGraph, tiny_bert: str, changes: tuple[str, ...]
) -> None:
    model, task = make(folder, people, tiny_bert, *changes)
    model.eval()
    generator = torch.Generator()
    task.loss(torch.arange(20, 28), generator)  # fills the queue
    batch = [0, 3, 5, 6, 11, 40]
    with torch.no_grad():
        expected = slow_loss(task, batch)
        found = float(task.loss(torch.tensor(batch), generator))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("layers", ["null", "1"])
def test_the_queue_holds_the_newest_vectors_of_a_running_mean(
    folder: Path, people: KnowledgeGraph, tiny_bert: str, layers: str
) -> None:
    changes = ("biencoder.queue=8", "biencoder.momentum=0.5", f"biencoder.layers={layers}")
    model, task = make(folder, people, tiny_bert, *changes)
    queue = task.queue
    assert queue is not None and queue.mean is not None
    before = model.entities(torch.tensor([0])).detach()
    with torch.no_grad():
        for parameter in model.entity.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.manual_seed(0))
    torch.testing.assert_close(queue.mean(model.texts.entities(torch.tensor([0]))), before)
    task.loss(torch.arange(6), torch.Generator())
    ends = task.triples[:6][:, [0, 2]].unique()
    assert len(ends) > 8
    assert sorted(queue.nodes.tolist()) == ends[-8:].tolist()
    task.stepped()
    moved = queue.mean(model.texts.entities(torch.tensor([0])))
    assert not torch.allclose(moved, before)


def test_a_teacher_that_agrees_adds_nothing_and_another_one_pulls(
    folder: Path, people: KnowledgeGraph, tiny_bert: str
) -> None:
    changes = ("biencoder.distil={run: x, weight: 2.0}",)
    model, task = make(folder, people, tiny_bert, *changes)
    model.eval()
    batch, generator = torch.arange(8), torch.Generator()
    plain = task.loss(batch, generator).item()

    def agrees(heads: Tensor, relations: Tensor) -> Tensor:
        answers = torch.cat([task.triples[:8, 2], task.triples[:8, 0]])
        nodes = torch.arange(people.num_entities)
        queries = model.queries(heads, relations, answers)
        return (queries @ model.entities(nodes).T * model.scale).detach()

    task.teacher = agrees
    assert task.loss(batch, generator).item() == pytest.approx(plain, abs=1e-4)
    task.teacher = lambda heads, relations: -agrees(heads, relations)
    assert task.loss(batch, generator).item() > plain + 0.1


def test_near_candidates_are_raised(folder: Path, people: KnowledgeGraph, tiny_bert: str) -> None:
    model, _ = make(folder, people, tiny_bert)
    heads, relations = torch.tensor([0, 24]), torch.tensor([0, 2])
    near = Neighbourhood(people, 1)
    plain = BiEncoderScorer(model.eval(), RUNTIME, None, 0.0)
    raised = BiEncoderScorer(model.eval(), RUNTIME, near, 0.5)
    difference = raised.dense(heads, relations) - plain.dense(heads, relations)
    torch.testing.assert_close(difference, near(heads) * 0.5 * model.scale.detach(), atol=1e-4,
                               rtol=0)  # fmt: skip
    linked = {(h, t) for h, _, t in people.train.tolist()}
    for row, head in enumerate(heads.tolist()):
        own = {t for h, t in linked if h == head} | {h for h, t in linked if t == head}
        assert set(near(heads)[row].nonzero()[:, 0].tolist()) == own - {head}
    assert (Neighbourhood(people, 2)(heads) >= near(heads)).all()


def test_bfloat16_trains(folder: Path, people: KnowledgeGraph, tiny_bert: str) -> None:
    model, task = make(folder, people, tiny_bert)
    runtime = Runtime(0, torch.device("cpu"), "bf16", "bf16", 1, True)
    exact = task.loss(torch.arange(8), torch.Generator())
    with runtime.autocast(training=True):
        half = task.loss(torch.arange(8), torch.Generator())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact.item(), rel=0.05)


def test_a_temperature_that_fell_too_far_can_rise_again(
    folder: Path, people: KnowledgeGraph, tiny_bert: str
) -> None:
    model, task = make(folder, people, tiny_bert)
    with torch.no_grad():
        model.log_scale.fill_(math.log(500))
    task.stepped()
    assert float(model.scale.detach()) == pytest.approx(100)
    model.scale.backward()
    assert model.log_scale.grad is not None and float(model.log_scale.grad) > 0
