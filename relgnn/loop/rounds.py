"""Rounds: E labels the text with both views, M updates the graph model, and so on."""

from __future__ import annotations

import shutil
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from relgnn.data.graph import is_in
from relgnn.linkpred.fit import Fitted
from relgnn.loop.controls import comention, supervise
from relgnn.loop.estep import EStep, Judgement
from relgnn.loop.ledger import Ledger
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.loop.records import RoundTable, ledger_events, read_round, write_round
from relgnn.loop.selection import certify_round, loop_selector
from relgnn.loop.textmodel import FOLDER as TEXT_MODEL
from relgnn.loop.textmodel import fit_text_model
from relgnn.loop.verdicts import ACCEPTED, REVOKED, Triple, Verdicts, numbers
from relgnn.loop.views import Before
from relgnn.loop.world import World
from relgnn.posterior.selectors import Accepted, surest_of_pairs
from relgnn.ranking.statistics import paired_bootstrap
from relgnn.text.evidence import edge_evidence
from relgnn.text.pairs import save_pairs
from relgnn.training import CHECKPOINT, load_tensors, save_json, save_tensors

VERDICTS = "verdicts.json"
CERTIFICATE = "certificate.json"
GIVEN = "given.safetensors"
"""What a round says of given triples, where its selector's promise is calibrated on them."""
LEDGER_FLOOR = 0.1
"""Rejected candidates below this posterior are left out of the ledger."""


@dataclass(frozen=True)
class Round:
    """A finished round.

    Args:
        number: 0 for the model before any text was read.
        fitted: the graph model after its M step.
        pseudo: what its E step accepted, the pairs that it connected without a type, and what a
            memory is told.
        edge_text: t_e of given and accepted triples, [G + A, d_t]; None in round 0.
    """

    number: int
    fitted: Fitted
    pseudo: Pseudo
    edge_text: torch.Tensor | None = None


