"""Training of a link predictor: what a batch may see, how targets weigh, what valid gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.gnn.decoders import DECODERS
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.fit import new_predictor
from relgnn.linkpred.supervision import SameNumber, Supervision
from relgnn.linkpred.task import LinkPredictionTask, rank_triples
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.ranks import FilterIndex, evaluate_ranks
from tests.linkpred.tasks import CALM, make_task, training_graph
from tests.linkpred.toy import RUNTIME, taught, toy_config

LOSSES = ("cross_entropy", "bce", "margin", "self_adversarial")


def test_a_query_is_both_directions_of_a_triple(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features)
    given = len(graph.train)
    assert len(task.head) == 2 * given
    head, relation, tail = graph.train[3].tolist()
    queries = torch.stack([task.head, task.relation, task.tail], 1)
    assert queries[3].tolist() == [head, relation, tail]
    assert queries[given + 3].tolist() == [tail, relation + graph.num_relations, head]


def gradients(task: LinkPredictionTask, batch: Tensor) -> Tensor:
    task.model.zero_grad()
    task.loss(batch, torch.Generator().manual_seed(0)).backward()
    return torch.cat([p.grad.flatten() for p in task.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", DECODERS)
def test_scores_that_are_products_are_not_held_for_the_loss(
    graph: KnowledgeGraph, features: TextFeatures, kind: str
) -> None:
    task = make_task(graph, features, f"decoder.kind={kind}", "train.label_smoothing=0.1", *CALM)
    batch, weight = torch.arange(20), torch.rand(20, generator=torch.Generator().manual_seed(0))
    scored = task.see(batch, torch.Generator().manual_seed(0)).scored
    assert (scored.products is not None) == task._model.decoder.bilinear
    block_by_block = task._supervised(scored, batch, weight)
    assert ("_made" in vars(scored)) == (scored.products is None)
    whole = task._supervised(replace(scored, products=None), batch, weight)
    torch.testing.assert_close(block_by_block, whole)


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "self_adversarial"])
def test_a_target_of_weight_zero_is_as_if_absent(
    graph: KnowledgeGraph, features: TextFeatures, loss: str
) -> None:
    weight = torch.ones(len(graph.train))
    weight[3:6] = 0
    supervision = replace(Supervision.gold(graph.train), target_weight=weight)
    task = make_task(
        graph, features, "gnn.kind=none", f"train.loss={loss}", *CALM, supervision=supervision
    )
    kept, all_ = torch.tensor([0, 1, 2]), torch.arange(6)
    torch.testing.assert_close(3 * gradients(task, kept), 6 * gradients(task, all_))


def test_weight_scales_a_target(graph: KnowledgeGraph, features: TextFeatures) -> None:
    gold = Supervision.gold(graph.train)
    half = replace(gold, target_weight=gold.target_weight / 2)
    tasks = [
        make_task(graph, features, "gnn.kind=none", *CALM, supervision=s) for s in (gold, half)
    ]
    one, other = (gradients(task, torch.arange(8)) for task in tasks)
    torch.testing.assert_close(one, 2 * other)


@pytest.mark.parametrize("sampler", ["uniform", "typed"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(
    graph: KnowledgeGraph, features: TextFeatures, loss: str, sampler: str
) -> None:
    task = make_task(
        graph, features, f"train.loss={loss}", f"train.negative_sampler={sampler}",
        "train.n3=0.01", *CALM,
    )  # fmt: skip
    optimizer = torch.optim.Adam(task.model.parameters(), lr=0.02)
    batch, generator = torch.arange(len(task.head)), torch.Generator()
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        value = task.loss(batch, generator.manual_seed(0))
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < losses[0]


def test_wrong_answers_of_an_inverse_query_are_heads(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(
        graph, features, "train.loss=margin", "train.negative_sampler=typed", "train.negatives=20"
    )
    relations = torch.tensor([0, 0 + graph.num_relations])
    wrong = task._wrong_tails(relations, torch.Generator().manual_seed(0))
    of_relation = graph.train[graph.train[:, 1] == 0]
    assert wrong.shape == (2, 20)
    assert set(wrong[0].tolist()) <= set(of_relation[:, 2].tolist())
    assert set(wrong[1].tolist()) <= set(of_relation[:, 0].tolist())


def test_batches_repeat_and_hold_every_query_once(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features)
    drawn = [list(task.batches(0, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not torch.equal(drawn[0][0], drawn[2][0])
    assert len(drawn[0]) == task.num_batches(0) == 2
    assert [task.items(batch) for batch in drawn[0]] == [32, 20]
    assert torch.equal(torch.cat(drawn[0]).sort().values, torch.arange(52))


def test_valid_metrics_are_those_of_the_naive_ranks(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features)
    model = task._model.eval()
    known = {tuple(t) for t in graph.filter_triples("valid").tolist()}
    reciprocal = []
    with torch.no_grad():
        encoded = model.encode(task.graph)
        for h, r, t in graph.valid.tolist():
            for query, relation, answer in ((h, r, t), (t, r + graph.num_relations, h)):
                scores = model.score_tails(
                    encoded, torch.tensor([query]), torch.tensor([relation])
                )[0].tolist()
                better = 0
                for e, score in enumerate(scores):
                    triple = (query, r, e) if relation == r else (e, r, query)
                    better += triple not in known and score > scores[answer]
                reciprocal.append(1 / (1 + better))
    metrics = task.evaluate()
    assert metrics["mrr"] == pytest.approx(np.mean(reciprocal))
    assert metrics["queries"] == 2 * len(graph.valid)


def test_ranking_leaves_the_model_in_its_mode_and_reads_what_it_is_told(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features)
    answers: dict[tuple[int, int], list[int]] = {}
    for h, r, t in graph.test.tolist():
        answers.setdefault((h, r), []).append(t)
        answers.setdefault((t, r + graph.num_relations), []).append(h)

    def read(heads: Tensor, relations: Tensor) -> Tensor:
        out = torch.zeros(len(heads), graph.num_entities)
        for row, query in enumerate(zip(heads.tolist(), relations.tolist(), strict=True)):
            out[row, answers[query]] = 1000.0
        return out

    index = FilterIndex.build(graph.filter_triples("test"), graph.num_relations)
    task.model.train()
    ranks = rank_triples(task._model, task.graph, graph.test, index, read)
    assert task.model.training
    assert all((side.realistic == 1).all() for side in ranks.values())


@pytest.mark.parametrize("kind", ["rgcn", "compgcn", "attention"])
def test_a_drawn_part_with_every_neighbour_gives_the_whole_graphs_gradients(
    graph: KnowledgeGraph, features: TextFeatures, kind: str
) -> None:
    sampled = ("train.loss=self_adversarial", "gnn.target_dropout=0", f"gnn.kind={kind}", *CALM)
    whole = make_task(graph, features, *sampled)
    drawn = make_task(graph, features, *sampled, "gnn.fan_out=[1000]")
    batch = torch.tensor([1, 4, len(graph.train) + 2])
    for task in (whole, drawn):
        task.model.eval()
    torch.testing.assert_close(gradients(drawn, batch), gradients(whole, batch))
    assert drawn.sampler is not None and whole.sampler is None


@pytest.mark.parametrize("kind", sorted(DECODERS))
@pytest.mark.parametrize("first_pass", ["native", "fp32", "float64"])
def test_every_decoder_ranks_by_blocks_as_by_whole_scores(
    graph: KnowledgeGraph,
    features: TextFeatures,
    kind: str,
    first_pass: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_task(graph, features, f"decoder.kind={kind}")
    model = task._model.eval()
    if first_pass == "float64":
        model.double()
    monkeypatch.setattr("relgnn.linkpred.task.native_bf16", lambda _: first_pass == "native")
    index = FilterIndex.build(graph.filter_triples("test"), graph.num_relations)
    ranks = rank_triples(model, task.graph, graph.test, index)
    with torch.no_grad():
        encoded = model.encode(task.graph)
    whole = evaluate_ranks(
        lambda h, r: model.score_tails(encoded, h, r), graph.test, index, graph.num_relations
    )
    for side in ranks:
        assert (ranks[side].optimistic == whole[side].optimistic).all()
        assert (ranks[side].pessimistic == whole[side].pessimistic).all()


def test_ranking_among_admissible_entities(graph: KnowledgeGraph, features: TextFeatures) -> None:
    task = make_task(graph, features)
    index = FilterIndex.build(graph.filter_triples("test"), graph.num_relations)
    admissible = Admissible.build(graph.train, graph.num_entities, graph.num_relations, graph.types)
    every, some = (
        rank_triples(task._model, task.graph, graph.test, index, admissible=chosen)
        for chosen in (None, admissible)
    )
    people, towns = 20, 6
    for side in every:
        assert (some[side].pessimistic <= every[side].pessimistic).all()
        born = graph.test[:, 1] == 0
        most = {"head": people, "tail": towns}[side]
        assert (some[side].candidates[born] <= most).all()
        assert (every[side].candidates > some[side].candidates).all()


def test_given_targets_keep_their_context(graph: KnowledgeGraph) -> None:
    both = taught(graph)
    alone = both.given()
    assert (alone.targets.numpy() == graph.train).all() and len(alone.target_weight) == 26
    assert alone.context is both.context and alone.pseudo is None and alone.p_text is None
    gold = Supervision.gold(graph.train)
    assert gold.given() is gold


def test_typed_negatives_and_self_adversarial_weights_know_the_untyped_relation(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    """What the loop teaches: accepted triples, and pairs under one relation beyond the graph's."""
    both = taught(graph)
    untyped = both.targets.clone()
    untyped[-5:, 1] = graph.num_relations
    supervision = replace(both, targets=untyped, context=untyped)
    config = toy_config(
        "train.loss=self_adversarial", "train.negative_sampler=typed", "train.negatives=30"
    )
    model = new_predictor(config, RUNTIME, graph, features, graph.num_relations + 1)
    known = graph.filter_triples("valid")
    task = LinkPredictionTask(model, supervision, graph.valid, known, config)
    relations = torch.tensor([graph.num_relations, 2 * graph.num_relations + 1])
    wrong = task._wrong_tails(relations, torch.Generator().manual_seed(0))
    assert set(wrong[0].tolist()) <= set(untyped[-5:, 2].tolist())
    assert set(wrong[1].tolist()) <= set(untyped[-5:, 0].tolist())
    loss = task.loss(torch.arange(len(task.head)), torch.Generator().manual_seed(0))
    loss.backward()
    assert model.relation.grad is not None and (model.relation.grad[relations] != 0).any(1).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "self_adversarial"])
