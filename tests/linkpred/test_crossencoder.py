"""The cross-encoder: what it reads and learns, and that a resumed run is an uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from relgnn.config import CrossEncoderConfig, load_run_config
from relgnn.data import KnowledgeGraph
from relgnn.data.folder import read_folder
from relgnn.errors import InputError
from relgnn.linkpred.candidates import LOWEST, Best, BestCandidates, promoted
from relgnn.linkpred.crossencoder import (
    CrossEncoder,
    CrossEncoderTask,
    CrossOrder,
    new_crossencoder,
)
from relgnn.loop.runs import run_any
from relgnn.runtime import Runtime
from tests.linkpred.interrupted import interrupt
from tests.linkpred.people import write_people

SETTINGS = """
data: {path: %s}
runtime: {device: cpu, threads: 1, precision: fp32}
text: {model: %s}
crossencoder: {of: base, top: 8, negatives: 3, batch_size: 8, lr: 0.003, dropout: 0.0}
"""
RULES = "data: {path: %s}\nrules: {min_support: 1}\n"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "data")


@pytest.fixture(scope="module")
def towns(people: Path) -> KnowledgeGraph:
    return read_folder(people)


def config_of(people: Path, model: str, *changes: str) -> CrossEncoderConfig:
    path = people.parent / "crossencoder.yaml"
    path.write_text(SETTINGS % (people, model), encoding="utf-8")
    config = load_run_config(path, changes)
    assert isinstance(config, CrossEncoderConfig)
    return config


def noise(heads: Tensor, relations: Tensor) -> Tensor:
    """Scores of 32 entities that mean nothing."""
    table = torch.randn(6 * 32, 32, generator=torch.Generator().manual_seed(1))
    return table[heads * 6 + relations]


def built(
    people: Path, model: str, graph: KnowledgeGraph, *changes: str
) -> tuple[CrossEncoder, CrossEncoderTask, Runtime]:
    config = config_of(people, model, *changes)
    runtime = Runtime.from_config(config.runtime)
    encoder = new_crossencoder(config, runtime, graph)
    best = BestCandidates(graph, noise, config.crossencoder.top)
    task = CrossEncoderTask(encoder, graph, best, config.crossencoder, runtime)
    return encoder.eval(), task, runtime


def read_alone(encoder: CrossEncoder, graph: KnowledgeGraph, h: int, r: int, t: int) -> Tensor:
    """The score of one triple, by the language model as it is and the texts themselves."""
    from relgnn.text.encoder import load_model

    tokenizer = load_model(str(encoder.reader.network.name_or_path))[1]
    texts = graph.node_texts()
    names = [*graph.relation_names, *(f"inverse of {name}" for name in graph.relation_names)]
    parts = (texts[h] or graph.entities[h], names[r], texts[t] or graph.entities[t])
    ids = [tokenizer.cls_token_id]
    for part in parts:
        ids += [*tokenizer(part, add_special_tokens=False)["input_ids"], tokenizer.sep_token_id]
    states = encoder.reader.network(input_ids=torch.tensor([ids])).last_hidden_state[0]
    found: Tensor = encoder.weight(states.mean(0))[0]
    return found


def test_it_reads_head_relation_and_candidate_as_one_text(
    people: Path, towns: KnowledgeGraph, tiny_bert: str
) -> None:
    encoder, _, runtime = built(people, tiny_bert, towns)
    heads, relations = torch.tensor([0, 30, 5]), torch.tensor([0, 4, 2])
    nodes = torch.tensor([[25, 31], [3, 7], [0, 5]])
    found = CrossOrder(encoder, runtime).read(heads, relations, nodes)
    with torch.no_grad():
        for row, (h, r) in enumerate(zip(heads.tolist(), relations.tolist(), strict=True)):
            alone = [read_alone(encoder, towns, h, r, t) for t in nodes[row].tolist()]
            torch.testing.assert_close(found[row], torch.stack(alone), rtol=1e-4, atol=1e-5)


def test_a_candidate_is_no_neighbour_of_its_query(
    people: Path, towns: KnowledgeGraph, tiny_bert: str
) -> None:
    encoder, _, _ = built(people, tiny_bert, towns, "text.neighbours=2")
    texts, (head, relation, tail) = encoder.texts, towns.train[0].tolist()
    assert texts.neighbours == 2
    name = towns.num_entities + 2 * towns.num_relations + tail
    (with_it,) = texts.pairs(*(torch.tensor([one]) for one in (head, relation, tail)))
    assert name not in with_it.tolist()
    other = next(one for one in range(towns.num_entities) if one != tail)
    (without,) = texts.pairs(*(torch.tensor([one]) for one in (head, relation, other)))
    assert name in without.tolist()
    lengths = texts.parts.lengths(torch.stack([with_it, without]))
    packed = texts.parts.pack(torch.stack([with_it, without]))
    assert sum(n * length for n, length in packed.shapes) == int(lengths.sum())


def test_rows_of_a_query_differ_in_training_by_their_candidate_alone(
    people: Path, towns: KnowledgeGraph, tiny_bert: str
) -> None:
    """Whose name is missing among the neighbours tells nothing of who the answer is."""
    encoder, task, _ = built(people, tiny_bert, towns, "text.neighbours=2")
    heads, relations, answers = task.asked
    shown = 0
    for query in range(len(heads)):
        some = torch.tensor([[int(answers[query]), 1, 8, 29]])
        one = slice(query, query + 1)
        rows = encoder.rows(heads[one], relations[one], some, answers[one])
        names = towns.num_entities + 2 * towns.num_relations
        near = [set(r[1:3].tolist()) - {-1} for r in rows]
        assert all(names + int(answers[query]) not in own for own in near)
        for candidate, own in zip(some[0].tolist(), near, strict=True):
            assert names + candidate not in own
            # what another row lacks is its own candidate
            assert all(missing - names in some[0].tolist() for missing in near[0] - own)
        shown += len(near[0])
    assert shown


def test_what_was_read_is_kept(people: Path, towns: KnowledgeGraph, tiny_bert: str,
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    encoder, task, runtime = built(people, tiny_bert, towns)
    order = CrossOrder(encoder, runtime)
    asked: list[int] = []
    read = CrossOrder.read

    def counting(self: CrossOrder, heads: Tensor, *rest: Tensor) -> Tensor:
        asked.append(len(heads))
        return read(self, heads, *rest)

    monkeypatch.setattr(CrossOrder, "read", counting)
    (one,) = task.best.parts(torch.tensor([0, 3, 9]), torch.tensor([0, 1, 0]))
    first = order(one)
    (more,) = task.best.parts(torch.tensor([9, 3, 4]), torch.tensor([0, 1, 1]))
    second = order(more)
    assert asked == [3, 1]
    torch.testing.assert_close(second[:2], first[[2, 1]], rtol=0, atol=0)
    monkeypatch.setattr("relgnn.linkpred.crossencoder.KEPT", 4)
    torch.testing.assert_close(order(one), first)
    assert asked == [3, 1] and len(order._kept) == 4
    (last,) = task.best.parts(torch.tensor([7]), torch.tensor([0]))
    order(last)
    assert len(order._kept) == 1  # what is kept has an end


def test_it_puts_candidates_first_in_its_own_order(
    people: Path, towns: KnowledgeGraph, tiny_bert: str
) -> None:
    encoder, task, runtime = built(people, tiny_bert, towns)
    order = CrossOrder(encoder, runtime)
    heads, relations = torch.tensor([2, 11]), torch.tensor([1, 0])
    scores = promoted(task.best, order)(heads, relations)
    (one,) = task.best.parts(heads, relations)
    new = order(one)
    for row in range(2):
        first = scores[row].topk(8).indices.tolist()
        assert first == one.nodes[row][new[row].argsort(descending=True)].tolist()
        rest = scores[row].argsort(descending=True)[8:].tolist()
        assert rest == [e for e in one.base[row].argsort(descending=True).tolist()
                        if e not in first]  # fmt: skip


def test_wrong_candidates_are_no_given_answers(
    people: Path, towns: KnowledgeGraph, tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, task, _ = built(people, tiny_bert, towns, "crossencoder.negatives=5")
    given = {tuple(one) for one in towns.train.tolist()}
    heads, relations, answers = task.asked
    seen: list[list[int]] = []
    rows = CrossEncoder.rows

    def noting(self: CrossEncoder, heads: Tensor, relations: Tensor, *rest: Tensor) -> Tensor:
        seen.extend(rest[0].tolist())
        return rows(self, heads, relations, *rest)

    monkeypatch.setattr(CrossEncoder, "rows", noting)
    loss = task.loss(torch.arange(task.count), torch.Generator().manual_seed(0))
    assert torch.isfinite(loss) and loss.requires_grad
    for place, nodes in enumerate(seen):
        h, r = int(heads[place]), int(relations[place])
        assert nodes[0] == answers[place] and len(nodes) == 6
        size = towns.num_relations
        held = [(h, r, t) if r < size else (t, r - size, h) for t in nodes[1:]]
        assert not given.intersection(held)


def test_lists_that_given_answers_fill_teach_no_wrong_ones(
    people: Path, towns: KnowledgeGraph, tiny_bert: str
) -> None:
    _, task, _ = built(people, tiny_bert, towns)
    parts = BestCandidates.parts

    def filled(self: BestCandidates, heads: Tensor, relations: Tensor) -> Any:
        for one in parts(self, heads, relations):
            scores = one.scores.clone()
            scores[:, 1:] = LOWEST
            yield Best(one.heads, one.relations, one.base, one.nodes, scores)

    task.best.parts = filled.__get__(task.best)  # type: ignore[method-assign]
    loss = task.loss(torch.tensor([0]), torch.Generator().manual_seed(0))
    # one wrong candidate is left beside the answer, and both scores are near zero at first
    assert float(loss.detach()) == pytest.approx(0.693, abs=0.3)


def test_it_learns_to_tell_answers(people: Path, towns: KnowledgeGraph, tiny_bert: str) -> None:
    encoder, task, _ = built(people, tiny_bert, towns)
    optimizer = torch.optim.AdamW(encoder.parameters(), 0.003)
    generator = torch.Generator().manual_seed(0)
    before = task.evaluate()["mrr"]
    losses = []
    for epoch in range(6):
        for batch in task.batches(epoch, generator):
            optimizer.zero_grad()
            loss = task.loss(batch, generator)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert task.evaluate()["mrr"] > before


def test_an_epoch_draws_some_queries_and_valid_some_triples(
    people: Path, towns: KnowledgeGraph, tiny_bert: str
) -> None:
    _, task, _ = built(
        people, tiny_bert, towns, "crossencoder.queries=20", "crossencoder.valid_triples=2"
    )
    generator = torch.Generator().manual_seed(0)
    epochs = [torch.cat(list(task.batches(epoch, generator))).tolist() for epoch in range(2)]
    assert [len(set(own)) for own in epochs] == [20, 20] and epochs[0] != epochs[1]
    assert task.num_batches(0) == 3
    assert task.selecting is not None and len(task.selecting.heads) == 4


def test_a_resumed_run_ends_as_an_uninterrupted_one(
    people: Path, tiny_bert: str, own_cache: Path, tmp_path: Path
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES % people)
    run_any(load_run_config(path), tmp_path / "base")
    changes = ("crossencoder.epochs=2", "crossencoder.dropout=0.1", "crossencoder.queries=32")
    config = config_of(people, tiny_bert, *changes)
    whole = run_any(config, tmp_path / "whole")
    folder = tmp_path / "run"
    interrupt(config, folder, CrossEncoderTask, 3)
    again = run_any(config, folder, resume=True)
    assert again["test"] == whole["test"] and again["valid"] == whole["valid"]
    left = (folder / "checkpoint.safetensors").read_bytes()
    assert left == (tmp_path / "whole" / "checkpoint.safetensors").read_bytes()


def test_a_base_that_is_not_there_is_refused(people: Path, tiny_bert: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'base': is no finished run"):
        run_any(config_of(people, tiny_bert), tmp_path / "run")
