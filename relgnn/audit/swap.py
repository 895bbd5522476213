"""Counterfactual swaps: what else is answered about a person of whom only the group is another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from relgnn.audit.groups import Grouping
from relgnn.linkpred.scorer import Scorer
from relgnn.loop.opened import OpenRun
from relgnn.ranking.statistics import Interval, paired_bootstrap
from relgnn.runtime import rng
from relgnn.training import track

MOST = 100
"""Persons that are drawn at most."""
FEWEST = 2
"""An interval needs as many persons."""
OFTEN = 10
"""Given triples of members that a relation needs to be asked about them."""

_GENDERED = """he she/his her/him her/himself herself/man woman/men women/boy girl/boys girls
male female/actor actress/actors actresses/father mother/son daughter/sons daughters/brother sister
brothers sisters/husband wife/king queen/prince princess/emperor empress/duke duchess/lord lady
sir dame/businessman businesswoman/frontman frontwoman/chairman chairwoman/sportsman sportswoman
spokesman spokeswoman/congressman congresswoman/grandson granddaughter/grandfather grandmother
uncle aunt/nephew niece/widower widow/hero heroine/host hostess/waiter waitress/heir heiress"""
_NEUTRAL = """the a/in at/and or/of from/who that/on by/best most/known seen/for with
also too/as like/one two/first second/several many/one some"""
_WORD = re.compile(r"\w+")


def _pairs(written: str) -> dict[str, str]:
    """Either word of each pair -> the other; of several partners the first."""
    found: dict[str, str] = {}
    for pair in re.split(r"[/\n]", written):
        one, other = pair.split()
        found.setdefault(one, other)
        found.setdefault(other, one)
    return found


GENDERED, NEUTRAL = _pairs(_GENDERED), _pairs(_NEUTRAL)
"""Words that tell a gender, and words that tell nothing of whom they are about."""


def exchange(text: str, pairs: dict[str, str], most: int | None = None) -> tuple[str, int]:
    """A text with words exchanged for their partners, their case kept, and how many were.

    Args:
        text: any text.
        pairs: word -> its partner.
        most: words exchanged at most, from the front; None for all.
    """
    done = 0

    def other(match: re.Match[str]) -> str:
        nonlocal done
        word = match[0]
        partner = pairs.get(word.lower())
        if partner is None or (most is not None and done >= most):
            return word
        done += 1
        return partner.capitalize() if word[0].isupper() else partner

    return _WORD.sub(other, text), done


@dataclass(frozen=True)
class Edit:
    """A change to what the model is given of an entity.

    Args:
        entity: whose.
        row: of the given triple that is changed; None where none is.
        tail: what its tail is then.
        text: what the entity's text is then; None leaves it.
    """

    entity: int
    row: int | None = None
    tail: int | None = None
    text: str | None = None


@dataclass(frozen=True)
class Swap:
    """How far the answers about a person move when the group is swapped, beside a control.

    The control swaps another given edge of the same person, to another tail that the relation has;
    where the group is told by words, it swaps as many words that tell nothing. Answers to the
    swapped relations themselves are left out.

    Args:
        persons, queries: that were asked.
        moved, moved_control: mean total variation between the answers' distributions before and
            after, ½ Σ |P − P'|, in [0, 1].
        moved_gap: moved - moved_control, over persons.
        first, first_control: share of questions with another first answer.
        first_gap: the difference, over persons.
    """

    persons: int
    queries: int
    moved: float
    moved_control: float
    moved_gap: Interval
    first: float
    first_control: float
    first_gap: Interval


class Swapper:
    """Gives a run's model other edges and texts for a moment; what it was trained on stays.

    Args:
        run: an opened run.
    """

    def __init__(self, run: OpenRun) -> None:
        self.run, self.graph, self.fitted = run, run.graph, run.fitted

    @cached_property
    def texts(self) -> list[str]:
        """Each entity's text, as the model reads it."""
        return self.graph.node_texts()

    @cached_property
    def _by_head(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the given triples, those of a head together, and where each head's begin."""
        heads = self.graph.train[:, 0]
        rows = np.argsort(heads, kind="stable")
        return rows, np.searchsorted(heads[rows], np.arange(self.graph.num_entities + 1))

    def _given(self, entity: int) -> np.ndarray:
        """Rows int64 of the given triples with this head, ascending."""
        rows, starts = self._by_head
        found: np.ndarray = rows[starts[entity] : starts[entity + 1]]
        return found

    @cached_property
    def _tails(self) -> list[np.ndarray]:
        """Of each relation the tails of its given triples, in their order."""
        train = self.graph.train
        often = np.bincount(train[:, 1], minlength=self.graph.num_relations)
        tails = train[np.argsort(train[:, 1], kind="stable"), 2]
        return np.split(tails, often.cumsum()[:-1])

    @cached_property
    def reads_names(self) -> bool:
        """Whether the model reads just these texts of the nodes."""
        return self.run.world.config.text.node_features == "node"

    @cached_property
    def before(self) -> Scorer:
        """The run as it is."""
        return Scorer.of(self.fitted.model, self.fitted.graph)

    def distributions(self, scorer: Scorer, entity: int, relations: Tensor) -> Tensor:
        """P(answer | entity, r) [Q, N] of relations [Q]."""
        heads = torch.full_like(relations, entity)
        return scorer.score_tails(heads, relations).softmax(1)

    @torch.inference_mode()
    def moved(self, edit: Edit, relations: Sequence[int]) -> np.ndarray:
        """Total variation, and whether the first answer is another, [2, Q], after an edit."""
        asked = torch.tensor(relations)
        old = self.distributions(self.before, edit.entity, asked)
        with self._edited(edit) as scorer:
            new = self.distributions(scorer, edit.entity, asked)
        first = (old.argmax(1) != new.argmax(1)).double()
        return torch.stack([(old - new).abs().double().sum(1) / 2, first]).cpu().numpy()

    @contextmanager
    def _edited(self, edit: Edit) -> Iterator[Scorer]:
        model, context = self.fitted.model, self.fitted.graph
        if edit.row is not None:
            given = np.array(self.graph.train)
            given[edit.row, 2] = edit.tail
            evidence = self.run.learned.edge_text
            if evidence is not None:
                # its sentences state the former tail
                evidence = evidence.clone()
                evidence[edit.row] = 0
            supervision = self.run.supervision(given, evidence)
            context = supervision.message_graph(self.graph.num_entities, model.num_relations)
            context = context.to(self.fitted.graph.target.device)
        former = None
        if edit.text is not None:
            [vector] = self.run.world.encoder.encode([edit.text])
            former = model.read_anew(edit.entity, vector)
        try:
            yield Scorer.of(model, context)
        finally:
            if former is not None:
                assert model.node_text is not None
                model.node_text[edit.entity] = former

    def edits(self, grouping: Grouping) -> Iterator[tuple[Edit, Edit, set[int]]]:
        """A swap, its control, and the relations not to ask for, of each person that has both."""
        draws = rng("counterfactual swaps", 0)
        if grouping.relation is None:
            yield from self._edits_of_words(grouping)
            return
        train = self.graph.train
        for row in np.flatnonzero(train[:, 1] == grouping.relation).tolist():
            own = self._given(int(train[row, 0]))
            others = own[train[own, 1] != grouping.relation]
            if not len(others):
                continue
            other = int(draws.choice(others))
            swap, control = self._edit(row, draws), self._edit(other, draws)
            if swap is not None and control is not None:
                yield swap, control, {grouping.relation, int(train[other, 1])}

    def _edits_of_words(self, grouping: Grouping) -> Iterator[tuple[Edit, Edit, set[int]]]:
        if not self.reads_names:
            return
        for entity in grouping.everybody.tolist():
            text, count = exchange(self.texts[entity], GENDERED)
            neutral, done = exchange(self.texts[entity], NEUTRAL, count)
            if count and done == count:
                yield Edit(entity, text=text), Edit(entity, text=neutral), set()

    def _edit(self, row: int, draws: np.random.Generator) -> Edit | None:
        """Another tail of the same relation for a given triple; its name in the text too."""
        train, graph = self.graph.train, self.graph
        entity, relation, tail = train[row].tolist()
        rows, pool = self._given(entity), self._tails[relation]
        own = train[rows[train[rows, 1] == relation], 2]
        pool = pool[~np.isin(pool, [*own, entity])]
        if not len(pool):
            return None
        new = int(draws.choice(pool))
        names = [graph.entity_label(one) for one in (tail, new)]
        whole = re.compile(rf"(?<!\w){re.escape(names[0])}(?!\w)")
        text = whole.sub(lambda _: names[1], self.texts[entity])
        changed = self.reads_names and text != self.texts[entity]
        return Edit(entity, row, new, text if changed else None)


def swap_groups(run: OpenRun, grouping: Grouping, most: int = MOST) -> Swap | None:
    """Swap the group of persons drawn, one at a time; None where fewer than two can be swapped.

    Args:
        run: an opened run; its model is as before when this returns.
        grouping: by which relation, or by pronouns.
        most: persons at most.
    """
    swapper, graph = Swapper(run), run.graph
    found = list(swapper.edits(grouping))
    order = rng("swapped persons", 0).permutation(len(found))
    members = np.isin(graph.train[:, 0], grouping.everybody)
    often = np.bincount(graph.train[members, 1], minlength=graph.num_relations)
    rows: list[list[np.ndarray]] = []
    seen: set[int] = set()
    queries = 0
    for place in track(order.tolist(), "swapping groups"):
        swap, control, left_out = found[place]
        relations = [r for r in np.flatnonzero(often >= OFTEN).tolist() if r not in left_out]
        if swap.entity in seen or not relations or len(rows) == most:
            continue
        seen.add(swap.entity)
        queries += len(relations)
        rows.append([swapper.moved(edit, relations).mean(1) for edit in (swap, control)])
    if len(rows) < FEWEST:
        return None
    values = np.array(rows).transpose(1, 2, 0)  # [swap or control, measure, person]
    gaps = [paired_bootstrap(a[None], b[None]) for a, b in zip(*values, strict=True)]
    (moved, first), (moved_control, first_control) = values.mean(2).tolist()
    return Swap(
        len(rows), queries, moved, moved_control, gaps[0], first, first_control, gaps[1]
    )  # fmt: skip
