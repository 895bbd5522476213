"""The sparse search: against loops over pairs, budgets, dropped messages, bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.frontier import Budget, Visited, choose, expand
from relgnn.gnn.graph import MessageGraph
from tests.gnn.references import messages, normal, random_triples

NODES, RELATIONS, EDGES = 8, 3, 15
ENDLESS = Budget(10**9, 10**9)


def graph_of(seed: int) -> MessageGraph:
    return MessageGraph.build(random_triples(NODES, RELATIONS, EDGES, seed), NODES, RELATIONS)


def visited_of(seed: int) -> Visited:
    """Three queries that have visited some nodes each."""
    generator = torch.Generator().manual_seed(seed)
    extra = torch.randint(3 * NODES, (6,), generator=generator)
    return Visited(torch.cat([torch.arange(3) * NODES, extra]).unique(), NODES)


def pairs(visited: Visited) -> list[tuple[int, int]]:
    return list(zip(visited.query.tolist(), visited.node.tolist(), strict=True))


def test_a_search_starts_at_the_heads() -> None:
    assert pairs(Visited.start(torch.tensor([4, 0, 4]), NODES)) == [(0, 4), (1, 0), (2, 4)]


@given(st.integers(0, 1000))
def test_rows_are_found_and_missed(seed: int) -> None:
    visited = visited_of(seed)
    rows = visited.rows(torch.arange(3)[:, None], torch.arange(NODES))
    known = pairs(visited)
    for query in range(3):
        for node in range(NODES):
            pair = (query, node)
            expected = known.index(pair) if pair in known else len(known)
            assert rows[query, node] == expected


def chosen_by_loop(
    visited: Visited, priority: Tensor, degree: list[int], budget: Budget
) -> list[int]:
    rows: list[int] = []
    for query in range(3):
        own = [row for row, pair in enumerate(pairs(visited)) if pair[0] == query]
        sent = 0
        for row in sorted(own, key=lambda row: (-float(priority[row]), row))[: budget.nodes]:
            if sent >= budget.edges:
                break
            rows.append(row)
            sent += degree[int(visited.node[row])]
    return sorted(rows)


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 20), st.booleans())
def test_the_best_of_each_query_send(seed: int, nodes: int, edges: int, ties: bool) -> None:
    graph, visited, budget = graph_of(seed), visited_of(seed), Budget(nodes, edges)
    priority = normal(len(visited.key), seed=seed)
    if ties:
        priority = priority.round()
    degree = torch.bincount(graph.source, minlength=NODES).tolist()
    expected = chosen_by_loop(visited, priority, degree, budget)
    assert choose(visited, priority, graph, budget).tolist() == expected


def test_the_best_node_sends_however_many_edges_it_has() -> None:
    star = torch.tensor([[0, 0, tail] for tail in range(1, NODES)])
    graph = MessageGraph.build(star, NODES, RELATIONS)
    visited = Visited.start(torch.tensor([0, 0]), NODES)
    assert choose(visited, torch.zeros(2), graph, Budget(1, 1)).tolist() == [0, 1]


@given(st.integers(0, 1000))
def test_messages_are_followed_one_by_one(seed: int) -> None:
    triples = random_triples(NODES, RELATIONS, EDGES, seed)
    graph, visited = MessageGraph.build(triples, NODES, RELATIONS), visited_of(seed)
    chosen = torch.arange(0, len(visited.key), 2)
    keep = torch.arange(EDGES) % 4 != 0
    step = expand(visited, chosen, graph.drop(keep))
    before, after = pairs(visited), pairs(step.visited)
    expected = sorted(
        (query, source, relation, target)
        for query, source in (before[row] for row in chosen)
        for start, target, relation, _, number, _ in messages(triples, RELATIONS)
        if start == source and keep[number]
    )
    found = [
        (*before[int(chosen[sender])], int(graph.relation[message]), after[row][1])
        for row, sender, message in zip(
            step.pattern.row, step.pattern.column, step.message, strict=True
        )
    ]
    assert sorted(found) == expected
    assert [after[row] for row in step.kept] == before
    assert after == sorted({*before, *((query, target) for query, _, _, target in expected)})


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 10))
def test_a_smaller_budget_visits_a_part(seed: int, nodes: int, edges: int) -> None:
    graph, by_node = graph_of(seed), normal(NODES, seed=seed)

    def visits(budget: Budget) -> set[tuple[int, int]]:
        visited = Visited.start(torch.tensor([0, 3]), NODES)
        for _ in range(3):
            chosen = choose(visited, by_node[visited.node], graph, budget)
            visited = expand(visited, chosen, graph).visited
        return set(pairs(visited))

    everything = visits(ENDLESS)
    assert visits(Budget(nodes, edges)) <= everything
    assert visits(Budget(NODES, 2 * EDGES)) == everything


def test_an_empty_graph_leads_nowhere() -> None:
    graph = MessageGraph.build(torch.empty(0, 3, dtype=torch.int64), 1, RELATIONS)
    visited = Visited.start(torch.tensor([0, 0]), 1)
    step = expand(visited, choose(visited, torch.zeros(2), graph, Budget(1, 1)), graph)
    assert step.message.numel() == 0 and torch.equal(step.visited.key, visited.key)


@pytest.mark.parametrize(("nodes", "edges", "words"), [(0, 5, "0 nodes"), (5, -1, "-1 edges")])
def test_a_budget_below_one_is_refused(nodes: int, edges: int, words: str) -> None:
    with pytest.raises(InputError, match=f"budget of {words}: expected at least 1") as caught:
        Budget(nodes, edges)
    assert "\n" not in str(caught.value)