class MStep:
    """Updates the graph model on gold and accepted triples.

    Args:
        world: the run's surroundings.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    def run(
        self, number: int, pseudo: Pseudo, edge_text: torch.Tensor | None, start: Fitted | None
    ) -> Round:
        """Fit round `number`'s model, or load it where the run that is resumed left it.

        Args:
            number: 0 trains on gold alone.
            pseudo: what the round teaches.
            edge_text: t_e of given and accepted triples, or None.
            start: the model to warm-start from, or None.
        """
        world, loop = self.world, self.world.config.loop
        assert loop is not None
        supervision = supervise(world.graph.train, pseudo, loop, edge_text)
        if world.resume and world.folder is not None:
            path = world.folder / "rounds" / str(number) / CHECKPOINT
            if path.exists():
                return Round(number, world.load(supervision, path), pseudo, edge_text)
        weights = start.model.state_dict() if start is not None else None
        with world.stages.lap("graph model", number):
            fitted = world.fit(supervision, f"round {number}", start=weights)
        return Round(number, fitted, pseudo, edge_text)


def valid_reciprocal(world: World, fitted: Fitted, believed: np.ndarray) -> np.ndarray:
    """Reciprocal realistic ranks on valid, [2V], tail side first.

    Args:
        world: the run's surroundings.
        fitted: the model.
        believed: int64 [B, 3], triples that are no wrong answers, beside given and valid ones.
    """
    graph = world.graph
    known = np.concatenate([graph.filter_triples("valid"), believed])
    ranks = fitted.ranks(graph.valid, known)
    return np.concatenate([1 / ranks[side].realistic for side in ("tail", "head")])


class Loop:
    """Runs rounds until there are enough, or valid gets worse beyond chance.

    People's verdicts count in every round that begins after them. What is rejected leaves what
    the round before taught, so that neither judges, text models nor graph model of the round have
    seen it, and is neither accepted nor connected; what is accepted is taught with weight 1,
    whatever the judges say. A round that is recorded keeps the verdicts that it began under
    (`rounds/<n>/verdicts.json`), so that a resumed run repeats it to the same numbers; one that
    was stopped before it was recorded begins again under those of now.

    Args:
        world: the run's surroundings; its folder holds the ledger and the rounds.
    """

    def __init__(self, world: World) -> None:
        assert world.folder is not None and world.config.loop is not None
        self.world, self.config = world, world.config.loop
        self.folder = world.folder
        self.ledger = Ledger(world.folder / "ledger")
        self.m_step = MStep(world)
        self._e_step: EStep | None = None

    @property
    def e_step(self) -> EStep:
        """Made when first needed: a resumed run may have every judgement on disk."""
        if self._e_step is None:
            self._e_step = EStep(self.world)
        return self._e_step

    def run(self) -> list[Round]:
        """All rounds, the first the model before any text was read.

        The loop stops early after `patience` rounds that are worse on valid than the best by more
        than chance (the 95 % interval of the paired difference lies below 0); those rounds are
        dropped, so the last round returned is the loop's result. A round that taught otherwise than
        a verdict says is no result once there is one that heard it.
        """
        rounds = [self.m_step.run(0, Pseudo.none(), None, None)]
        best, bad = rounds[0], 0
        for number in range(1, self.config.rounds + 1):
            previous = rounds[-1]
            pseudo, edge_text = self._judge(number, previous.pseudo)
            current = self.m_step.run(number, pseudo, edge_text, self._start(rounds))
            rounds.append(current)
            heard = self.ledger.overruled(best.number, self.in_force(number))
            if not heard and self._worse(current, best):
                bad += 1
                out_of_patience = bad >= self.config.patience
                if out_of_patience and not self.ledger.overruled(best.number, self._said()):
                    return rounds[: best.number + 1]
            else:
                best, bad = current, 0
        return rounds[: best.number + 1]

    def table(self, number: int) -> RoundTable:
        """A round's candidates and posteriors from disk."""
        return read_round(self.round_folder(number), self.world.graph)

    def round_folder(self, number: int) -> Path:
        """`rounds/<n>` of the run."""
        return self.folder / "rounds" / str(number)

    def in_force(self, number: int) -> Verdicts:
        """The verdicts that a round began under."""
        return Verdicts.load(self.round_folder(number) / VERDICTS)

    def _said(self) -> Verdicts:
        """The verdicts of now."""
        return Verdicts.of(self.ledger.verdicts(), self.world.graph)

    def _hear(self, number: int) -> Verdicts:
        """Begin a round under the verdicts of now.

        Where it was stopped and they have changed since, its judges may have seen what is revoked.
        """
        for control in self.config.controls:
            # an earlier end may have begun some, on what another round taught
            shutil.rmtree(self.folder / "resume" / control.replace("_", "-"), ignore_errors=True)
        verdicts = self._said()
        if verdicts != self.in_force(number):
            for folder in (self.folder / "resume").glob(f"round-{number}-judge-*"):
                shutil.rmtree(folder)
            verdicts.save(self.round_folder(number) / VERDICTS)
        return verdicts

    def _judge(self, number: int, previous: Pseudo) -> tuple[Pseudo, torch.Tensor | None]:
        """A round's pseudo triples and their evidence, from disk where the round is there."""
        graph = self.world.graph
        text_path = self.round_folder(number) / "edge_text.safetensors"
        if not (self.world.resume and number in self.ledger.rounds):
            verdicts = self._hear(number)
            previous = verdicts.correct(previous.of(Role.ACCEPTED, Role.TOLD), graph)
            judgement = self.e_step.run(number, previous, self._before(number, verdicts))
            accepted = self._select(judgement, verdicts, number)
            write_round(self.round_folder(number), graph, self.world.sentences, judgement, accepted)
            table = self.table(number)
            connected, told = self._connected(table, verdicts), self._told(table, verdicts)
            taught = self._taught(table, connected, told, verdicts)
            given = np.concatenate([graph.train, taught.triples])
            edge_text = edge_evidence(judgement.features, given).half()
            save_tensors(text_path, {"edge_text": edge_text})
            if judgement.votes is not None:
                judgement.votes.save(self.round_folder(number))
            self._leave_text_model(number, judgement, previous)
            events = ledger_events(graph, table, judgement, accepted, LEDGER_FLOOR, connected, told)
            unjudged = verdicts.events(table.triples, graph, self.config.folds)
            self.ledger.append(number, [*events, *unjudged])
        else:
            table, verdicts = self.table(number), self.in_force(number)
            taught = self.taught(table, verdicts)
        if not self.world.config.gnn.evidence:
            return taught, None
        return taught, load_tensors(text_path)[0]["edge_text"].float()

    def _leave_text_model(self, number: int, judgement: Judgement, previous: Pseudo) -> None:
        """Write what reads new sentences as this round's judges read the corpus."""
        folder = self.round_folder(number) / TEXT_MODEL
        with self.world.stages.lap("text model", number):
            reader = fit_text_model(self.world, judgement.features, previous.of(Role.ACCEPTED))
        save_pairs(folder, reader)
        self.e_step.save_extractor(folder)

    def taught(self, table: RoundTable, verdicts: Verdicts) -> Pseudo:
        """What a round with these posteriors and accepted triples teaches the graph model."""
        connected, told = self._connected(table, verdicts), self._told(table, verdicts)
        return self._taught(table, connected, told, verdicts)

    def _connected(self, table: RoundTable, verdicts: Verdicts) -> np.ndarray:
        """Rows of a table, one for each pair that is surely enough related, whatever relation."""
        graph = self.world.graph
        rejected = is_in(table.triples, numbers(graph, verdicts.reject))
        near = (table.p >= self.config.connect) & ~rejected
        rows = np.flatnonzero(near)
        return rows[surest_of_pairs(table.triples[rows], table.p[rows])]

    def _told(self, table: RoundTable, verdicts: Verdicts) -> np.ndarray:
        """Rows that were not accepted and are told to a memory."""
        if self.config.memory is None:
            return np.zeros(0, dtype=np.int64)
        short = (table.accepted == 0) & (table.p > self.config.memory.floor)
        rejected = is_in(table.triples, numbers(self.world.graph, verdicts.reject))
        return np.flatnonzero(short & ~rejected)

    def _taught(
        self, table: RoundTable, connected: np.ndarray, told: np.ndarray, verdicts: Verdicts
    ) -> Pseudo:
        """What a round teaches the graph model: accepted triples, connected pairs untyped, and to
        its memory what fell short of being accepted."""
        graph = self.world.graph
        pairs = Pseudo(table.triples[connected], table.p[connected]).as_role(Role.CONNECTED)
        accepted = verdicts.correct(table.pseudo, graph)
        short = Pseudo(table.triples[told], table.p[told], table.p_text[told]).as_role(Role.TOLD)
        return accepted.join(comention(pairs, graph.num_relations)).join(short)

    def _before(self, number: int, verdicts: Verdicts) -> Before | None:
        if number == 1:
            return None
        rounds = self._averaged(number, verdicts)
        table = self.table(rounds[-1] if rounds else 1)
        kept = slice(None) if rounds else slice(0)
        triples, p = table.triples[kept], table.p[kept]
        if rounds and (path := self.round_folder(rounds[-1]) / GIVEN).exists():
            given = load_tensors(path)[0]
            triples = np.concatenate([triples, given["triples"].numpy()])
            p = np.concatenate([p, given["p"].numpy()])
        return Before(len(rounds), triples, p, table.label_frequency)

    def _averaged(self, number: int, verdicts: Verdicts) -> list[int]:
        """The rounds before whose judgements a round's are averaged with.

        The last one's posteriors are their mean already. Rounds whose judges had learned something
        that is revoked now have no say any more, nor has a mean that they are in.
        """
        for last in range(number - 1, 0, -1):
            rounds = [*self._averaged(last, self.in_force(last)), last]
            if not any(self._learned(n) & verdicts.reject for n in rounds if verdicts.reject):
                return rounds
        return []

    def _learned(self, number: int) -> set[Triple]:
        """What the judges of a recorded round knew beside the given triples."""
        before = self.ledger.held(number - 1)
        if self.config.memory is None:
            before = {triple: said for triple, said in before.items() if said == "accepted"}
        return set(self.in_force(number).replay(before))

    def _start(self, rounds: list[Round]) -> Fitted | None:
        """What a warm start of the next round goes on from: weights that saw nothing revoked."""
        if not self.config.warm_start:
            return None
        return rounds[self._went_on_from(len(rounds))].fitted

    def _went_on_from(self, number: int) -> int:
        """The latest round before `number` that is as clean as the verdicts of `number` ask.

        Neither it nor any that it went on from itself was taught what is rejected.
        """
        rejected = [self.in_force(later).reject for later in range(1, number + 1)]
        if not any(rejected):
            return number - 1
        seen: list[Set[Triple]] = [frozenset()]
        for later, reject in enumerate(rejected, start=1):
            start = next(n for n in range(later - 1, -1, -1) if not reject & seen[n])
            if later < number:
                seen.append(seen[start] | self.ledger.held(later).keys())
        return start

    def _select(self, judgement: Judgement, verdicts: Verdicts, number: int) -> Accepted:
        """What the selector takes of all that no verdict decides, and what people accepted."""
        graph, triples = self.world.graph, judgement.candidates.triples
        said = {
            ACCEPTED: is_in(triples, numbers(graph, verdicts.accept)),
            REVOKED: is_in(triples, numbers(graph, verdicts.reject)),
        }
        rows = np.flatnonzero(~said[ACCEPTED] & ~said[REVOKED])
        certificate = None
        if self.config.selector == "conformal":
            certificate = certify_round(self.config, graph, judgement, verdicts)
            save_json(self.round_folder(number) / CERTIFICATE, certificate.to_json())
            self._keep_given(judgement, number)
        selector = loop_selector(self.config, graph, number, certificate)
        taken = selector.select(judgement.posteriors.subset(rows))
        reason = np.full(len(judgement.posteriors), "", dtype=object)
        reason[rows] = taken.reason
        for why, where in said.items():
            reason[where] = why
        sure = np.flatnonzero(said[ACCEPTED])
        weight = np.concatenate([np.ones(len(sure)), taken.weight])
        return Accepted(np.concatenate([sure, rows[taken.index]]), weight, reason)

    def _keep_given(self, judgement: Judgement, number: int) -> None:
        """Given triples are no candidates of a round's table, and a later round's mean needs them:
        without, they would seem less sure than the hidden ones that they stand for."""
        if judgement.given is not None:
            columns = {"triples": judgement.given.triples, "p": judgement.given.p}
            tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
            save_tensors(self.round_folder(number) / GIVEN, tensors)

    def _worse(self, current: Round, best: Round) -> bool:
        """Whether a round's valid ranks are worse than the best's, beyond chance.

        Both are filtered by what either accepted, as surely as it is true (`Pseudo.drawn`): what
        both did by one draw, as surely as the later round, `current`, finds it.
        """
        if not len(self.world.graph.valid):
            return False
        rng = self.world.runtime.rng("true answers")
        either = current.pseudo.join(best.pseudo)
        _, first = np.unique(either.triples, axis=0, return_index=True)
        believed = either.subset(np.sort(first)).drawn(rng)
        ours, theirs = (
            valid_reciprocal(self.world, r.fitted, believed)[None] for r in (current, best)
        )
        units = np.tile(np.arange(len(self.world.graph.valid)), 2)
        return paired_bootstrap(ours, theirs, units).high < 0
