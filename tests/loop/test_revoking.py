"""Verdicts in the loop: what is revoked leaves with all it taught, what is accepted is taught."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from relgnn.data.graph import is_in
from relgnn.linkpred.fit import Fitted
from relgnn.linkpred.supervision import Supervision
from relgnn.loop import rounds as module
from relgnn.loop.candidates import Candidates
from relgnn.loop.estep import Judgement
from relgnn.loop.ledger import Ledger
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.loop.rounds import Loop, MStep, Round
from relgnn.loop.verdicts import Triple, Verdicts, numbers
from relgnn.loop.world import World
from relgnn.text.pairs import PairLabels
from relgnn.training import module_tensors, save_tensors
from tests.loop.test_ledger import event
from tests.loop.test_rounds import same
from tests.loop.test_verdicts import line, named
from tests.loop.toy import add_verdict, posteriors, toy_world


class Said(NamedTuple):
    """Verdicts on a run of one round: a triple that it accepted, one that it judged and did not
    accept, one that it did not judge, one of test, one of train."""

    folder: Path
    taken: Triple
    judged: Triple
    unheard: Triple
    test: Triple
    train: Triple


def world(folder: Path, rounds: int, *overrides: str, resume: bool = True) -> World:
    return toy_world(f"loop.rounds={rounds}", *overrides, folder=folder, resume=resume)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    Loop(world(folder, 1, resume=False)).run()
    return folder


@pytest.fixture(scope="module")
def said(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Said:
    folder = Path(shutil.copytree(first, tmp_path_factory.mktemp("said") / "run"))
    loop = Loop(world(folder, 1))
    table, graph = loop.table(1), loop.world.graph
    given = np.concatenate([graph.train, graph.valid, graph.test])
    new = ~is_in(table.triples, given)
    judged = named(table.triples[new & (table.accepted == 0)])[-1]
    likeliest = table.triples[new & (table.accepted > 0) & (table.p >= loop.config.connect)]
    everything = {(h, r, t) for h in range(20) for r in range(3) for t in range(26)}
    unheard = sorted(everything - {tuple(t) for t in [*table.triples.tolist(), *given.tolist()]})
    found = Said(
        folder, named(likeliest)[0], judged, *named(np.array(unheard[:1])),
        *named(graph.test[:1]), *named(graph.train[:1]),
    )  # fmt: skip
    loop.ledger.add_verdicts(
        [
            line(found.taken), line(found.judged, "accept"), line(found.unheard, "accept"),
            line(found.test, "accept"), line(found.train),
        ]
    )  # fmt: skip
    return found


class Seen(NamedTuple):
    """Every triple that something was trained on, by the name of the training."""

    fits: dict[str, set[Triple]]
    labels: list[set[Triple]]


def spy(patch: pytest.MonkeyPatch, relations: int) -> Seen:
    seen = Seen({}, [])
    fit, match = World.fit, PairLabels.match

    def watched(self: World, supervision: Supervision, name: str, **options: Any) -> Fitted:
        both = np.concatenate([supervision.targets.numpy(), supervision.context.numpy()])
        seen.fits[name] = set(named(both[both[:, 1] < relations]))
        return fit(self, supervision, name, **options)

    def labelled(features: Any, triples: np.ndarray, *rest: Any) -> PairLabels:
        seen.labels.append(set(named(triples)))
        return match(features, triples, *rest)

    patch.setattr(World, "fit", watched)
    patch.setattr(PairLabels, "match", labelled)
    return seen


@pytest.fixture(scope="module")
def second(said: Said) -> tuple[list[Round], Seen]:
    """The round that hears the verdicts."""
    with pytest.MonkeyPatch.context() as patch:
        seen = spy(patch, 3)
        loop = Loop(world(said.folder, 2))
        return loop.run(), seen


def test_without_a_verdict_the_next_round_learns_from_what_was_accepted(
    first: Path, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing that the next test says would mean anything."""
    shutil.copytree(first, tmp_path / "run")
    seen = spy(monkeypatch, 3)
    Loop(world(tmp_path / "run", 2)).run()
    judges = [seen.fits[f"round 2 judge {k}"] for k in range(2)]
    assert any(said.taken in judge for judge in judges)
    assert seen.labels and all(said.taken in labels for labels in seen.labels)


