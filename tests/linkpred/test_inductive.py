"""Training of the query-conditioned encoder: what a step may see, and what its loss counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from relgnn.config.inductive import InductiveSettings
from relgnn.data import KnowledgeGraph
from relgnn.gnn.inductive import QueryEncoder
from relgnn.linkpred.inductive import QueryTask, message_graph

NODES, RELATIONS = 9, 3
# 0 and 1 are joined three times, in both directions; 2 and 3 by a triple and its reverse
TRIPLES = [(0, 0, 1), (1, 0, 0), (0, 1, 1), (2, 0, 3), (3, 0, 2), (1, 2, 2), (4, 1, 5), (0, 2, 4)]
BOTH = pytest.mark.parametrize("drop_between", [True, False])


def graph_of(triples: Any) -> KnowledgeGraph:
    entities, relations = tuple(map(str, range(NODES))), tuple("abc")[:RELATIONS]
    empty = np.empty((0, 3), dtype=np.int64)
    return KnowledgeGraph(
        "toy", entities, relations, entities, entities, relations, relations,
        np.array(triples), np.array([[5, 0, 6]]), empty,
    )  # fmt: skip


def task_of(graph: KnowledgeGraph, **settings: Any) -> QueryTask:
    torch.manual_seed(0)
    chosen = InductiveSettings(dim=8, layers=2, **{"batch_size": 3, **settings})
    return QueryTask(QueryEncoder(8, 2 * RELATIONS, 2), graph, chosen)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@BOTH
def test_a_step_leaves_out_its_targets_and_what_joins_their_ends(drop_between: bool) -> None:
    task, count = task_of(graph_of(TRIPLES), drop_between=drop_between), len(TRIPLES)
    for numbers in ([0], [0 + count, 6], [3, 5 + count], list(range(2 * count))):
        targets = [TRIPLES[number % count] for number in numbers]
        ends = [{head, tail} for head, _, tail in targets]
        expected = [
            one in targets or (drop_between and {one[0], one[2]} in ends) for one in TRIPLES
        ]
        assert task.left_out(torch.tensor(numbers)).tolist() == expected


@BOTH
def test_the_loss_does_not_see_them(drop_between: bool) -> None:
    """It is that of a graph without them; what else joins the ends counts unless dropped too."""
    task, batch = task_of(graph_of(TRIPLES), drop_between=drop_between), torch.tensor([0, 5])
    ours = task.loss(batch, draws())
    without = graph_of(
        [one for one, out in zip(TRIPLES, task.left_out(batch), strict=True) if not out]
    )
    drawn = torch.randint(NODES, (2, task.settings.negatives), generator=draws())
    tails = torch.cat([task.tail[batch][:, None], drawn], 1)
    scores = task.model(message_graph(without), task.head[batch], task.relation[batch], tails)
    known = torch.stack([drawn[0] == 1, drawn[1] == 2])
    share = scores[:, 1:].masked_fill(known, -1e30).softmax(1)
    wrong = (share * functional.softplus(scores[:, 1:])).sum(1)
    torch.testing.assert_close(ours, (functional.softplus(-scores[:, 0]) + wrong).mean())
    parallel = graph_of([(1, 1, 0) if one == (1, 0, 0) else one for one in TRIPLES])
    same = torch.equal(task_of(parallel, drop_between=drop_between).loss(batch, draws()), ours)
    assert same == drop_between


def test_a_query_whose_every_node_is_an_answer_has_no_wrong_one() -> None:
    task = task_of(graph_of([(0, 0, node) for node in range(NODES)]))
    batch = torch.tensor([1])
    score = task.model(
        task.graph, task.head[batch], task.relation[batch], task.tail[batch][:, None],
        without=task.left_out(batch),
    )  # fmt: skip
    torch.testing.assert_close(task.loss(batch, draws()), functional.softplus(-score).mean())


def test_batches_ask_for_both_ends_of_every_triple_once() -> None:
    task = task_of(graph_of(TRIPLES))
    batches = list(task.batches(0, draws()))
    assert len(batches) == task.num_batches(0) == 6
    assert sorted(torch.cat(batches).tolist()) == list(range(2 * len(TRIPLES)))
    asked = {
        (int(task.head[one]), int(task.relation[one]), int(task.tail[one]))
        for one in torch.cat(batches)
    }
    turned = {(tail, relation + RELATIONS, head) for head, relation, tail in TRIPLES}
    assert asked == {*TRIPLES} | turned
    assert task.items(batches[-1]) == 1


def test_valid_is_ranked_among_all_nodes() -> None:
    found = task_of(graph_of(TRIPLES)).evaluate()
    assert found["queries"] == 2 and 0 < found["mrr"] <= 1
