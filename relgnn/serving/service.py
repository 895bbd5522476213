"""What the routes call: a run, its lanes, its feedback, its search; nothing here speaks HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from relgnn import __version__
from relgnn.audit.chain import Action
from relgnn.audit.guard import Guard, numbers_of
from relgnn.audit.policy import DEFAULT, load_policy
from relgnn.audit.queue import Queue, audit_log
from relgnn.data.lookup import find_entity, find_triples
from relgnn.errors import InputError
from relgnn.explain.brief import Briefing
from relgnn.loop.asked import score_rows, stated, written_question
from relgnn.loop.history import History
from relgnn.loop.ledger import Ledger
from relgnn.loop.opened import Answer, Question, open_run
from relgnn.loop.textmodel import Extraction
from relgnn.loop.verdicts import counts, given_in
from relgnn.loop.why import named
from relgnn.serving import schemas
from relgnn.serving.batching import Lane
from relgnn.serving.browse import LedgerPages
from relgnn.serving.compare import Comparison
from relgnn.serving.damage import own_files
from relgnn.serving.metrics import Metrics
from relgnn.serving.names import NameSearch
from relgnn.serving.privacy import Masker
from relgnn.serving.settings import Settings
from relgnn.serving.surroundings import HINT, Surroundings
from relgnn.serving.withholding import Withholding
from relgnn.text.linking import forget

VERDICTS_AT_ONCE = 64
Quick = Question | np.ndarray
"""A prediction, or triples to score."""


@dataclass(frozen=True)
class Writing:
    """What is to be on disk together: entries of the audit log, and a verdict."""

    actions: Sequence[Action]
    verdict: dict[str, str] | None = None


class Service:
    """A run opened for many askers.

    Five threads work: one predicts and scores, one reads texts, one writes verdicts and the audit
    log, one explains, and one looks into the ledger and the other run. Each refuses what would wait
    too long.

    Args:
        settings: knobs.
        metrics: where batches and verdicts are counted.

    Raises:
        InputError: a run cannot be opened, or its ledger was changed.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.run = open_run(settings.run, settings.vectors)
        self.graph = self.run.graph
        queue = Queue(audit_log(self.run.folder))
        policy = load_policy(settings.policy or DEFAULT) if settings.withhold else None
        self.guard = Guard(policy, self.graph, queue, self.run.explainer.table)
        self.withholding = Withholding(
            self.guard, lambda entries: self.writer.ask(Writing(entries))
        )
        self.surroundings = Surroundings(self.run, self.withholding)
        self.run.explainer.secrets = self.guard
        self.comparison = None
        if settings.compare is not None:
            other = open_run(settings.compare, settings.compare_vectors)
            # ids of other data may be the same, so that nothing released here is released there
            theirs = Queue(audit_log(other.folder))
            guard = Guard(policy, other.graph, theirs, other.explainer.table)
            self.comparison = Comparison(self.run, other, guard)
        if self._loop:
            # with the cache, and before anybody waits for it
            self.run.text_model.entities(self.graph, self.run.world.encoder)
            self.run.text_model.linker(self.graph)
        # what strangers send is not kept, not even as vectors
        self.run.world.encoder.cache = None
        torch.set_num_threads(settings.threads)
        self.names = NameSearch(self.graph.entities, self.graph.entity_names)
        folder = self.run.folder
        self.ledger = Ledger(folder / "ledger") if self._loop else None
        self.pages = LedgerPages(History(folder, self.graph), self.guard) if self._loop else None
        self.masker = Masker(self.graph)
        # mines rules before anybody waits for them
        self.briefing = Briefing(self.run, self.guard)
        self.briefing.brief((0, 0, 0))
        self.quick = self._lane("predict", self._work, settings.queue, settings.batch)
        self.slow = self._lane("extract", self._read, settings.slow_queue, 1)
        self.writer = self._lane("feedback", self._record, settings.queue, VERDICTS_AT_ONCE)
        self.why = self._lane("explain", _call, settings.slow_queue, 1)
        self.look = self._lane("look", _call, settings.slow_queue, 1)

    @property
    def _loop(self) -> bool:
        return self.run.world.config.loop is not None

    @property
    def lanes(self) -> tuple[Lane[Any, Any], ...]:
        """All of them."""
        return self.quick, self.slow, self.writer, self.why, self.look

    @property
    def lane_of(self) -> dict[str, Lane[Any, Any]]:
        """The lane that a path's requests wait in."""
        return {
            "/v1/predict": self.quick,
            "/v1/score": self.quick,
            "/v1/extract": self.slow,
            "/v1/feedback": self.writer,
            "/v1/audit/queue": self.writer,
            "/v1/explain": self.why,
            "/v1/ledger": self.look,
            "/v1/compare": self.look,
        }

    @property
    def ready(self) -> bool:
        """Whether requests are worked off."""
        return all(lane.alive for lane in self.lanes)

    def start(self) -> None:
        """Begin to work."""
        for lane in self.lanes:
            lane.start()

    def close(self) -> None:
        """Finish what waits, within the settings' time: that of all lanes together."""
        ends = time.monotonic() + self.settings.drain_s
        for lane in self.lanes:
            lane.close(0)
        for lane in self.lanes:
            lane.close(max(0.0, ends - time.monotonic()))

    async def predict(self, asked: schemas.Predict) -> dict[str, Any]:
        """Answers to an open query, and how many of them are withheld.

        Raises:
            InputError: an id or name is unknown.
        """
        query = written_question(
            self.graph, asked.relation, asked.head, asked.tail, asked.k, asked.why, HINT
        )
        answers: list[Answer] = await self.quick.ask(query)
        triples = [query.triple(find_entity(self.graph, one.entity)) for one in answers]
        sure = (one.probability for one in answers)
        held = await self.withholding.held("predict", zip(triples, sure, strict=True))
        shown = [one for one, t in zip(answers, triples, strict=True) if t not in held]
        return {"answers": shown, "withheld": len(answers) - len(shown)}

    async def score(self, triples: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """Scores of triples, as `relgnn score` gives them.

        Raises:
            InputError: an id or name is unknown, with the triple's place.
        """
        places = ((f"triples[{i}]", cells) for i, cells in enumerate(triples))
        numbers = find_triples(self.graph, places, HINT)
        scores = await self.quick.ask(numbers)
        asked = [numbers_of(row) for row in numbers]
        held = await self.withholding.held("score", zip(asked, (p for _, p in scores), strict=True))
        rows = score_rows(scores, triples)
        hidden = {"score": None, "probability": None, "withheld": True}
        return [row | hidden if t in held else row for row, t in zip(rows, asked, strict=True)]

    async def extract(self, asked: schemas.Extract) -> dict[str, Any]:
        """Triples that a text states, and how many more are withheld.

        Raises:
            InputError: the text is empty, an id or name is unknown, the run reads no texts.
        """
        about = None if asked.about is None else find_entity(self.graph, asked.about, HINT)
        found: list[Extraction] = await self.slow.ask((asked.text, about, asked.at_least))
        cells = [("", (one.head, one.relation, one.tail)) for one in found]
        triples = [numbers_of(row) for row in find_triples(self.graph, cells)]
        sure = (one.probability for one in found)
        held = await self.withholding.held("extract", zip(triples, sure, strict=True))
        shown = [one for one, t in zip(found, triples, strict=True) if t not in held]
        return {"triples": shown, "withheld": len(found) - len(shown)}

    async def record(self, asked: schemas.Feedback, by: str) -> dict[str, Any]:
        """Record a verdict; it is on disk when this returns.

        Args:
            asked: the verdict.
            by: who says so.

        Raises:
            InputError: an id or name is unknown, or the run has no ledger.
            Private: the triple is withheld, so that nobody is told whether it is given.
            MachineError: it could not be written.
        """
        if self.ledger is None:
            raise InputError("the run was trained without a loop, so that it takes no feedback")
        numbers = find_triples(self.graph, [("triple", asked.cells)], HINT)
        await self.withholding.require_open("feedback", numbers_of(numbers[0]))
        ids = named(self.graph, *numbers[0].tolist())
        line = {k: ids[k] for k in ("head", "relation", "tail")} | {
            "verdict": asked.verdict,
            "by": by,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if asked.reason is not None:
            line["reason"] = self.masker.mask(asked.reason)
        said = {key: line[key] for key in ("head", "relation", "tail", "verdict")}
        await self.writer.ask(Writing([Action("feedback", by, said)], line))
        self.metrics.verdicts.labels(asked.verdict).inc()
        return line | {"counts": counts(asked.verdict, given_in(self.graph, numbers)[0])}

    async def explain(self, asked: schemas.Why) -> dict[str, Any]:
        """What the run believes of a triple, and what speaks for it.

        Raises:
            InputError: an id or name is unknown.
            Private: the triple is withheld.
        """
        numbers = find_triples(
            self.graph, [("triple", (asked.head, asked.relation, asked.tail))], HINT
        )
        [(score, probability)] = await self.quick.ask(numbers)
        head, relation, tail = triple = numbers_of(numbers[0])
        await self.withholding.require_open("explain", triple, probability)
        brief = await self.why.ask(partial(self.briefing.brief, triple, asked.limit))
        said = await self.look.ask(self.pages.said) if self.pages is not None else {}
        return named(self.graph, head, relation, tail) | {
            "score": score,
            "probability": probability,
            "known": self.run.explainer.given(head, relation, tail),
            "paths": brief.paths,
            "judged": brief.judged,
            "verdict": said.get(self.graph.ids(triple)),
        }

    async def browse(self, asked: schemas.Browse) -> dict[str, Any]:
        """A page of the ledger.

        Raises:
            InputError: an id or name is unknown, or the run has no ledger.
        """
        if self.pages is None:
            raise InputError("the run was trained without a loop, so that it has no ledger")
        found: dict[str, Any] = await self.look.ask(partial(self.pages.page, asked, HINT))
        return found

    async def compare(self, asked: schemas.Predict) -> dict[str, Any]:
        """Answers of this run and of the other one, and how many are withheld.

        Raises:
            InputError: an id or name is unknown in either, or there is no other run.
        """
        other = self._compared()
        here = await self.predict(asked)
        there, withheld = await self.look.ask(partial(other.answers, asked, HINT))
        withheld += here["withheld"]
        return {"here": here["answers"], "there": there, "withheld": withheld}

    @cached_property
    def comparison_facts(self) -> dict[str, Any]:
        """Both runs' measures and the differences of their configurations.

        Raises:
            InputError: there is no other run.
        """
        return self._compared().facts()

    def _compared(self) -> Comparison:
        if self.comparison is None:
            raise InputError(
                "there is no other run to compare with; start the service with --compare OTHER"
            )
        return self.comparison

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Facts of the run."""
        other = self.settings.compare
        return {
            "name": self.run.folder.resolve().name,
            "graph": self.graph.name,
            "entities": self.graph.num_entities,
            "relations": self.graph.num_relations,
            "triples": len(self.graph.train),
            "reads_texts": self._loop,
            "takes_feedback": self._loop,
            "withholds": self.settings.withhold,
            "compared_with": other.resolve().name if other is not None else None,
            "version": __version__,
        }

    def _lane(self, name: str, work: Any, depth: int, size: int) -> Lane[Any, Any]:
        seen = self.metrics.batch.labels(name).observe
        return Lane(name, work, depth=depth, size=size, seen=seen)

    def _work(self, jobs: Sequence[Quick]) -> list[Any]:
        """Predictions together, and all triples together."""
        queries = [job for job in jobs if isinstance(job, Question)]
        asked = [job for job in jobs if isinstance(job, np.ndarray)]
        answers = iter(self.run.predict_all(queries) if queries else ())
        scores = iter(self.run.score(np.concatenate(asked)) if asked else ())
        return [
            next(answers) if isinstance(job, Question) else [next(scores) for _ in job]
            for job in jobs
        ]

    def _read(self, jobs: Sequence[tuple[str, int | None, float | None]]) -> list[list[Extraction]]:
        try:
            return [stated(self.run, *job) for job in jobs]
        finally:
            forget()

    def _record(self, jobs: Sequence[Writing]) -> list[None]:
        # the log first: an entry without its verdict says that somebody tried
        with own_files():
            self.withholding.queue.log.append([action for job in jobs for action in job.actions])
        lines = [job.verdict for job in jobs if job.verdict is not None]
        if lines:
            assert self.ledger is not None
            self.ledger.add_verdicts(lines)
        return [None] * len(jobs)


def _call(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    return [job() for job in jobs]