def test_a_revoked_triple_is_in_no_training_set_of_the_next_round(
    said: Said, second: tuple[list[Round], Seen]
) -> None:
    rounds, seen = second
    assert set(seen.fits) >= {"round 2 judge 0", "round 2 judge 1", "round 2"}
    for name, triples in seen.fits.items():
        assert said.taken not in triples or not name.startswith("round 2"), name
    assert seen.labels and not any(said.taken in labels for labels in seen.labels)
    # what people accepted is learned from, like what the loop had accepted
    judges = seen.fits["round 2 judge 0"] | seen.fits["round 2 judge 1"]
    assert {said.judged, said.unheard} <= judges
    assert {said.judged, said.unheard} <= seen.fits["round 2"]
    # round 1 is as it was
    assert said.taken in set(named(rounds[1].pseudo.of(Role.ACCEPTED).triples))
    assert rounds[-1].number == 2


def test_the_events_of_the_round_say_so(said: Said, second: tuple[list[Round], Seen]) -> None:
    ledger = Ledger(said.folder / "ledger")
    ledger.verify()
    events = {(e["head"], e["relation"], e["tail"]): e for e in ledger.read(2)}
    assert len(events) == len(ledger.read(2))
    taken, judged, unheard = (events[t] for t in (said.taken, said.judged, said.unheard))
    assert (taken["decision"], taken["reason"], taken["weight"]) == ("revoked", "revoked", 0)
    assert (judged["decision"], judged["reason"], judged["weight"]) == ("accepted", "verdict", 1)
    assert (unheard["decision"], unheard["reason"], unheard["weight"]) == ("accepted", "verdict", 1)
    assert unheard["evidence_ids"] == [] and unheard["p"] is unheard["p_text"] is None
    assert unheard["fold"] in (0, 1)
    assert events.get(said.test, {"reason": ""})["reason"] not in ("verdict", "revoked")
    assert said.train not in events


def replayed(loop: Loop, number: int) -> dict[Triple, float]:
    return Verdicts.of(loop.ledger.verdicts(), loop.world.graph).replay(
        loop.ledger.accepted(number)
    )


def test_the_replay_of_the_ledger_is_the_state_of_the_run(
    said: Said, second: tuple[list[Round], Seen]
) -> None:
    rounds, _ = second
    loop = Loop(world(said.folder, 2))
    for round_ in rounds[1:]:
        accepted = round_.pseudo.of(Role.ACCEPTED)
        state = dict(zip(named(accepted.triples), accepted.weight.tolist(), strict=True))
        assert loop.ledger.accepted(round_.number) == state
        table = loop.table(round_.number)
        told = {t: w for t, w in state.items() if t in set(named(table.triples))}
        weights = zip(named(table.pseudo.triples), table.pseudo.weight.tolist(), strict=True)
        assert told == dict(weights)
        assert len(round_.edge_text) == len(loop.world.graph.train) + len(round_.pseudo)
    assert replayed(loop, 2) == loop.ledger.accepted(2)
    assert said.taken not in loop.ledger.held(2)


def test_a_revoked_triple_connects_nothing(said: Said, second: tuple[list[Round], Seen]) -> None:
    loop = Loop(world(said.folder, 2))
    for number, verdicts in ((1, loop.in_force(1)), (2, loop.in_force(2))):
        table = loop.table(number)
        rows = loop._connected(table, verdicts)
        assert number == 1 or said.taken not in set(named(table.triples[rows]))
    table = loop.table(1)
    everything = loop._connected(table, Verdicts())
    wrong = frozenset(named(table.triples[everything]))
    rows = loop._connected(table, Verdicts(reject=wrong))
    assert not wrong & set(named(table.triples[rows])) and len(rows) < len(everything)


def test_rounds_that_are_recorded_do_not_hear_later_verdicts(
    said: Said, second: tuple[list[Round], Seen], tmp_path: Path
) -> None:
    shutil.copytree(said.folder, tmp_path / "run")
    loop = Loop(world(tmp_path / "run", 2))
    loop.ledger.add_verdicts([line(said.judged), line(said.taken, "accept")])
    assert same(second[0], loop.run())
    assert said.judged in loop.ledger.accepted(2)


