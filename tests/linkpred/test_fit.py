"""One fit: repeatable, resumable, selected by valid or not at all."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError
from relgnn.linkpred.coteaching import CoteachingTask
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.fit import Fitted, fit_predictor, new_predictor
from relgnn.linkpred.signals import Seen
from relgnn.linkpred.supervision import Supervision
from relgnn.linkpred.task import LinkPredictionTask
from relgnn.runtime import Runtime, rng
from relgnn.training import Keeping
from relgnn.training.interrupt import Interrupted
from tests.linkpred.toy import RUNTIME, taught, toy_config, toy_graph


def fit(
    graph: KnowledgeGraph,
    features: TextFeatures,
    *overrides: str,
    runtime: Runtime = RUNTIME,
    **options: object,
) -> Fitted:
    return fit_on(Supervision.gold(graph.train), graph, features, *overrides, runtime=runtime,
                  **options)  # fmt: skip


def fit_on(
    supervision: Supervision,
    graph: KnowledgeGraph,
    features: TextFeatures,
    *overrides: str,
    runtime: Runtime = RUNTIME,
    **options: object,
) -> Fitted:
    config = toy_config(*overrides)
    kept = {key: options.pop(key) for key in Keeping.__dataclass_fields__ if key in options}
    return fit_predictor(
        config, runtime, graph, features, supervision, name="toy",
        keeping=Keeping(**kept), **options,  # type: ignore[arg-type]
    )  # fmt: skip


def weights(fitted: Fitted) -> dict[str, Tensor]:
    return fitted.model.state_dict()


def equal(one: Fitted, other: Fitted) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_same_seed_gives_the_same_weights(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    torch.manual_seed(1)
    one = fit(graph, features)
    torch.manual_seed(2)
    assert equal(one, fit(graph, features))
    other = Runtime(1, torch.device("cpu"), "fp32", "fp32", 1, True)
    assert not equal(one, fit(graph, features, runtime=other))


def test_initialisation_leaves_the_default_generator_alone(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    before = torch.get_rng_state()
    one = new_predictor(toy_config(), RUNTIME, graph, features)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.entity, new_predictor(toy_config(), RUNTIME, graph, features).entity)


def test_without_patience_valid_is_never_looked_at(
    graph: KnowledgeGraph, features: TextFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: LinkPredictionTask) -> dict[str, float]:
        raise AssertionError("valid was read")

    monkeypatch.setattr(LinkPredictionTask, "evaluate", never)
    one = fit(graph, features, "train.patience=null")
    elsewhere = toy_graph()
    object.__setattr__(elsewhere, "valid", graph.valid[:1])
    assert equal(one, fit(elsewhere, features, "train.patience=null"))


def test_without_valid_triples_all_epochs_are_trained(
    graph: KnowledgeGraph, features: TextFeatures, tmp_path: Path
) -> None:
    bare = toy_graph()
    object.__setattr__(bare, "valid", np.empty((0, 3), dtype=np.int64))
    fit(bare, features, log=tmp_path / "log.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]


def test_known_filters_valid_for_a_model_that_must_not_know_all(
    graph: KnowledgeGraph, features: TextFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    before = LinkPredictionTask.evaluate

    def spy(self: LinkPredictionTask) -> dict[str, float]:
        seen.append(len(self.filter.tails))
        return before(self)

    monkeypatch.setattr(LinkPredictionTask, "evaluate", spy)
    fit(graph, features, "train.epochs=1")
    part = Supervision.gold(graph.train[:-3])
    fit_on(part, graph, features, "train.epochs=1", known=graph.valid)
    assert seen[0] == 2 * (len(graph.train) + len(graph.valid))
    assert seen[1] == seen[0] - 6, "what it was taught is known in any case"


def test_what_was_taught_is_no_wrong_answer_at_valid(
    graph: KnowledgeGraph, features: TextFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = []
    monkeypatch.setattr(
        LinkPredictionTask, "evaluate", lambda self: tasks.append(self) or {"mrr": 0.0}
    )
    fit_on(taught(graph), graph, features, "train.epochs=1")
    extra = taught(graph).targets[len(graph.train) :]
    known = tasks[0].filter
    for h, r, t in extra.tolist():
        start, stop = known.spans(torch.tensor([h]), torch.tensor([r]))
        assert t in known.tails[start:stop]


def test_what_was_taught_filters_valid_as_surely_as_it_is_true(graph: KnowledgeGraph) -> None:
    many = np.repeat(graph.train[:1], 4000, axis=0)
    p = torch.tensor([1.0, 0.75, 0.25, 0.0]).repeat_interleave(1000)
    rows = torch.from_numpy(many)
    whole = Supervision(rows, torch.ones(4000), rows, torch.ones(4000))
    assert len(whole.drawn(rng("draw", 0))) == 4000
    kept = len(replace(whole, p=p).drawn(rng("draw", 0)))
    assert kept > 1000 and abs(kept - 2000) < 5 * np.sqrt(4000 * 3 / 16)
    assert len(replace(whole, p=torch.zeros(4000)).drawn(rng("draw", 0))) == 0
    # what a memory is told besides filters as well; a target that it is told filters once
    told = torch.cat([whole.targets[:2000], whole.targets[:2000] + 5000])
    both = replace(whole, p=p, told=told, told_p=torch.ones(4000)).drawn(rng("draw", 0))
    assert len(both) == kept + 2000 and (both[kept:] >= 5000).all()


def test_of_several_weight_decays_valid_takes_the_best(
    graph: KnowledgeGraph, features: TextFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decays, options = (0.0, 3.0, 60.0), ("train.patience=null",)
    alone = [fit(graph, features, f"train.weight_decay={d}", *options) for d in decays]
    known = graph.filter_triples("valid")
    mrr = [
        float(np.mean([1 / r.realistic for r in one.ranks(graph.valid, known).values()]))
        for one in alone
    ]
    assert len(set(mrr)) == 3
    several = f"train.weight_decay={list(decays)}"
    log = tmp_path / "log.jsonl"
    chosen = fit(graph, features, several, *options, folder=tmp_path / "fit", log=log)
    assert equal(chosen, alone[int(np.argmax(mrr))])
    tasks = {json.loads(line)["task"] for line in log.read_text().splitlines()}
    assert tasks == {f"toy, weight decay {d:g}" for d in decays}
    again = fit(graph, features, several, *options, folder=tmp_path / "fit", resume=True)
    assert equal(chosen, again)
    worst = int(np.argmin(mrr))
    monkeypatch.setattr(
        LinkPredictionTask, "evaluate", lambda self: {"mrr": 1.0 * equal_model(self, alone[worst])}
    )
    assert equal(fit(graph, features, several, *options), alone[worst])


def equal_model(task: LinkPredictionTask, fitted: Fitted) -> bool:
    return torch.equal(task._model.entity, fitted.model.entity)


def test_several_weight_decays_need_valid(features: TextFeatures) -> None:
    bare = toy_graph()
    object.__setattr__(bare, "valid", np.empty((0, 3), dtype=np.int64))
    with pytest.raises(InputError, match="valid chooses one of them.*give one number"):
        fit(bare, features, "train.weight_decay=[0.0, 1.0]")


def test_test_triples_change_nothing(graph: KnowledgeGraph, features: TextFeatures) -> None:
    blind = toy_graph()
    for split in ("test", "hidden"):
        object.__setattr__(blind, split, np.empty((0, 3), dtype=np.int64))
    assert equal(fit(graph, features), fit(blind, features))


def test_a_resumed_fit_equals_an_uninterrupted_one(
    graph: KnowledgeGraph,
    features: TextFeatures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = ("gnn.dropout=0.2", "train.patience=6")
    whole = fit(graph, features, *overrides)
    before, calls = LinkPredictionTask.loss, []

    def stop_at_fourth(
        self: LinkPredictionTask, batch: Tensor, generator: torch.Generator
    ) -> Tensor:
        calls.append(0)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return before(self, batch, generator)

    monkeypatch.setattr(LinkPredictionTask, "loss", stop_at_fourth)
    with pytest.raises(Interrupted, match="relgnn run --resume here"):
        fit(
            graph, features, *overrides, folder=tmp_path,
            resume_command="relgnn run --resume here",
        )  # fmt: skip
    resumed = fit(graph, features, *overrides, folder=tmp_path, resume=True)
    assert equal(whole, resumed)
    assert len(calls) == 8


def test_a_warm_start_goes_on_from_given_weights(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    first = fit(graph, features, "train.patience=null")
    tiny = ("train.epochs=1", "train.lr=1.0e-9", "train.patience=null")
    second = fit(graph, features, *tiny, start=weights(first))
    torch.testing.assert_close(second.model.entity, first.model.entity)
    assert not torch.allclose(fit(graph, features, *tiny).model.entity, first.model.entity)


EXTRAS = {
    "gce": ("loop.pseudo_loss=gce",),
    "bootstrap": ("loop.pseudo_loss=bootstrap", "loop.bootstrap_beta=0.5"),
    "coteaching": ("loop.coteaching={forget: 0.4, ramp: 2}",),
    "adversarial": ("train.adversarial={}",),
    "contrast": ("train.contrast={nodes: 8}",),
    "consistency": ("loop.consistency={}",),
    "polish": ("loop.polish_epochs=3", "loop.polish_lr=0.01", "train.patience=null"),
}
EXTRAS["all"] = tuple(word for words in list(EXTRAS.values())[1:] for word in words)
NOISY = ("loop={}", "gnn.dropout=0.2", "train.patience=6", "train.eval_every=2")


def stop_at(monkeypatch: pytest.MonkeyPatch, call: int) -> list[int]:
    """Interrupt once, in the given forward pass; returns what counts the passes."""
    before, calls = LinkPredictionTask.see, []

    def see(self: LinkPredictionTask, batch: Tensor, generator: torch.Generator) -> Seen:
        calls.append(0)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return before(self, batch, generator)

    monkeypatch.setattr(LinkPredictionTask, "see", see)
    return calls


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_every_extra_is_resumed_to_the_same_weights_and_changes_them(
    graph: KnowledgeGraph,
    features: TextFeatures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    extra: str,
) -> None:
    supervision, overrides = taught(graph), (*NOISY, *EXTRAS[extra])
    calls = stop_at(monkeypatch, 0)
    whole = fit_on(supervision, graph, features, *overrides)
    passes = len(calls)
    assert not equal(whole, fit_on(supervision, graph, features, *NOISY))
    # in the midst of an epoch, and near the end: in the polish, where there is one
    for at in (7, passes - 3):
        calls = stop_at(monkeypatch, at)
        folder = tmp_path / str(at)
        with pytest.raises(Interrupted):
            fit_on(supervision, graph, features, *overrides, folder=folder)
        assert len(calls) < passes
        resumed = fit_on(supervision, graph, features, *overrides, folder=folder, resume=True)
        assert equal(whole, resumed)
        assert len(calls) == passes


@pytest.mark.parametrize(
    "words", [("loop.coteaching={forget: 0.5}",), EXTRAS["gce"], EXTRAS["consistency"]]
)
def test_where_all_targets_are_given_nothing_is_chosen_or_softened(
    graph: KnowledgeGraph, features: TextFeatures, words: tuple[str, ...]
) -> None:
    assert equal(fit(graph, features, *NOISY, *words), fit(graph, features, *NOISY))


def test_the_first_student_starts_as_a_lone_one_and_the_second_does_not(
    graph: KnowledgeGraph, features: TextFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[CoteachingTask] = []
    before = CoteachingTask.__init__

    def spy(self: CoteachingTask, *arguments: Any) -> None:
        before(self, *arguments)
        met.append(self)

    monkeypatch.setattr(CoteachingTask, "__init__", spy)
    tiny = ("train.epochs=1", "train.lr=1.0e-12", "train.patience=null")
    fitted = fit_on(
        taught(graph), graph, features, "loop={}", "loop.coteaching={forget: 0.2}", *tiny
    )
    first, second = (student._model for student in met[0].students)
    assert fitted.model is first
    alone = new_predictor(toy_config(), RUNTIME, graph, features)
    torch.testing.assert_close(first.entity, alone.entity)
    assert not torch.allclose(second.entity, alone.entity)


def polished(
    graph: KnowledgeGraph, features: TextFeatures, *overrides: str
) -> tuple[Fitted, Fitted]:
    """Before and after."""
    supervision = taught(graph)
    return (
        fit_on(supervision, graph, features, "loop={}", *overrides),
        fit_on(supervision, graph, features, "loop={polish_epochs: 2}", *overrides),
    )


def test_a_polish_sees_gold_targets_alone_in_the_whole_context(
    graph: KnowledgeGraph, features: TextFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[LinkPredictionTask] = []
    before = LinkPredictionTask.__init__

    def spy(self: LinkPredictionTask, *arguments: Any) -> None:
        before(self, *arguments)
        met.append(self)

    monkeypatch.setattr(LinkPredictionTask, "__init__", spy)
    fit_on(taught(graph), graph, features, "loop={polish_epochs: 1}", "train.epochs=1")
    taught_on, gold = met
    assert gold.name == "toy polish" and not gold.pseudo.any()
    queries = [torch.stack([t.head, t.relation, t.tail], 1)[: len(t.head) // 2] for t in met]
    assert (queries[1].numpy() == graph.train).all()
    assert len(queries[0]) > len(queries[1])
    assert torch.equal(gold.graph.edge_weight, taught_on.graph.edge_weight)
    assert gold.graph.num_edges == len(queries[0])


@pytest.mark.parametrize("better", [True, False])
def test_valid_chooses_between_before_and_after_the_polish(
    graph: KnowledgeGraph, features: TextFeatures, monkeypatch: pytest.MonkeyPatch, better: bool
) -> None:
    plain, _ = polished(graph, features)
    calls: list[float] = []

    def evaluate(self: LinkPredictionTask) -> dict[str, float]:
        if not self.name.endswith("polish"):
            return {"mrr": 0.5}
        calls.append(0.5)
        return {"mrr": 0.5 if len(calls) == 1 else 0.6 if better else 0.5}

    with monkeypatch.context() as patch:
        patch.setattr(LinkPredictionTask, "evaluate", evaluate)
        before, after = polished(graph, features)
    assert len(calls) == 3
    assert equal(before, after) is not better
    assert weights(plain).keys() == weights(after).keys()


def test_without_patience_a_polish_always_counts(
    graph: KnowledgeGraph, features: TextFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: LinkPredictionTask) -> dict[str, float]:
        raise AssertionError("valid was read")

    monkeypatch.setattr(LinkPredictionTask, "evaluate", never)
    before, after = polished(graph, features, "train.patience=null")
    assert not equal(before, after)