def test_relations_are_predicted_too(
    loss: str, graph: KnowledgeGraph, features: TextFeatures
) -> None:
    changes = (*CALM, "gnn.kind=none", f"train.loss={loss}", "decoder.kind=complex")
    batch = torch.tensor([0, 3, 30, 40])
    plain, taught = (
        make_task(graph, features, *changes, f"train.relation_prediction={weight}")
        for weight in (0, 2)
    )
    model = taught._model
    x, z = model.eval().encode(None)
    h, t = x[taught.head[batch]], x[taught.tail[batch]]
    scores = torch.stack([model.decoder.score(h, one.expand(4, -1), t) for one in z], 1)
    expected = torch.nn.functional.cross_entropy(scores, taught.relation[batch])
    losses = []
    for task in (plain, taught):
        task._model.eval()
        losses.append(task.loss(batch, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(losses[1] - losses[0], 2 * expected)


def test_edges_are_told_by_the_triple_that_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    context, targets = (torch.randint(5, (n, 3), generator=generator) for n in (90, 60))
    supervision = Supervision(targets, torch.ones(60), context, torch.ones(90))
    same = SameNumber(*supervision.triples(), torch.device("cpu"))
    batch = [0, 7, 30, 61]
    asked = {tuple(targets[row % 60].tolist()) for row in batch}
    expected = [tuple(triple) in asked for triple in context.tolist()]
    assert same.of_batch(torch.tensor(batch), None).tolist() == expected
    rows = torch.arange(0, 90, 3)
    assert same.of_batch(torch.tensor(batch), rows).tolist() == expected[::3]
    draws = torch.rand(90, generator=generator)
    first: dict[tuple[int, ...], float] = {}
    for triple, draw in zip(context.tolist(), draws.tolist(), strict=True):
        first.setdefault(tuple(triple), draw)
    assert len(first) < 90, "some edges are copies, which are kept or hidden together"
    torch.testing.assert_close(
        same.shared(draws, None), torch.tensor([first[tuple(t)] for t in context.tolist()])
    )
    copies = context[:, None].eq(context).all(-1)
    for rows in (torch.arange(90).flip(0), torch.randperm(90, generator=generator)[:40]):
        shared = same.shared(draws[rows], rows)
        alike = copies[rows][:, rows]
        assert torch.equal(shared[:, None] == shared, alike) and torch.isin(shared, draws).all()
    alone = SameNumber(torch.arange(90), torch.arange(2), torch.device("cpu"))
    assert alone.shared(draws, None) is draws
    for nothing in (
        replace(supervision, context=context[:0], context_weight=torch.ones(0)),
        replace(supervision, targets=targets[:0], target_weight=torch.ones(0)),
        replace(supervision, context=context[:0], targets=targets[:0]),
    ):
        edges, numbers = nothing.triples()
        assert (len(edges), len(numbers)) == (len(nothing.context), len(nothing.targets))
        SameNumber(edges, numbers, torch.device("cpu"))


def test_evidence_is_cast_once_and_only_for_training(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    spoken = torch.randn(len(graph.train), 16, generator=torch.Generator().manual_seed(0))
    supervision = replace(Supervision.gold(graph.train), evidence=spoken)
    once, batch = make_task(graph, features, *CALM, supervision=supervision), torch.arange(8)
    every_time = make_task(graph, features, *CALM, supervision=supervision)
    exact = gradients(once, batch)
    assert training_graph(once, [0]).evidence is once.graph.evidence
    with torch.autocast("cpu", torch.bfloat16):
        cast = training_graph(once, [0]).evidence
        assert cast is not None and cast.dtype == torch.bfloat16
        assert training_graph(once, [1]).evidence is cast
        every_time._cast = every_time.graph
        assert torch.equal(gradients(once, batch), gradients(every_time, batch))
    assert torch.equal(gradients(once, batch), exact)
    assert once.graph.evidence is not None and once.graph.evidence.dtype == torch.float32
