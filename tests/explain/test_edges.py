"""Edge explainers: one contract, and what each of them promises."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from relgnn.errors import InputError
from relgnn.explain.edges import (
    EXPLAINERS,
    EdgeImportance,
    GNNExplainer,
    IntegratedGradients,
    Occlusion,
)
from relgnn.explain.target import AnswerScore, Query, triples_of
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.fit import Fitted
from tests.explain.toy import KINDS, SMOOTH, toy_fitted
from tests.linkpred.toy import BORN, LIVES

QUERY, ANSWER = Query(0, BORN), 21


def target(fitted: Fitted) -> AnswerScore:
    return AnswerScore.of(fitted.model, fitted.graph, QUERY, ANSWER)


QUICK = {
    "integrated_gradients": IntegratedGradients(steps=4),
    "gnn_explainer": GNNExplainer(epochs=8),
    "occlusion": Occlusion(),
}


def test_every_explainer_is_held_to_the_contract() -> None:
    assert {name: type(make()) for name, make in EXPLAINERS.items()} == {
        name: type(one) for name, one in QUICK.items()
    }


@pytest.mark.parametrize("method", QUICK)
class TestContract:
    def explained(self, method: str, fitted: Fitted) -> EdgeImportance:
        return QUICK[method].explain(fitted.model, fitted.graph, QUERY, ANSWER)

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_edge_near_has_an_importance(self, method: str, kind: str) -> None:
        fitted = toy_fitted(kind)
        found, one = self.explained(method, fitted), target(fitted)
        assert found.edges.tolist() == one.edges.tolist()
        np.testing.assert_array_equal(found.triples, triples_of(fitted.graph)[found.edges].numpy())
        assert found.importance.shape == found.edges.shape == (len(found),)
        assert np.isfinite(found.importance).all()
        assert found.value == pytest.approx(one.without(one.edges[:0]), abs=1e-5)

    def test_the_model_is_left_as_it_was(self, method: str) -> None:
        fitted = toy_fitted("rgcn")
        before = {name: x.clone() for name, x in fitted.model.state_dict().items()}
        fitted.model.train()
        self.explained(method, fitted)
        assert not fitted.model.training
        for name, tensor in fitted.model.state_dict().items():
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
        assert all(parameter.grad is None for parameter in fitted.model.parameters())

    def test_twice_the_same(self, method: str) -> None:
        one, other = (self.explained(method, toy_fitted("compgcn")) for _ in range(2))
        np.testing.assert_array_equal(one.importance, other.importance)

    def test_no_edge_near(self, method: str) -> None:
        fitted = toy_fitted("rgcn")
        far = torch.tensor([[1, LIVES, 22], [2, BORN, 23]])
        lonely = Fitted(fitted.model, MessageGraph.build(far, 26, 3))
        found = self.explained(method, lonely)
        assert len(found) == len(found.order()) == 0
        assert found.value == pytest.approx(found.baseline, abs=1e-6)

    def test_a_model_without_messages(self, method: str) -> None:
        with pytest.raises(InputError, match="passes no messages"):
            self.explained(method, toy_fitted("rgcn", "gnn.kind=none"))


@pytest.mark.parametrize("kind", SMOOTH)
def test_integrated_gradients_are_complete(kind: str) -> None:
    fitted = toy_fitted(kind)
    found = IntegratedGradients(64).explain(fitted.model, fitted.graph, QUERY, ANSWER)
    assert abs(found.value - found.baseline) > 0.05
    assert found.gap == pytest.approx(0, abs=2e-3)
    assert found.importance.sum() == pytest.approx(found.value - found.baseline, abs=2e-3)


def test_the_baseline_of_gradients_has_no_edge_near() -> None:
    fitted = toy_fitted("rgcn")
    one = target(fitted)
    found = IntegratedGradients(2).explain(fitted.model, fitted.graph, QUERY, ANSWER)
    assert found.baseline == pytest.approx(one.without(one.edges), abs=1e-5)


def test_gradients_are_those_of_the_weights() -> None:
    """With one point in the middle they are w · ∂ log P(w / 2): here by differences."""
    fitted = toy_fitted("rgcn")
    one, step = target(fitted), 1e-2
    found = IntegratedGradients(1).explain(fitted.model, fitted.graph, QUERY, ANSWER)
    middle = one.weight / 2
    for place in range(0, len(one.edges), 3):
        moved = torch.zeros_like(middle)
        moved[place] = step
        with torch.no_grad():
            rise = float(one.of_weights(middle + moved) - one.of_weights(middle - moved))
        slope = rise / (2 * step) * float(one.weight[place])
        assert found.importance[place] == pytest.approx(slope, abs=2e-3)


def test_attention_has_a_gap_and_says_so() -> None:
    fitted = toy_fitted("attention")
    found = IntegratedGradients(64).explain(fitted.model, fitted.graph, QUERY, ANSWER)
    difference = found.value - found.baseline
    assert found.gap == pytest.approx(found.importance.sum() - difference)
    assert abs(found.gap) > 1e-3


def test_occlusion_is_what_is_lost() -> None:
    fitted = toy_fitted("compgcn")
    one = target(fitted)
    found = Occlusion().explain(fitted.model, fitted.graph, QUERY, ANSWER)
    for place, edge in enumerate(found.edges):
        lost = found.value - one.without(torch.tensor([edge]))
        assert found.importance[place] == pytest.approx(lost, abs=1e-5)
    assert found.baseline == pytest.approx(one.without(one.edges), abs=1e-5)


def test_a_mask_without_cost_makes_the_answer_likelier() -> None:
    fitted = toy_fitted("rgcn")
    one = target(fitted)
    free = GNNExplainer(size=0.0, entropy=0.0).explain(fitted.model, fitted.graph, QUERY, ANSWER)
    assert ((free.importance > 0) & (free.importance < 1)).all()
    mask = torch.from_numpy(free.importance).float()
    with torch.no_grad():
        found = float(one.of_weights(mask * one.weight))
        alike = [float(one.of_weights(share * one.weight)) for share in (0.25, 0.5, 0.75, 1.0)]
    assert found > max(alike) + 0.01


def test_a_mask_that_costs_is_smaller_and_one_that_must_decide_is_nearer_to_0_or_1() -> None:
    fitted = toy_fitted("rgcn")
    asked = fitted.model, fitted.graph, QUERY, ANSWER
    free = GNNExplainer(size=0.0, entropy=0.0).explain(*asked).importance
    small = GNNExplainer(size=1.0, entropy=0.0).explain(*asked).importance
    sharp = GNNExplainer(size=0.0, entropy=1.0).explain(*asked).importance
    assert small.sum() < free.sum()
    assert np.abs(sharp - 0.5).mean() > np.abs(free - 0.5).mean()


def test_the_most_important_first_and_the_first_of_equals() -> None:
    found = EdgeImportance(
        np.arange(4), np.zeros((4, 3), dtype=np.int64), np.array([0.1, 0.5, -1.0, 0.5]), 0.0, 0.0
    )
    assert found.order().tolist() == [1, 3, 0, 2]


def test_without_captum_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    fitted = toy_fitted("rgcn")
    with pytest.raises(InputError, match=r'pip install "relgnn\[explain\]"'):
        IntegratedGradients().explain(fitted.model, fitted.graph, QUERY, ANSWER)