def test_a_stopped_round_begins_again_under_new_verdicts(
    first: Path,
    said: Said,
    second: tuple[list[Round], Seen],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A judge that was trained before the verdicts came has seen what they revoke."""
    folder = Path(shutil.copytree(first, tmp_path / "run"))
    fit = World.fit

    def stopped(self: World, supervision: Supervision, name: str, **options: Any) -> Fitted:
        if name == "round 2 judge 1":
            raise KeyboardInterrupt
        return fit(self, supervision, name, **options)

    with monkeypatch.context() as patch:
        patch.setattr(World, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            Loop(world(folder, 2)).run()
    assert (folder / "resume" / "round-2-judge-0").exists()
    shutil.copyfile(said.folder / "ledger/verdicts.jsonl", folder / "ledger/verdicts.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(World, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            Loop(world(folder, 2)).run()
    # the same verdicts: what was trained under them is kept
    before = (folder / "resume/round-2-judge-0/state.safetensors").stat().st_mtime_ns
    assert same(second[0], Loop(world(folder, 2)).run())
    assert (folder / "resume/round-2-judge-0/state.safetensors").stat().st_mtime_ns == before


def test_verdicts_cost_the_selector_nothing(tmp_path: Path) -> None:
    """A budget of one is spent beside what people accepted, and on nothing that they rejected."""
    loop = Loop(world(tmp_path, 1, "loop.selector=budget", "loop.budget=0.04"))
    triples = np.array([[0, 0, 20], [1, 0, 20], [2, 0, 20], [3, 0, 20]])
    fold = np.zeros(4, dtype=np.int64)
    found = Candidates(*triples.T, fold, fold.astype(float), fold.astype(bool), fold)
    judged = posteriors(triples, np.array([0.9, 0.8, 0.7, 0.6]), fold)
    judgement = Judgement(found, judged, None, None, {})  # type: ignore[arg-type]
    first, second, *_ = named(triples)
    plain = loop._select(judgement, Verdicts(), 1)
    assert plain.index.tolist() == [0] and plain.weight.tolist() == [0.9]
    taken = loop._select(judgement, Verdicts(frozenset([first]), frozenset([second])), 1)
    assert taken.index.tolist() == [0, 2] and taken.weight.tolist() == [1, 0.7]
    assert taken.reason[:2].tolist() == ["verdict", "revoked"]


@pytest.fixture
def recorded(tmp_path: Path) -> Loop:
    """Three rounds of made-up events: round 1 accepts `a`, round 3 accepts it again."""
    loop = Loop(world(tmp_path, 4))
    for number, names in ((1, "ab"), (2, "b"), (3, "ab")):
        loop.ledger.append(number, [event(name) for name in names])
    return loop


def averaged(loop: Loop, number: int, *rejected: str) -> list[int]:
    return loop._averaged(number, Verdicts(reject=frozenset((x, "born", "t") for x in rejected)))


def test_judgements_that_knew_what_is_revoked_have_no_say(recorded: Loop) -> None:
    assert averaged(recorded, 1) == [] and averaged(recorded, 4) == [1, 2, 3]
    # round 2's judges had learned `a` and `b`; those of round 1 nothing
    assert averaged(recorded, 4, "a") == [1] and averaged(recorded, 2, "a") == [1]
    assert averaged(recorded, 4, "c") == [1, 2, 3]
    # round 3 had heard it, and left round 2 out
    Verdicts(reject=frozenset([("a", "born", "t")])).save(
        recorded.round_folder(3) / module.VERDICTS
    )
    assert averaged(recorded, 4, "a") == [1, 3]
    assert averaged(recorded, 4, "b") == [1]
    # the first round's judges may have learned what a person accepted before
    Verdicts(accept=frozenset([("c", "born", "t")])).save(
        recorded.round_folder(1) / module.VERDICTS
    )
    assert averaged(recorded, 4, "c") == []


def test_a_warm_start_leaves_weights_that_saw_what_is_revoked(recorded: Loop) -> None:
    rounds = [Round(n, n, Pseudo.none()) for n in range(4)]  # type: ignore[arg-type]
    assert recorded._start(rounds) is None
    recorded.config = recorded.config.model_copy(update={"warm_start": True})
    assert recorded._start(rounds) == 3
    path = recorded.round_folder(4) / module.VERDICTS
    for head, start in (("a", 0), ("c", 3)):
        Verdicts(reject=frozenset([(head, "born", "t")])).save(path)
        assert recorded._start(rounds) == start


def test_a_warm_start_goes_on_from_rounds_that_were_clean_again(
    recorded: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.config = recorded.config.model_copy(update={"warm_start": True})
    a = ("a", "born", "t")
    # round 1 taught it; it was rejected then, and rounds 2 and 3 taught other things
    monkeypatch.setattr(recorded.ledger, "held", lambda n: {a: "accepted"} if n == 1 else {})
    rejected = Verdicts(reject=frozenset([a]))
    for number in (2, 3, 4):
        rejected.save(recorded.round_folder(number) / module.VERDICTS)
    rounds = [Round(n, n, Pseudo.none()) for n in range(4)]  # type: ignore[arg-type]
    assert [recorded._start(rounds[:n]) for n in (2, 3, 4)] == [0, 2, 3]
    # where round 2 went on from round 1, it has seen it all the same
    (recorded.round_folder(2) / module.VERDICTS).unlink()
    assert [recorded._start(rounds[:n]) for n in (2, 3, 4)] == [1, 0, 3]


def test_controls_of_an_earlier_end_are_begun_anew(recorded: Loop) -> None:
    recorded.config = recorded.config.model_copy(update={"controls": ("random_pairs", "read")})
    begun = recorded.folder / "resume" / "random-pairs"
    begun.mkdir(parents=True)
    recorded._hear(4)
    assert not begun.exists()


@pytest.mark.parametrize(
    ("patience", "heads", "kept", "judged"),
    [
        (1, (), [0, 1], [1, 2]),
        (1, ("c",), [0, 1], [1, 2]),
        (1, ("a",), [0, 1, 2, 3], [1, 2, 3]),
        (2, ("a",), [0, 1, 2, 3], [1, 2, 3]),
        (2, (), [0, 1], [1, 2, 3]),
    ],
)
def test_a_round_that_taught_what_is_revoked_is_no_result(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patience: int,
    heads: Sequence[str],
    kept: list[int],
    judged: list[int],
) -> None:
    """Valid is best after round 1, which accepted `a`; verdicts come while round 2 is judged."""
    loop = Loop(world(tmp_path, 3, f"loop.patience={patience}"))
    ranks = [np.full(12, value) for value in (0.5, 0.9, 0.3, 0.2)]
    seen: list[int] = []

    def judge(self: Loop, number: int, previous: Pseudo) -> tuple[Pseudo, None]:
        seen.append(number)
        verdicts = Verdicts.of(self.ledger.verdicts())
        if verdicts:
            verdicts.save(self.round_folder(number) / module.VERDICTS)
        self.ledger.append(number, [event("a")] if number == 1 else [event("b")])
        if number == 2:
            for head in heads:
                add_verdict(self.ledger, head, "born", "t", "reject", "me")
        return Pseudo.none(), None

    def untrained(self: MStep, number: int, *rest: object) -> Round:
        return Round(number, number, Pseudo.none())  # type: ignore[arg-type]

    def now(self: Loop) -> Verdicts:
        return Verdicts.of(self.ledger.verdicts())

    monkeypatch.setattr(module, "valid_reciprocal", lambda world, fitted, believed: ranks[fitted])
    monkeypatch.setattr(Loop, "_judge", judge)
    monkeypatch.setattr(Loop, "_said", now)
    monkeypatch.setattr(MStep, "run", untrained)
    assert [r.number for r in loop.run()] == kept
    assert seen == judged


def test_a_round_that_lacks_what_is_accepted_is_overruled(recorded: Loop) -> None:
    accept = Verdicts(accept=frozenset([("a", "born", "t")]))
    overruled = recorded.ledger.overruled
    assert [overruled(n, accept) for n in range(4)] == [True, False, True, False]
    reject = Verdicts(reject=accept.accept)
    assert [overruled(n, reject) for n in range(4)] == [False, True, False, True]
    assert not overruled(1, Verdicts())


def test_a_resumed_loop_loads_the_models_that_the_run_left(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(first, tmp_path / "run"))
    rounds = Loop(world(folder, 1)).run()
    for round_ in rounds:
        path = folder / "rounds" / str(round_.number) / "checkpoint.safetensors"
        save_tensors(path, module_tensors(round_.fitted.model))
    shutil.rmtree(folder / "resume")

    def never(self: World, *arguments: object, **options: object) -> Fitted:
        raise AssertionError("trained again")

    monkeypatch.setattr(World, "fit", never)
    again = Loop(world(folder, 1)).run()
    assert same(rounds, again)
    graph = again[-1].fitted
    valid = world(folder, 1).graph.valid
    ranks = [r.ranks(valid, valid)["tail"].realistic for r in (rounds[-1].fitted, graph)]
    np.testing.assert_array_equal(*ranks)


def test_numbers_of_no_triples_are_an_empty_table() -> None:
    assert numbers(world(Path("."), 1).graph, frozenset()).shape == (0, 3)
