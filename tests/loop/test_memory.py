"""A loop with a memory: what fell short of being accepted is told to it, and to it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relgnn.data.graph import is_in
from relgnn.linkpred.fit import Fitted
from relgnn.linkpred.supervision import Supervision
from relgnn.loop.candidates import pair_folds
from relgnn.loop.controls import comention, one_of_pairs, shuffled, supervise
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.loop.rounds import Loop, Round
from relgnn.loop.world import World
from relgnn.runtime import rng
from relgnn.text.pairs import PairLabels
from tests.linkpred.toy import toy_config, toy_graph
from tests.loop.test_verdicts import line, named
from tests.loop.toy import LOOP, toy_world

MEMORY = ("loop.memory.dim=32", "loop.memory.epochs=4", "loop.targets=false", "loop.precision=0.8")
Fits = dict[str, Supervision]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Round], Fits, list[Any]]:
    folder, fits, labels = tmp_path_factory.mktemp("run"), Fits(), []
    fit, match = World.fit, PairLabels.match

    def watched(self: World, supervision: Supervision, name: str, **options: Any) -> Fitted:
        fits[name] = supervision
        return fit(self, supervision, name, **options)

    def labelled(features: Any, triples: np.ndarray, *rest: Any) -> PairLabels:
        labels.append(triples)
        return match(features, triples, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "fit", watched)
        patch.setattr(PairLabels, "match", labelled)
        patch.setattr(Loop, "_worse", lambda *_: False)
        rounds = Loop(toy_world(*MEMORY, folder=folder)).run()
    return folder, rounds, fits, labels


def test_all_above_the_floor_is_accepted_or_told_and_the_ledger_says_so(
    run: tuple[Path, list[Round], Fits, list[Any]],
) -> None:
    folder, rounds, fits, _ = run
    loop = Loop(toy_world(*MEMORY, folder=folder))
    for round_ in rounds[1:]:
        table, pseudo = loop.table(round_.number), round_.pseudo
        short = (table.accepted == 0) & (table.p > 0.1)
        told = pseudo.of(Role.TOLD)
        assert len(told) > 0 and len(pseudo.of(Role.ACCEPTED)) > 0
        assert (told.triples == table.triples[short]).all()
        assert (told.weight == table.p[short]).all()
        both = pseudo.of(Role.ACCEPTED, Role.TOLD)
        taught = fits[f"round {round_.number}"]
        assert taught.told is not None and taught.told_p is not None
        assert (taught.told.numpy() == both.triples).all()
        assert (taught.told_p.numpy() == both.weight).all()
        seen = np.concatenate([taught.targets.numpy(), taught.context.numpy()])
        assert not is_in(told.triples, seen).any(), "told is neither target nor context"
        assert taught.evidence is None or len(taught.evidence) == len(taught.context)
        held = loop.ledger.held(round_.number)
        names = set(named(both.triples))
        assert set(held) == names
        assert {held[t] for t in named(told.triples)} <= {"told", "connected"}
        assert round_.fitted.model.memory is not None


def test_a_judge_is_told_nothing_of_its_own_fold(
    run: tuple[Path, list[Round], Fits, list[Any]],
) -> None:
    _, rounds, fits, labels = run
    for k in range(2):
        first, second = fits[f"round 1 judge {k}"].told, fits[f"round 2 judge {k}"].told
        assert first is not None and not len(first)
        assert second is not None and len(second)
        heads, tails = second[:, 0].numpy(), second[:, 2].numpy()
        assert (pair_folds(heads, tails, 2) != k).all()
    told = rounds[1].pseudo.of(Role.TOLD).triples
    assert labels and not any(is_in(told, known).any() for known in labels)


def test_what_a_person_rejects_is_told_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loop, "_worse", lambda *_: False)
    first = Loop(toy_world(*MEMORY, "loop.rounds=1", folder=tmp_path / "run"))
    told = first.run()[1].pseudo.of(Role.TOLD)
    wrong = named(told.triples)[0]
    first.ledger.add_verdicts([line(wrong)])
    rounds = Loop(toy_world(*MEMORY, folder=tmp_path / "run", resume=True)).run()
    assert wrong in set(named(rounds[1].pseudo.of(Role.TOLD).triples))
    assert rounds[-1].number == 2
    assert wrong not in set(named(rounds[2].pseudo.of(Role.ACCEPTED, Role.TOLD).triples))


def test_a_finished_one_resumes_to_the_same_ranks(
    run: tuple[Path, list[Round], Fits, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rounds, _, _ = run
    monkeypatch.setattr(Loop, "_worse", lambda *_: False)
    again = Loop(toy_world(*MEMORY, folder=folder, resume=True)).run()
    known = toy_graph().filter_triples("test")
    for one, other in zip(rounds, again, strict=True):
        assert (one.pseudo.role == other.pseudo.role).all()
        ranks = (r.fitted.ranks(toy_graph().test, known)["tail"].realistic for r in (one, other))
        np.testing.assert_array_equal(*ranks)


def mixed() -> Pseudo:
    """A pair accepted and told; one connected and told; one told twice; all of different p."""
    triples = np.array(
        [[0, 0, 1], [0, 1, 1], [2, 3, 3], [2, 0, 3], [4, 0, 5], [4, 1, 5]], dtype=np.int64
    )
    role = np.array(
        [Role.ACCEPTED, Role.TOLD, Role.CONNECTED, Role.TOLD, Role.TOLD, Role.TOLD], dtype=np.int8
    )
    return Pseudo(triples, np.array([0.9, 0.2, 0.4, 0.4, 0.2, 0.3]), None, role)


def test_of_a_pair_its_edge_and_its_surest_word_are_comentioned() -> None:
    assert one_of_pairs(mixed()).tolist() == [0, 2, 3, 5]
    other = comention(mixed().subset(one_of_pairs(mixed())), 3)
    assert set(other.triples[:, 1].tolist()) == {3}
    loop = toy_config(*LOOP, *MEMORY).loop
    assert loop is not None
    taught = supervise(toy_graph().train, other, loop)
    assert taught.told is not None
    assert taught.told[:, [0, 2]].tolist() == [[0, 1], [2, 3], [4, 5]]
    extra = taught.context[len(toy_graph().train) :]
    assert extra[:, [0, 2]].tolist() == [[0, 1], [2, 3]]


def test_shuffling_keeps_roles_apart() -> None:
    graph, pseudo = toy_graph(), mixed()
    other = shuffled(pseudo, graph, rng("test", 0))
    for role in Role:
        rows = pseudo.role == role
        assert sorted(other.triples[rows, 1]) == sorted(pseudo.triples[rows, 1])
    assert (other.role == pseudo.role).all()


def test_without_a_memory_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loop, "_worse", lambda *_: False)
    rounds = Loop(toy_world("loop.rounds=1", folder=tmp_path)).run()
    assert not len(rounds[1].pseudo.of(Role.TOLD))
    assert "told" not in set(Loop(toy_world(folder=tmp_path)).ledger.held(1).values())
    assert rounds[1].fitted.model.memory is None
