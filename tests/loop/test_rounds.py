"""Rounds: one after the other, stopped by valid, resumed from disk to the same numbers."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from relgnn.errors import InputError
from relgnn.linkpred.supervision import Supervision
from relgnn.loop import rounds as module
from relgnn.loop.estep import EStep
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.loop.rounds import LEDGER_FLOOR, Loop, MStep, Round
from relgnn.loop.world import World
from relgnn.runtime import rng
from tests.linkpred.toy import toy_graph
from tests.loop.toy import toy_world

GENEROUS = ("loop.precision=0.01", "loop.min_probability=0.001")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Round]]:
    folder = tmp_path_factory.mktemp("run")
    return folder, Loop(toy_world(folder=folder)).run()


def same(one: Sequence[Round], other: Sequence[Round]) -> bool:
    return len(one) == len(other) and all(
        (a.pseudo.triples == b.pseudo.triples).all()
        and (a.pseudo.weight == b.pseudo.weight).all()
        and all(
            torch.equal(x, y)
            for x, y in zip(
                a.fitted.model.state_dict().values(), b.fitted.model.state_dict().values(),
                strict=True,
            )
        )
        for a, b in zip(one, other, strict=True)
    )  # fmt: skip


def test_a_loop_gives_its_rounds(finished: tuple[Path, list[Round]]) -> None:
    folder, rounds = finished
    loop = Loop(toy_world(folder=folder))
    graph = loop.world.graph
    assert [r.number for r in rounds] == list(range(len(rounds))) and len(rounds) >= 2
    assert len(rounds[0].pseudo) == 0 and rounds[0].edge_text is None
    given = {tuple(t) for t in graph.train.tolist()}
    for round_ in rounds[1:]:
        assert len(round_.pseudo) > 0
        assert not given & {tuple(t) for t in round_.pseudo.triples.tolist()}
        assert ((round_.pseudo.weight > 0) & (round_.pseudo.weight <= 1)).all()
        assert round_.edge_text is not None
        assert len(round_.edge_text) == len(graph.train) + len(round_.pseudo)
        accepted = round_.pseudo.of(Role.ACCEPTED)
        assert (loop.table(round_.number).pseudo.triples == accepted.triples).all()


def test_connected_pairs_join_untyped_and_none_is_told_twice(
    finished: tuple[Path, list[Round]],
) -> None:
    folder, rounds = finished
    loop = Loop(toy_world(folder=folder))
    graph = loop.world.graph
    for round_ in rounds[1:]:
        table = loop.table(round_.number)
        untyped = round_.pseudo.triples[:, 1] == graph.num_relations
        pairs = [(h, t) for h, _, t in round_.pseudo.triples[untyped].tolist()]
        best: dict[tuple[int, int], float] = {}
        for triple, p in zip(table.triples.tolist(), table.p.tolist(), strict=True):
            if p >= loop.config.connect:
                pair = triple[0], triple[2]
                best[pair] = max(p, best.get(pair, 0))
        assert len(pairs) == len(set(pairs)) > 0
        assert dict(zip(pairs, round_.pseudo.weight[untyped], strict=True)) == best
        told = Counter(e["decision"] for e in loop.ledger.read(round_.number))
        assert told["connected"] <= len(pairs) <= told["connected"] + told["accepted"]


def test_the_ledger_holds_what_was_accepted(finished: tuple[Path, list[Round]]) -> None:
    folder, rounds = finished
    loop = Loop(toy_world(folder=folder))
    loop.ledger.verify()
    graph = loop.world.graph
    for round_ in rounds[1:]:
        events = loop.ledger.read(round_.number)
        taken = {
            (e["head"], e["relation"], e["tail"]): e["weight"]
            for e in events
            if e["decision"] == "accepted"
        }
        accepted = round_.pseudo.of(Role.ACCEPTED)
        names = (
            (graph.entities[h], graph.relations[r], graph.entities[t])
            for h, r, t in accepted.triples.tolist()
        )
        assert taken == dict(zip(names, accepted.weight, strict=True))
        rejected = [e["p"] for e in events if e["decision"] == "rejected"]
        assert all(p >= LEDGER_FLOOR for p in rejected)


def test_valid_is_to_the_loop_what_test_is(tmp_path: Path) -> None:
    """Its triples are judged as unknown ones, and taught where the text states them."""
    texts = []
    for swap in (False, True):
        options = (*GENEROUS, "loop.rounds=1", "train.patience=null")
        world = toy_world(*options, folder=tmp_path / str(swap))
        graph = world.graph
        if swap:
            graph = replace(graph, valid=graph.test, test=graph.valid, strata=None)
        loop = Loop(replace(world, graph=graph))
        loop.run()
        table = loop.table(1)
        taken = {tuple(t) for t in table.pseudo.triples.tolist()}
        assert {tuple(t) for t in graph.valid.tolist()} & taken
        texts.append((table.triples.tolist(), table.p.tolist(), sorted(taken)))
    assert texts[0] == texts[1]


def test_a_budget_bounds_what_is_accepted(tmp_path: Path) -> None:
    world = toy_world(
        "loop.selector=budget", "loop.budget=0.25", "loop.min_probability=0.001",
        "loop.rounds=1", folder=tmp_path,
    )  # fmt: skip
    loop = Loop(world)
    loop.run()
    assert len(loop.table(1).pseudo) == len(world.graph.train) // 4


Planted = tuple[Loop, list[np.ndarray], list[int]]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """A loop that accepts nothing, the reciprocal ranks on valid that its models are to have, and
    the rounds that it judged."""
    ranks: list[np.ndarray] = []
    judged: list[int] = []

    def valid(world: World, fitted: Any, believed: np.ndarray) -> np.ndarray:
        return ranks[fitted]

    def nothing(self: Loop, number: int, previous: Pseudo) -> tuple[Pseudo, None]:
        judged.append(number)
        return Pseudo.none(), None

    def untrained(self: MStep, number: int, *rest: object) -> Round:
        return Round(number, number, Pseudo.none())  # type: ignore[arg-type]

    monkeypatch.setattr(module, "valid_reciprocal", valid)
    monkeypatch.setattr(Loop, "_judge", nothing)
    monkeypatch.setattr(MStep, "run", untrained)
    return Loop(toy_world(folder=tmp_path)), ranks, judged


@pytest.mark.parametrize(
    ("valid", "kept"),
    [((0.5, 0.6, 0.7), 3), ((0.5, 0.5, 0.5), 3), ((0.5, 0.9, 0.2), 2), ((0.5, 0.2, 0.9), 1)],
)
def test_the_last_round_that_is_not_worse_is_the_result(
    planted: Planted, valid: tuple[float, ...], kept: int
) -> None:
    loop, ranks, _ = planted
    ranks += [np.full(12, value) for value in valid]
    assert [r.number for r in loop.run()] == list(range(kept))


@pytest.mark.parametrize("patience", [1, 2])
def test_the_loop_stops_when_valid_is_worse_beyond_chance(planted: Planted, patience: int) -> None:
    loop, ranks, judged = planted
    loop.config = loop.config.model_copy(update={"patience": patience})
    ranks += [np.full(12, value) for value in (0.5, 0.4, 0.3)]
    assert [r.number for r in loop.run()] == [0]
    assert judged == list(range(1, patience + 1))


@pytest.mark.parametrize(("drop", "kept"), [(0.01, 1), (0.0, 3)])
def test_chance_is_no_reason_to_stop(planted: Planted, drop: float, kept: int) -> None:
    loop, ranks, _ = planted
    base = rng("base", 0).random(12)
    noise = rng("noise", 0).normal(0, 0.0 if drop else 0.2, 12)
    ranks += [base, base + noise - noise.mean() - 0.01, base]
    assert len(loop.run()) == kept


def test_what_was_accepted_is_no_wrong_answer_on_valid(finished: tuple[Path, list[Round]]) -> None:
    folder, rounds = finished
    world = toy_world(folder=folder)
    none = np.zeros((0, 3), dtype=np.int64)
    plain = module.valid_reciprocal(world, rounds[0].fitted, none)
    ranks = rounds[0].fitted.ranks(world.graph.valid, world.graph.filter_triples("valid"))
    sides = [1 / ranks[side].realistic for side in ("tail", "head")]
    assert (plain == np.concatenate(sides)).all()
    everything = np.array([(h, r, t) for h, r, _ in world.graph.valid for t in range(26)])
    kind = module.valid_reciprocal(world, rounds[0].fitted, everything)
    assert (kind[: len(world.graph.valid)] == 1).all() and (kind >= plain).all()


def test_what_both_rounds_accepted_is_drawn_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = np.arange(40000)
    triples = np.stack([ends // 200, ends * 0, ends % 200], 1)
    rounds = [
        Round(n, n, Pseudo(triples[part], np.full(20000, p)))  # type: ignore[arg-type]
        for n, part, p in ((1, slice(0, 20000), 0.2), (2, slice(10000, 30000), 0.6))
    ]
    drawn: list[np.ndarray] = []

    def valid(world: World, fitted: Any, believed: np.ndarray) -> np.ndarray:
        drawn.append(believed)
        return np.ones(12)

    monkeypatch.setattr(module, "valid_reciprocal", valid)
    Loop(toy_world(folder=tmp_path))._worse(rounds[1], rounds[0])
    np.testing.assert_array_equal(*drawn)
    number = drawn[0][:, 0] * 200 + drawn[0][:, 2]
    assert len(np.unique(number)) == len(number)
    # the earlier round's alone, both, and the later round's alone
    share = np.bincount(number // 10000, minlength=4)[:3] / 10000
    np.testing.assert_allclose(share, [0.2, 0.6, 0.6], atol=0.02)


def test_without_valid_no_round_is_worse(tmp_path: Path) -> None:
    graph = toy_graph()
    blind = replace(graph, valid=graph.valid[:0], strata=None)
    loop = Loop(toy_world(graph=blind, folder=tmp_path))
    round_ = Round(1, None, Pseudo.none())  # type: ignore[arg-type]
    assert not loop._worse(round_, round_)


def test_a_finished_loop_is_read_from_disk(
    finished: tuple[Path, list[Round]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rounds = finished
    shutil.copytree(folder, tmp_path / "run")

    def never(self: EStep, world: object) -> None:
        raise AssertionError("judged again")

    monkeypatch.setattr(EStep, "__init__", never)
    again = Loop(toy_world(folder=tmp_path / "run", resume=True)).run()
    assert same(rounds, again)


@pytest.mark.parametrize("lost", ["a round", "an event file", "a model"])
def test_an_interrupted_loop_resumes_to_the_same_numbers(
    finished: tuple[Path, list[Round]], tmp_path: Path, lost: str
) -> None:
    """What an interrupt in the second round's E step, between its records, or in its M step
    leaves."""
    folder, rounds = finished
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    before = (copy / "ledger" / "events-1.parquet").read_bytes()
    if lost != "a model":
        (copy / "ledger" / "events-2.parquet").unlink()
    if lost == "a round":
        shutil.rmtree(copy / "rounds" / "2")
    shutil.rmtree(copy / "resume" / "round-2")
    loop = Loop(toy_world(folder=copy, resume=True))
    assert same(rounds, loop.run())
    assert loop.ledger.rounds == [1, 2]
    assert (copy / "ledger" / "events-1.parquet").read_bytes() == before
    loop.ledger.verify()


def test_a_run_is_not_overwritten(finished: tuple[Path, list[Round]], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "run")
    with pytest.raises(InputError, match="round 1 is recorded already"):
        Loop(toy_world(folder=tmp_path / "run")).run()


def test_without_evidence_edges_have_no_text(
    finished: tuple[Path, list[Round]], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], tmp_path / "run")
    loop = Loop(toy_world("gnn.evidence=false", folder=tmp_path / "run", resume=True))
    pseudo, edge_text = loop._judge(1, Pseudo.none())
    assert edge_text is None and len(pseudo) == len(finished[1][1].pseudo)


@pytest.mark.parametrize("warm", [True, False])
def test_a_warm_start_goes_on_from_the_last_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: bool
) -> None:
    world = toy_world(f"loop.warm_start={str(warm).lower()}", "train.epochs=1", folder=tmp_path)
    monkeypatch.setattr(Loop, "_judge", lambda self, number, previous: (Pseudo.none(), None))
    monkeypatch.setattr(Loop, "_worse", lambda self, current, best: False)
    fit, starts = World.fit, []

    def spy(self: World, *arguments: Any, **options: Any) -> Any:
        starts.append(options["start"])
        return fit(self, *arguments, **options)

    monkeypatch.setattr(World, "fit", spy)
    rounds = Loop(world).run()
    assert starts[0] is None and len(starts) == 3
    for start, before in zip(starts[1:], rounds, strict=False):
        assert (start is not None) is warm
        if warm:
            torch.testing.assert_close(start, before.fitted.model.state_dict(), rtol=0, atol=0)
    fresh = {tuple(r.fitted.model.entity.flatten().tolist()) for r in rounds}
    assert len(fresh) == (3 if warm else 1)


ROBUST = (
    "loop.pseudo_loss=gce", "loop.coteaching={forget: 0.3, ramp: 2}", "loop.polish_epochs=1",
    "loop.consistency={}", "loop.target_weighting=logit", "loop.target_floor=0.1",
    "loop.context_weight=0.5", "train.adversarial={}", "train.contrast={nodes: 8}",
    "loop.rounds=1",
)  # fmt: skip


def test_a_robust_loop_resumes_to_the_same_numbers_and_hears_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Supervision] = []
    fit = World.fit

    def spy(self: World, supervision: Supervision, *rest: Any, **options: Any) -> Any:
        heard.append(supervision)
        return fit(self, supervision, *rest, **options)

    folder, copy = tmp_path / "whole", tmp_path / "copy"
    with monkeypatch.context() as patch:
        patch.setattr(World, "fit", spy)
        patch.setattr(Loop, "_worse", lambda self, current, best: False)
        loop = Loop(toy_world(*ROBUST, folder=folder))
        rounds = loop.run()
        taught, table = heard[-1], loop.table(1)
        said = {tuple(t): p for t, p in zip(table.triples.tolist(), table.p_text, strict=True)}
        assert taught.pseudo is not None and taught.p_text is not None and taught.pseudo.any()
        untyped = taught.targets[:, 1] == loop.world.graph.num_relations
        assert taught.p_text[~taught.pseudo | untyped].isnan().all()
        typed = taught.pseudo & ~untyped
        found = [said[tuple(t)] for t in taught.targets[typed].tolist()]
        torch.testing.assert_close(
            taught.p_text[typed], torch.tensor(found).float(), equal_nan=True
        )
        shutil.copytree(folder, copy)
        # as after an interrupt between the training of the round and its polish
        shutil.rmtree(copy / "resume" / "round-1" / "polish")
        again = Loop(toy_world(*ROBUST, folder=copy, resume=True)).run()
        assert len(rounds) == 2 and same(rounds, again)
