"""What the service keeps back: notes it for a person, and does what the person decides."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from relgnn.audit.chain import Action
from relgnn.audit.guard import Guard, Numbers, Private
from relgnn.audit.queue import Item, Withheld
from relgnn.data.lookup import find_triples
from relgnn.errors import RelgnnError
from relgnn.loop.why import named
from relgnn.serving import schemas
from relgnn.serving.batching import Busy
from relgnn.serving.damage import own_files
from relgnn.serving.logs import event, place_of


class Withholding:
    """Private and harmful statements of a run, and those that wait for a person.

    Args:
        guard: says which they are; knows the graph, and the queue of those that were withheld.
        write: puts entries into the audit log; they are on disk when it returns.
    """

    def __init__(self, guard: Guard, write: Callable[[Sequence[Action]], Awaitable[None]]) -> None:
        self.guard, self.graph, self.queue = guard, guard.graph, guard.queue
        self._write = write

    async def held(
        self, route: str, found: Iterable[tuple[Numbers, float | None]]
    ) -> dict[Numbers, Withheld]:
        """Those of some triples that are withheld; they wait for a person from now on.

        Args:
            route: where somebody would get them.
            found: triples and their probabilities.
        """
        held = self.guard.withheld(route, found)
        if held:
            try:
                if fresh := self.queue.new(held.values()):
                    await self._write(fresh)
            except (RelgnnError, Busy) as error:
                # they are withheld all the same, and noted when somebody asks again
                event("not queued", logging.WARNING, error=place_of(error))
        return held

    async def require_open(self, route: str, triple: Numbers, p: float | None = None) -> None:
        """Nothing, where the triple may be told.

        Raises:
            Private: it is withheld.
        """
        if await self.held(route, [(triple, p)]):
            raise Private(
                "the statement is private or harmful; it is withheld until a person releases it"
            )

    def statements(self, asked: schemas.Waiting) -> dict[str, Any]:
        """Statements that were withheld, and how many there are.

        Raises:
            MachineError: the log is damaged.
        """
        with own_files():
            found = self.queue.items(asked.state)
        shown = found[asked.offset : asked.offset + asked.limit]
        return {"statements": [self._statement(one) for one in shown], "total": len(found)}

    async def decide(self, asked: schemas.Decision, by: str) -> dict[str, Any]:
        """Release a statement, or withhold it; on disk when this returns.

        Raises:
            InputError: there is no such statement.
            MachineError: it could not be written, or the log is damaged.
        """
        with own_files():
            self.queue.items()
        await self._write([self.queue.decision(asked.id, asked.state, by)])
        return self._statement(self.queue.item(asked.id))

    @property
    def waiting(self) -> float:
        """How many statements wait for a person; not a number where the log is damaged."""
        try:
            return self.queue.waiting
        except RelgnnError:
            return float("nan")

    def _statement(self, item: Item) -> dict[str, Any]:
        [numbers] = find_triples(self.graph, [("audit/log.jsonl", item.triple)])
        return item.to_dict() | named(self.graph, *numbers.tolist())
