"""What speaks for a triple, told at once: paths, views and sentences, from what is on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice

from relgnn.explain.paths import PathFinder, PathLine
from relgnn.explain.reading import Rereading, Triple
from relgnn.loop.opened import OpenRun
from relgnn.loop.votes import FILE
from relgnn.loop.why import Secrets


@dataclass(frozen=True)
class View:
    """What one view says of a triple.

    Args:
        name: "text", "graph" or "rules".
        probability: its own; None where it is silent.
        share: what it adds to the log odds of the triple (Shapley value), None in a run that kept
            no votes.
    """

    name: str
    probability: float | None
    share: float | None


@dataclass(frozen=True)
class Spoken:
    """A sentence that speaks of both ends; `text` is None where its text is gone."""

    id: str
    text: str | None


@dataclass(frozen=True)
class Judged:
    """What the last round believed of a triple.

    Args:
        posterior, accepted: as the ledger has them.
        learned: whether the model was taught it: where no round was better than none, it was not.
        views: text, graph and, where they judge, rules.
        sentences: those that the round recorded as its evidence.
    """

    posterior: float
    accepted: bool
    learned: bool
    views: tuple[View, ...]
    sentences: tuple[Spoken, ...]


@dataclass(frozen=True)
class Brief:
    """What speaks for a triple; `judged` is None where the last round did not judge it."""

    paths: tuple[PathLine, ...]
    judged: Judged | None


class Briefing:
    """Tells what speaks for triples, without reading a sentence or passing a message again.

    `Explaining` tells more, and takes seconds to minutes for it.

    Args:
        run: an opened run.
        secrets: what is not told; None tells everything.
    """

    def __init__(self, run: OpenRun, secrets: Secrets | None = None) -> None:
        self.run, self.secrets = run, secrets
        self.paths = PathFinder.of_run(run)
        folder = run.round_folder
        kept = folder is not None and (folder / FILE).is_file()
        self.reading = Rereading(run) if kept else None

    def brief(self, triple: Triple, most: int = 5) -> Brief:
        """What speaks for a triple.

        Args:
            triple: head, relation, tail.
            most: paths and sentences at most.
        """
        found = self.paths.paths(*triple, limit=most, secrets=self.secrets)
        lines = tuple(self.paths.line(path, named=True) for path in found)
        return Brief(lines, self._judged(triple, most))

    def _judged(self, triple: Triple, most: int) -> Judged | None:
        explainer = self.run.explainer
        row, table = explainer.rows.get(triple), explainer.table
        if row is None or table is None:
            return None
        said = {"text": table.p_text[row], "graph": table.p_graph[row], "rules": table.p_rules[row]}
        shares = self._shares(triple)
        views = tuple(
            View(name, None if math.isnan(p) else float(p), shares.get(name))
            for name, p in said.items()
            if name in shares or not math.isnan(p)
        )
        spoken = (Spoken(one, explainer.sentence(one)) for one in table.evidence[row])
        sentences = tuple(islice((one for one in spoken if self._fit(one)), most))
        accepted = bool(table.accepted[row] > 0)
        learned = accepted and explainer.taught
        return Judged(float(table.p[row]), accepted, learned, views, sentences)

    def _fit(self, one: Spoken) -> bool:
        return (
            self.secrets is None or one.text is None or not self.secrets.silences(one.id, one.text)
        )

    def _shares(self, triple: Triple) -> dict[str, float]:
        """Each view's share of the log odds; none without votes."""
        if self.reading is None or not self.reading.judged(triple):
            return {}
        found = self.reading.views(triple)
        return dict(zip(found.players, found.shapley.values.tolist(), strict=True))
