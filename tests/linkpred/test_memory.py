"""A memory says what was told, leaves the predictor as it is, and is saved and resumed with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError
from relgnn.gnn.decoders import DECODERS, Beside, ComplEx, make_decoder
from relgnn.linkpred.features import TextFeatures, encode_features
from relgnn.linkpred.fit import Fitted, fit_predictor, new_predictor
from relgnn.linkpred.memory import MemoryTask
from relgnn.linkpred.model import shape_like, without_memory
from relgnn.linkpred.reading import Reading, TextReader
from relgnn.linkpred.supervision import Supervision
from relgnn.training import Keeping, load_tensors, module_tensors, restore_module, save_tensors
from tests.linkpred.toy import RUNTIME, HashEncoder, toy_config, toy_graph

OPTIONS = ("train.patience=null", "loop.memory.dim=64", "loop.memory.epochs=60")


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return toy_graph()


@pytest.fixture(scope="module")
def features(graph: KnowledgeGraph) -> TextFeatures:
    return encode_features(graph, HashEncoder(), "node")


def telling(graph: KnowledgeGraph, p: float = 0.95) -> Supervision:
    """Given triples as targets; hidden and test ones told."""
    told = torch.from_numpy(np.concatenate([graph.hidden, graph.test]))
    gold = Supervision.gold(graph.train)
    return replace(gold, told=told, told_p=torch.full((len(told),), p))


def fit(graph: KnowledgeGraph, features: TextFeatures, taught: Supervision, *overrides: str,
        **options: object) -> Fitted:  # fmt: skip
    config = toy_config("loop.folds=2", *OPTIONS, *overrides)
    return fit_predictor(config, RUNTIME, graph, features, taught, name="toy", **options)


@pytest.fixture(scope="module")
def plain(graph: KnowledgeGraph, features: TextFeatures) -> Fitted:
    return fit(graph, features, Supervision.gold(graph.train))


@pytest.fixture(scope="module")
def told(graph: KnowledgeGraph, features: TextFeatures) -> Fitted:
    return fit(graph, features, telling(graph))


def mrr(fitted: Fitted, triples: np.ndarray, graph: KnowledgeGraph) -> float:
    ranks = fitted.ranks(triples, graph.filter_triples("test"))
    return float(np.mean([1 / side.realistic for side in ranks.values()]))


@pytest.mark.parametrize("kind", DECODERS)
def test_two_decoders_side_by_side_add_their_scores(kind: str) -> None:
    torch.manual_seed(0)
    one, two = make_decoder(kind, 8), ComplEx(4)
    both = Beside(one, two)
    h, t, u, v = torch.randn(5, 8), torch.randn(7, 8), torch.randn(5, 4), torch.randn(7, 4)
    r, q = torch.randn(5, one.relation_dim), torch.randn(5, 4)
    left, right, tails = torch.cat([h, u], 1), torch.cat([r, q], 1), torch.cat([t, v], 1)
    expected = one.score_all(h, r, t) + two.score_all(u, q, v)
    torch.testing.assert_close(both.score_all(left, right, tails), expected)
    torch.testing.assert_close(both.score(left[:, None], right[:, None], tails), expected)
    assert (both.dim, both.relation_dim) == (12, one.relation_dim + 4)
    assert both.bilinear == one.bilinear
    if both.bilinear:
        torch.testing.assert_close(both.query(left, right) @ tails.T, expected)
    moduli = both.factors(left, right, left)
    assert len(moduli) == len(one.factors(h, r, h)) + 3


def test_what_was_told_is_remembered_and_the_predictor_is_as_it_was(
    graph: KnowledgeGraph, plain: Fitted, told: Fitted
) -> None:
    before = module_tensors(plain.model)
    after = without_memory(module_tensors(told.model))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    heard = np.concatenate([graph.hidden, graph.test])
    assert mrr(told, heard, graph) > mrr(plain, heard, graph) + 0.2


def test_it_says_what_a_reader_of_the_same_would(
    graph: KnowledgeGraph, plain: Fitted, told: Fitted
) -> None:
    config = toy_config("loop.folds=2", *OPTIONS).loop
    assert config is not None and config.memory is not None
    spoken = telling(graph)
    assert spoken.told is not None and spoken.told_p is not None
    reader = TextReader(spoken.told.numpy(), spoken.told_p.numpy(), 26, 3).scores(
        Reading.alike(config.memory.weight, config.memory.floor, 3)
    )
    heads, relations = spoken.told[:, 0], spoken.told[:, 1]
    with torch.no_grad():
        alone, both = (
            one.model.score_tails(one.model.encode(one.graph), heads, relations).log_softmax(1)
            for one in (plain, told)
        )
        read = (alone + reader(heads, relations)).log_softmax(1)

    def apart(student: torch.Tensor) -> float:
        return float((read.exp() * (read - student)).sum(1).mean())

    assert apart(both) < 0.1 * apart(alone)


def test_of_what_is_below_the_floor_it_says_nothing(
    graph: KnowledgeGraph, features: TextFeatures, plain: Fitted
) -> None:
    silent = fit(graph, features, telling(graph, p=0.05))
    assert silent.model.memory is not None
    heads, relations = torch.tensor(graph.train[:, :2]).unbind(1)
    with torch.no_grad():
        one, other = (
            f.model.score_tails(f.model.encode(f.graph), heads, relations).softmax(1)
            for f in (plain, silent)
        )
    torch.testing.assert_close(one, other, atol=0.02, rtol=0)


def test_its_queries_are_those_told_of_and_those_given(graph: KnowledgeGraph) -> None:
    config = toy_config("loop.folds=2", *OPTIONS).loop
    assert config is not None and config.memory is not None
    gold = Supervision.gold(graph.train[:1])
    told = torch.tensor([[0, 1, 21], [3, 0, 22]])
    taught = replace(gold, told=told, told_p=torch.tensor([0.5, 0.05]))
    model = new_predictor(toy_config(), RUNTIME, graph, None)
    context = gold.message_graph(26, 3)
    task = MemoryTask(model, context, taught, graph.valid, graph.valid, config.memory)
    h, r, t = graph.train[0].tolist()
    expected = {(0, 1), (21, 1 + 3), (h, r), (t, r + 3)}
    assert {tuple(q) for q in task.queries.tolist()} == expected
    assert list(task.model.parameters()) == list(model.memory.parameters())


def test_without_anything_told_there_is_no_memory(
    graph: KnowledgeGraph, features: TextFeatures, plain: Fitted
) -> None:
    assert plain.model.memory is None
    none = replace(telling(graph), told=torch.zeros(0, 3).long(), told_p=torch.zeros(0))
    assert fit(graph, features, none).model.memory is None


def test_a_saved_one_loads_and_ranks_alike(
    graph: KnowledgeGraph, features: TextFeatures, told: Fitted, tmp_path: Path
) -> None:
    save_tensors(tmp_path / "model.safetensors", module_tensors(told.model))
    tensors = load_tensors(tmp_path / "model.safetensors")[0]
    model = new_predictor(toy_config(), RUNTIME, graph, features)
    with pytest.raises(InputError, match="does not fit the model"):
        restore_module(model, tensors, "it")
    shape_like(model, tensors)
    restore_module(model, tensors, "it")
    again = Fitted(model.eval(), told.graph)
    known = graph.filter_triples("test")
    for one, other in zip(
        told.ranks(graph.test, known).values(), again.ranks(graph.test, known).values(),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(one.realistic, other.realistic)


def test_a_warm_start_leaves_the_memory_behind(
    graph: KnowledgeGraph, features: TextFeatures, told: Fitted
) -> None:
    gold = Supervision.gold(graph.train)
    again = fit(graph, features, gold, "train.epochs=1", start=told.model.state_dict())
    assert again.model.memory is None


def test_a_resumed_memory_is_read_back(
    graph: KnowledgeGraph, features: TextFeatures, told: Fitted, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole = fit(graph, features, telling(graph), keeping=Keeping(tmp_path))

    def never(*args: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(MemoryTask, "loss", never)
    again = fit(graph, features, telling(graph), keeping=Keeping(tmp_path, resume=True))
    for one in (whole, again):
        assert all(
            torch.equal(x, y)
            for x, y in zip(
                one.model.state_dict().values(), told.model.state_dict().values(), strict=True
            )
        )
