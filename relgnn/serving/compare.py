"""Two runs side by side: what they were told, how good they are, what each answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from relgnn.audit.guard import Guard
from relgnn.config import Config
from relgnn.data.lookup import find_entity
from relgnn.loop.asked import written_question
from relgnn.loop.opened import Answer, OpenRun
from relgnn.serving import schemas
from relgnn.training import load_json

SPLITS = ("valid", "test")
UNTOLD = {"source", "expected", "budget"}
"""Sections of a configuration that change no result."""


class Comparison:
    """The served run beside another one.

    Args:
        here, there: both runs, opened; the other one need not have the same data.
        guard: tells which triples of the other run may be shown.
    """

    def __init__(self, here: OpenRun, there: OpenRun, guard: Guard) -> None:
        self.here, self.there, self.guard = here, there, guard
        there.explainer.secrets = guard

    def facts(self) -> dict[str, Any]:
        """Names, measures by realistic rank over both sides, and what was configured otherwise."""
        here, there = (dict(_leaves(_told(run.world.config))) for run in (self.here, self.there))
        return {
            "here": _about(self.here),
            "there": _about(self.there),
            "differences": [
                {"key": key, "here": _written(here, key), "there": _written(there, key)}
                for key in dict.fromkeys((*here, *there))
                if _written(here, key) != _written(there, key)
            ],
        }

    def answers(self, asked: schemas.Predict, hint: str) -> tuple[list[Answer], int]:
        """The other run's answers to a query, and how many of them are withheld.

        Raises:
            InputError: an id or name is unknown there.
        """
        graph = self.there.graph
        query = written_question(
            graph, asked.relation, asked.head, asked.tail, asked.k, asked.why, hint
        )
        found = self.there.predict_all([query])[0]
        triples = [query.triple(find_entity(graph, one.entity)) for one in found]
        shown = [
            one for one, triple in zip(found, triples, strict=True) if not self.guard.hides(*triple)
        ]
        return shown, len(found) - len(shown)


def _about(run: OpenRun) -> dict[str, Any]:
    metrics = load_json(run.folder / "metrics.json")
    return {
        "name": run.folder.resolve().name,
        "graph": run.graph.name,
        "measures": [
            {
                "split": split,
                "stratum": stratum,
                "mrr": found["mrr"],
                "hits_at_1": found["hits@1"],
                "hits_at_3": found["hits@3"],
                "hits_at_10": found["hits@10"],
                "queries": found["queries"],
            }
            for split in SPLITS
            for stratum, sides in metrics.get(split, {}).items()
            for found in [sides["both"]["realistic"]]
            if found["queries"]
        ],
    }


def _told(config: Config) -> dict[str, Any]:
    told = config.model_dump(mode="json", exclude=UNTOLD)
    # a folder of the machine is nobody's business
    told["text"]["model"] = Path(config.text.model).name
    hidden = (key for key, value in _leaves(config.model_dump()) if isinstance(value, Path))
    for key in hidden:
        *sections, last = key.split(".")
        place = told
        for section in sections:
            place = place.get(section, {})
        if last in place:
            place[last] = None
    return told


def _leaves(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _written(leaves: Mapping[str, Any], key: str) -> str | None:
    return str(leaves[key]) if key in leaves else None
