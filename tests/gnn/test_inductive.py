"""The query-conditioned encoder: its equation, full = searched, and what it must not depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from relgnn.errors import InputError
from relgnn.gnn.frontier import Budget
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.inductive import QueryEncoder
from tests.gnn.references import Message, assert_same, messages, normal, random_triples, randomise

NODES, RELATIONS, EDGES, DIM, TEXT, LAYERS = 9, 3, 16, 6, 4, 3
ENDLESS = Budget(10**9, 10**9)
SMALL = Budget(2, 6)
MODES = {"full": None, "searched": ENDLESS, "small": SMALL}
HEADS, QUERIES = torch.tensor([0, 4, 8, 0]), torch.tensor([1, 5, 0, 3])


def encoder(kind: str = "table", layers: int = LAYERS, seed: int = 0) -> QueryEncoder:
    text = {"relation_text_dim": TEXT, "node_text_dim": TEXT} if kind == "text" else {}
    model = QueryEncoder(DIM, 2 * RELATIONS, layers, **text)
    randomise(model, seed)
    return model


def texts(kind: str, nodes: int = NODES) -> dict[str, Tensor]:
    if kind == "table":
        return {}
    return {
        "relation_text": normal(RELATIONS, TEXT, seed=1),
        "node_text": normal(nodes, TEXT, seed=2),
    }


def triples_of(seed: int = 0) -> Tensor:
    # The last node is isolated.
    return random_triples(NODES - 1, RELATIONS, EDGES, seed)


def graph_of(triples: Tensor, nodes: int = NODES, **given: Tensor) -> MessageGraph:
    return MessageGraph.build(triples, nodes, RELATIONS, **given)


def by_message(
    model: QueryEncoder,
    every: list[Message],
    head: int,
    relation: int,
    text: dict[str, Tensor],
    senders: int = NODES,
) -> Tensor:
    """The equation for one query, a message at a time: scores [N]."""
    scorer, relation_text = model.scorer, text.get("relation_text")
    q = model.relations.queries(torch.tensor([relation]), relation_text)
    boundary = [q[0] if node == head else torch.zeros(DIM) for node in range(NODES)]
    of_query = model.relations.vectors(relation_text) * model.relations.factors(q)
    h, reached = boundary, {head}
    for number, layer in enumerate(model.layers):
        vectors = of_query[number]
        heard, priority = list(boundary), [scorer(state, scorer.query(q)[0]) for state in h]
        best = sorted(reached, key=lambda node: (-priority[node].item(), node))[:senders]
        for source, target, by, _, _, weight in every:
            if source in best and weight:
                gate = torch.sigmoid(priority[source])
                heard[target] = heard[target] + weight * gate * h[source] * vectors[by]
                reached.add(target)
        h = [
            own + layer.norm(functional.relu(layer.own(own) + layer.heard(new)))
            for own, new in zip(h, heard, strict=True)
        ]
    vectors = of_query[LAYERS]
    role = [torch.zeros(DIM)] * NODES
    for _, target, by, _, _, weight in every:
        role[target] = role[target] + weight * vectors[by]
    given = scorer.query(q) + scorer.role(functional.relu(scorer.role_norm(torch.stack(role))))
    if scorer.text is None:
        return scorer(torch.stack(h), given)
    x = text["node_text"] / text["node_text"].square().mean(1, keepdim=True).sqrt()
    asked, match = model.match.head(x[head]) * (1 + model.match.query(q[0])), model.match.node(x)
    return scorer(torch.stack(h), given + scorer.text(x)) + match @ asked / TEXT**0.5


@pytest.mark.parametrize("kind", ["table", "text"])
@pytest.mark.parametrize("senders", [None, NODES, 2], ids=["full", "searched", "two a step"])
def test_it_is_the_equation(kind: str, senders: int | None) -> None:
    model, triples, text = encoder(kind), triples_of(), texts(kind)
    weight = torch.rand(EDGES, generator=torch.Generator().manual_seed(1))
    without = torch.arange(EDGES) % 5 == 0
    graph, tails = graph_of(triples, weight=weight), torch.tensor([[0, 8], [3, 3], [2, 4], [7, 1]])
    options = {"without": without, "budget": senders and Budget(senders, 10**9), **text}
    ours = [model(graph, HEADS, QUERIES, wanted, **options) for wanted in (None, tails)]
    every = messages(triples, RELATIONS, weight * ~without)
    asked = zip(HEADS.tolist(), QUERIES.tolist(), strict=True)
    theirs = [by_message(model, every, *pair, text, senders or NODES) for pair in asked]
    expected = torch.stack(theirs)
    assert_same(
        torch.cat(ours, 1),
        torch.cat([expected, expected.gather(1, tails)], 1),
        list(model.parameters()),
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12), st.integers(0, 30), st.integers(0, 3))
def test_the_whole_search_is_the_full_pass(seed: int, nodes: int, edges: int, layers: int) -> None:
    model = encoder(layers=layers, seed=seed)
    graph = graph_of(random_triples(nodes, RELATIONS, edges, seed), nodes)
    heads, tails = torch.arange(4) % nodes, torch.arange(8).view(4, 2) % nodes
    full = model(graph, heads, QUERIES, tails)
    # A budget of all nodes and all messages is as good as an endless one.
    searched = model(graph, heads, QUERIES, tails, budget=Budget(nodes, max(2 * edges, 1)))
    assert_same(searched, full, list(model.parameters()))


@pytest.mark.parametrize("kind", ["table", "text"])
@pytest.mark.parametrize("budget", MODES.values(), ids=MODES)
class TestBothModes:
    """What holds for the full pass and for a search, however small its budget."""

    def scores(self, kind: str, budget: Budget | None, **changed: Any) -> Tensor:
        given = {"graph": graph_of(triples_of()), "heads": HEADS, "relations": QUERIES}
        given |= {"budget": budget, **texts(kind), **changed}
        model: QueryEncoder = given.pop("model", None) or encoder(kind)
        return model(**given)

    def test_shapes(self, kind: str, budget: Budget | None) -> None:
        tails = torch.tensor([[0, 3], [8, 8], [1, 0], [7, 2]])
        everything = self.scores(kind, budget)
        some = self.scores(kind, budget, tails=tails)
        assert everything.shape == (4, NODES)
        torch.testing.assert_close(some, everything.gather(1, tails))

    def test_a_batch_is_its_queries_one_by_one(self, kind: str, budget: Budget | None) -> None:
        whole = self.scores(kind, budget)
        for row in range(len(HEADS)):
            one = slice(row, row + 1)
            alone = self.scores(kind, budget, heads=HEADS[one], relations=QUERIES[one])
            torch.testing.assert_close(alone, whole[one])

    def test_order_of_triples_does_not_matter(self, kind: str, budget: Budget | None) -> None:
        order = torch.randperm(EDGES, generator=torch.Generator().manual_seed(3))
        moved = self.scores(kind, budget, graph=graph_of(triples_of()[order]))
        torch.testing.assert_close(moved, self.scores(kind, budget))

    def test_permuting_entities_permutes_scores(self, kind: str, budget: Budget | None) -> None:
        triples, text = triples_of(), texts(kind)
        order = torch.randperm(NODES, generator=torch.Generator().manual_seed(2))
        place = order.argsort()
        moved = torch.stack([place[triples[:, 0]], triples[:, 1], place[triples[:, 2]]], 1)
        if kind == "text":
            text["node_text"] = text["node_text"][order]
        graph = graph_of(moved)
        other = self.scores(kind, budget, graph=graph, heads=place[HEADS], **text)
        torch.testing.assert_close(other, self.scores(kind, budget)[:, order])

    def test_a_graph_never_seen_of_another_size(self, kind: str, budget: Budget | None) -> None:
        model = encoder(kind)
        assert all(NODES not in parameter.shape for parameter in model.parameters())
        for nodes, edges in ((1, 0), (1, 3), (30, 0), (30, 99)):
            graph = graph_of(random_triples(nodes, RELATIONS, edges), nodes)
            text = texts(kind, nodes)
            heads = HEADS % nodes
            scores = self.scores(kind, budget, model=model, graph=graph, heads=heads, **text)
            assert scores.shape == (4, nodes) and scores.isfinite().all()

    def test_an_isolated_head_leaves_all_others_alone(
        self, kind: str, budget: Budget | None
    ) -> None:
        """Only the head itself has a state; the others are scored by role and text."""
        last = torch.tensor([NODES - 1])
        alone = self.scores(kind, budget, heads=last, relations=QUERIES[:1])
        nobody = graph_of(triples_of()[:0])
        silent = self.scores(kind, budget, heads=last, relations=QUERIES[:1], graph=nobody)
        torch.testing.assert_close(alone[0, -1], silent[0, -1])
        if kind == "table":
            assert silent[0, :-1].unique().numel() == 1
            assert silent[0, 0] != silent[0, -1]

    def test_double_precision_stays(self, kind: str, budget: Budget | None) -> None:
        single = self.scores(kind, budget)
        text = {name: tensor.double() for name, tensor in texts(kind).items()}
        exact = self.scores(kind, budget, model=encoder(kind).double(), **text)
        assert exact.dtype == torch.float64
        torch.testing.assert_close(exact.float(), single, atol=1e-4, rtol=1e-4)

    def test_gradients_reach_every_parameter(self, kind: str, budget: Budget | None) -> None:
        model = encoder(kind)
        every = torch.arange(2 * RELATIONS)
        scores = self.scores(kind, budget, model=model, heads=every, relations=every)
        scores.square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("budget", [None, ENDLESS], ids=["full", "searched"])
def test_a_path_of_l_steps_needs_l_layers(budget: Budget | None) -> None:
    """A node too far away scores the same whichever head asks."""
    path = torch.tensor([[node, 0, node + 1] for node in range(NODES - 1)])
    near, far, end = 4, 0, 4 + LAYERS
    for layers in range(1, LAYERS + 2):
        model = encoder(layers=layers)
        heads, tails = torch.tensor([near, far]), torch.tensor([[end], [end]])
        scores = model(graph_of(path), heads, QUERIES[[2, 2]], tails, budget=budget)
        assert ((scores[0] - scores[1]).abs() > 1e-5).item() == (layers >= LAYERS)


@pytest.mark.parametrize("budget", [None, ENDLESS], ids=["full", "searched"])
def test_triples_without_messages_are_as_if_removed(budget: Budget | None) -> None:
    triples, keep = triples_of(), torch.arange(EDGES) % 3 != 0
    model = encoder()
    dropped = model(graph_of(triples), HEADS, QUERIES, without=~keep, budget=budget)
    removed = model(graph_of(triples[keep]), HEADS, QUERIES, budget=budget)
    torch.testing.assert_close(dropped, removed)


def test_a_loop_and_a_triple_told_twice_count() -> None:
    model, plain = encoder(), torch.tensor([[0, 0, 1]])
    looped = torch.tensor([[0, 0, 1], [0, 1, 0]])
    heads, queries = HEADS[:1], QUERIES[:1]
    scores = [
        model(graph_of(triples, 2), heads, queries)
        for triples in (plain, looped, torch.cat([plain, plain]))
    ]
    twice = model(graph_of(plain, 2, weight=torch.tensor([2.0])), heads, queries)
    assert not torch.allclose(scores[0], scores[1])
    torch.testing.assert_close(scores[2], twice)


def test_a_triple_does_not_vouch_for_itself() -> None:
    """The scores of a target are those of the graph without it, in both directions."""
    triples = triples_of()
    without = torch.arange(EDGES) == 3
    head, relation, tail = triples[3:4].unbind(1)
    model, rest = encoder(), graph_of(triples[~without])
    for heads, queries in ((head, relation), (tail, relation + RELATIONS)):
        hidden = model(graph_of(triples), heads, queries, without=without)
        torch.testing.assert_close(hidden, model(rest, heads, queries))
        assert not torch.allclose(hidden, model(graph_of(triples), heads, queries))


def test_renaming_relations_with_their_texts_changes_nothing() -> None:
    model, triples, text = encoder("text"), triples_of(), texts("text")
    plain = model(graph_of(triples), HEADS[:1], QUERIES[:1], **text)
    order = torch.tensor([2, 0, 1])
    place = order.argsort()
    text["relation_text"] = text["relation_text"][order]
    triples[:, 1] = place[triples[:, 1]]
    other = model(graph_of(triples), HEADS[:1], place[QUERIES[:1]], **text)
    torch.testing.assert_close(other, plain)


def test_relations_never_seen_are_read_from_text() -> None:
    model, more = encoder("text"), RELATIONS + 4
    graph = MessageGraph.build(random_triples(NODES, more, EDGES), NODES, more)
    text = texts("text") | {"relation_text": normal(more, TEXT)}
    scores = model(graph, HEADS[:1], torch.tensor([2 * more - 1]), **text)
    assert scores.isfinite().all()


@pytest.mark.parametrize("budget", [None, ENDLESS], ids=["full", "searched"])
def test_half_precision_is_near(budget: Budget | None) -> None:
    model, graph = encoder("text"), graph_of(triples_of())
    exact = model(graph, HEADS, QUERIES, **texts("text"))
    with torch.autocast("cpu", torch.bfloat16):
        half = model(graph, HEADS, QUERIES, budget=budget, **texts("text"))
    torch.testing.assert_close(half.float(), exact, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("table", {"relations": torch.tensor([2 * RELATIONS])}, "query relation ids from 6 to 6"),
        ("table", {"relations": torch.tensor([-1])}, "query relation ids from -1"),
        (
            "table",
            {"heads": torch.tensor([NODES])},
            "head ids from 9 to 9: expected ids from 0 to 8",
        ),
        ("table", {"tails": torch.tensor([[0, NODES]])}, "tail ids from 0 to 9"),
        ("table", {"graph": MessageGraph.build(triples_of(), NODES, 4)}, "graph of 4 relations"),
        (
            "table",
            {"node_text": torch.ones(NODES, 2)},
            r"node text of shape \(9, 2\): expected None",
        ),
        ("text", {"node_text": None}, r"node text of shape None: expected \(9, 4\)"),
        ("text", {"node_text": torch.ones(NODES, 2)}, r"node text of shape \(9, 2\)"),
        ("text", {"relation_text": torch.ones(RELATIONS, 2)}, r"relation text \(shape \(3, 2\)\)"),
    ],
)
def test_bad_input_is_one_line(kind: str, change: dict[str, Any], words: str) -> None:
    plain = {"graph": graph_of(triples_of()), "heads": HEADS[:1], "relations": QUERIES[:1]}
    with pytest.raises(InputError, match=words) as caught:
        encoder(kind)(**(plain | texts(kind) | change))
    assert "\n" not in str(caught.value)


def family(people: int, seed: int) -> tuple[MessageGraph, Tensor, Tensor]:
    """A random tree of parents (relation 0), and everybody who has a grandparent with that one."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(people, generator=generator)
    parent = [int(uniform[child] * child) for child in range(people)]
    triples = torch.tensor([[child, 0, parent[child]] for child in range(1, people)])
    pairs = [(child, parent[parent[child]]) for child in range(1, people) if parent[child]]
    return graph_of(triples, people), *torch.tensor(pairs).unbind(1)


@pytest.mark.parametrize("budget", [None, Budget(8, 40)], ids=["full", "searched"])
def test_a_rule_learnt_in_one_family_holds_in_another(budget: Budget | None) -> None:
    graph, heads, tails = family(30, seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = QueryEncoder(16, 2 * RELATIONS, num_layers=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    grandparent = torch.ones_like(heads)
    for _ in range(40):
        loss = functional.cross_entropy(model(graph, heads, grandparent, budget=budget), tails)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    other, heads, tails = family(80, seed=1)
    with torch.no_grad():
        best = model(other, heads, torch.ones_like(heads), budget=budget).argmax(1)
    assert (best == tails).float().mean() > 0.9
