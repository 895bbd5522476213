"""Withheld statements that wait for a person, and what was decided: a replay of the audit log."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from relgnn.audit.chain import Action, AuditLog
from relgnn.errors import InputError

State = Literal["waiting", "released", "withheld"]
QUEUED, DECISIONS = "queued", ("released", "withheld")
LIMIT = 10_000
"""Statements that wait at most: further ones are withheld all the same, and not noted."""

Triple = tuple[str, str, str]
"""Head, relation, tail; the data set's ids."""


@dataclass(frozen=True)
class Item:
    """A statement that was withheld.

    Args:
        id: number of the log's entry that noted it.
        head, relation, tail: ids.
        category: of the policy.
        route: where somebody would have got it.
        p: its probability then; None of one that was given.
        time: when it was noted, ISO 8601.
        state: what holds now.
        by: who decided; None while it waits.
    """

    id: int
    head: str
    relation: str
    tail: str
    category: str
    route: str
    p: float | None
    time: str
    state: State = "waiting"
    by: str | None = None

    @property
    def triple(self) -> Triple:
        """Head, relation, tail."""
        return self.head, self.relation, self.tail

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Withheld:
    """A statement to note; arguments as of `Item`."""

    triple: Triple
    category: str
    route: str
    p: float | None = None

    @property
    def action(self) -> Action:
        """What the log is told; not by whom it was asked for."""
        head, relation, tail = self.triple
        about = {"head": head, "relation": relation, "tail": tail}
        about |= {"category": self.category, "route": self.route, "p": self.p}  # type: ignore[dict-item]
        return Action(QUEUED, "service", about)


def audit_log(run: Path) -> AuditLog:
    """The log of a run folder."""
    return AuditLog(run / "audit" / "log.jsonl")


class Queue:
    """The statements of a log, followed as it grows, also by other processes.

    Args:
        log: where they are noted.
        limit: how many may wait.
    """

    def __init__(self, log: AuditLog, limit: int = LIMIT) -> None:
        self.log, self.limit = log, limit
        self._items: dict[int, Item] = {}
        self._number: dict[Triple, int] = {}
        self._released: frozenset[Triple] = frozenset()
        self._waiting, self._offset = 0, 0
        self._changing = threading.Lock()

    def items(self, state: State | None = None) -> list[Item]:
        """Statements in the order they were noted, of one state where it is given.

        Raises:
            InputError: the log is damaged.
            MachineError: it cannot be read.
        """
        self._follow()
        with self._changing:  # another thread may follow meanwhile
            return [one for one in self._items.values() if state in (None, one.state)]

    @property
    def waiting(self) -> int:
        """How many statements nobody decided yet.

        Raises:
            InputError: the log is damaged.
            MachineError: it cannot be read.
        """
        self._follow()
        return self._waiting

    def released(self) -> frozenset[Triple]:
        """Triples that a person released.

        Raises:
            InputError: the log is damaged.
            MachineError: it cannot be read.
        """
        self._follow()
        return self._released

    def new(self, found: Iterable[Withheld]) -> list[Action]:
        """What the log should be told of some statements: those that are new, while they fit."""
        self._follow()
        fresh = {one.triple: one for one in found if one.triple not in self._number}
        room = max(0, self.limit - self._waiting)
        return [one.action for one in list(fresh.values())[:room]]

    def decision(self, number: int, state: State, by: str) -> Action:
        """What the log should be told of a person's decision; a later one overrules.

        Raises:
            InputError: no statement has the number.
        """
        return Action(state, by, {"statement": self.item(number).id})

    def item(self, number: int) -> Item:
        """The statement with a number, as it stands now.

        Raises:
            InputError: no statement has the number.
        """
        self._follow()
        if number not in self._items:
            raise InputError(
                f"statement {number}: is not in the queue; `relgnn audit queue list` shows what is"
            )
        return self._items[number]

    def _follow(self) -> None:
        with self._changing:
            try:
                size = self.log.path.stat().st_size
            except FileNotFoundError:
                size = 0
            if size < self._offset:  # the file is another one
                self._items, self._number, self._offset = {}, {}, 0
                self._released, self._waiting = frozenset(), 0
            if size == self._offset:
                return
            entries, self._offset = self.log.since(self._offset)
            for entry in entries:
                self._take(entry)
            every = self._items.values()
            self._waiting = sum(one.state == "waiting" for one in every)
            self._released = frozenset(one.triple for one in every if one.state == "released")

    def _take(self, entry: dict[str, Any]) -> None:
        about = entry["about"]
        if entry["action"] == QUEUED:
            item = Item(entry["n"], **about, time=entry["time"])
            if item.triple not in self._number:  # two workers may note the same one
                self._items[item.id], self._number[item.triple] = item, item.id
        elif entry["action"] in DECISIONS and about.get("statement") in self._items:
            item = self._items[about["statement"]]
            self._items[item.id] = replace(item, state=entry["action"], by=entry["by"])
