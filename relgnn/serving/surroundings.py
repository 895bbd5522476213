"""What is around an entity, and what relations there are: the graph as people look through it."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import Any

import numpy as np

from relgnn.audit.guard import numbers_of
from relgnn.data.lookup import find_entity
from relgnn.loop.opened import OpenRun
from relgnn.loop.why import named
from relgnn.serving import schemas
from relgnn.serving.withholding import Withholding

HINT = "GET /v1/entities?q=… finds entities, GET /v1/relations lists relations"


class Surroundings:
    """Looks through a run's graph, and tells nothing that is withheld.

    Args:
        run: whose given and accepted triples are shown.
        withholding: what is not.
    """

    def __init__(self, run: OpenRun, withholding: Withholding) -> None:
        self.graph, self.explainer, self.withholding = run.graph, run.explainer, withholding

    async def around(self, asked: schemas.Around) -> dict[str, Any]:
        """Edges at an entity that are not withheld: those accepted from text, then given ones.

        Raises:
            InputError: the entity is unknown.
        """
        entity, size = find_entity(self.graph, asked.entity, HINT), self.graph.num_relations
        accepted = self._accepted.get(entity, [])
        given = [
            (entity, r, other) if r < size else (other, r - size, entity)
            for other, relations in self.explainer.links.get(entity, {}).items()
            for r in relations
        ]
        given = list(dict.fromkeys(given))  # a loop is at both ends
        found = [(numbers_of(triple), p) for triple, p in accepted]
        held = await self.withholding.held("neighbourhood", [*found, *((t, None) for t in given)])
        accepted = [one for one in accepted if numbers_of(one[0]) not in held]
        given = [triple for triple in given if triple not in held]
        edges = [
            *(
                named(self.graph, *triple) | {"source": "accepted", "p": p}
                for triple, p in accepted
            ),
            *(named(self.graph, *triple) | {"source": "given"} for triple in given[: asked.limit]),
        ]
        return {
            "entity": self.entity(entity),
            "edges": edges[: asked.limit],
            "total": len(accepted) + len(given),
        }

    def entity(self, number: int) -> dict[str, str]:
        """Id, name and description, which is empty where it must not be shown."""
        graph = self.graph
        said = graph.entity_descriptions[number]
        return {
            "id": graph.entities[number],
            "name": graph.entity_label(number),
            "description": "" if self.withholding.guard.unfit(said) else said,
        }

    @cached_property
    def relations(self) -> list[dict[str, Any]]:
        """Id, name, description and number of given triples of each relation."""
        graph = self.graph
        often = np.bincount(graph.train[:, 1], minlength=graph.num_relations).tolist()
        return [
            {
                "id": graph.relations[i],
                "name": graph.relation_label(i),
                "description": graph.relation_descriptions[i],
                "triples": often[i],
            }
            for i in range(graph.num_relations)
        ]

    @cached_property
    def _accepted(self) -> dict[int, list[tuple[list[int], float]]]:
        """For each entity the accepted triples that it is an end of, and their probabilities."""
        found: dict[int, list[tuple[list[int], float]]] = defaultdict(list)
        table = self.explainer.table
        if table is not None and self.explainer.taught:
            for row in np.flatnonzero(table.accepted > 0).tolist():
                triple = table.triples[row].tolist()
                for end in {triple[0], triple[2]}:
                    found[end].append((triple, float(table.p[row])))
        return dict(found)
