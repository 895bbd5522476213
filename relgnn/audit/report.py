"""The fairness audit of a run: every grouping asked for, as JSON and as a readable report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from relgnn.audit.fairness import LEAST, Group, compare, statements_of
from relgnn.audit.groups import grouping, usual_groupings
from relgnn.audit.swap import MOST, Swap, swap_groups
from relgnn.errors import InputError
from relgnn.loop.figures import short
from relgnn.loop.opened import OpenRun
from relgnn.loop.report import signed
from relgnn.ranking.statistics import Interval
from relgnn.training import load_json, save_json, save_text

NAME = "fairness"
"""Of the files that are written, `.json` and `.md`."""


@dataclass(frozen=True)
class Audited:
    """One grouping.

    Args:
        name, title: see `Grouping`.
        groups: the largest first.
        swap: None where nobody's group can be swapped.
    """

    name: str
    title: str
    groups: tuple[Group, ...]
    swap: Swap | None


@dataclass(frozen=True)
class Report:
    """A fairness audit.

    Args:
        data, fraction, seed: what the run was trained on.
        negatives: what the false statements are that probabilities are held to.
        least: members with questions that a group needs.
        groupings: in the order asked for.
    """

    data: str
    fraction: float
    seed: int
    negatives: str
    least: int
    groupings: tuple[Audited, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """The report for people."""
        return template("fairness.md.j2").render(report=self)

    def write(self, folder: Path) -> list[Path]:
        """Write `fairness.json` and `fairness.md`, and return their paths.

        Raises:
            MachineError: they cannot be written.
        """
        paths = [folder / f"{NAME}.json", folder / f"{NAME}.md"]
        save_json(paths[0], self.to_dict())
        save_text(paths[1], self.markdown())
        return paths


def audit_run(
    run: OpenRun, written: Sequence[str] = (), least: int = LEAST, persons: int = MOST
) -> Report:
    """Audit a run by groups.

    Args:
        run: an opened run.
        written: relations (id or exact name) or `pronoun`; gender, citizenship and pronouns as far
            as the data have them, and have large enough groups, where none is given.
        least: members with questions that a group needs.
        persons: whose group is swapped at most; 0 swaps none.

    Raises:
        InputError: a relation is unknown, there are no test triples, or no group is large enough.
    """
    graph = run.graph
    found = [grouping(graph, one) for one in written] or usual_groupings(graph)
    ranks, _ = run.evaluate("test")
    statements = statements_of(run)
    audited: list[Audited] = []
    for one in found:
        try:
            groups = tuple(compare(run, one, ranks, statements, least))
        except InputError:
            # of the usual groupings, which nobody asked for, those that can be told are
            if written or (one is found[-1] and not audited):
                raise
            continue
        swap = swap_groups(run, one, persons) if persons else None
        audited.append(Audited(one.name, one.title, groups, swap))
    negatives = "checked false triples" if "test" in graph.negatives else "drawn with another tail"
    config = run.world.config
    return Report(
        graph.name, config.data.fraction, config.runtime.seed, negatives, least, tuple(audited)
    )


def written_report(run: Path) -> dict[str, Any] | None:
    """What `relgnn audit RUN` wrote into a run folder before; None where it did not."""
    path = run / "audit" / f"{NAME}.json"
    return load_json(path) if path.is_file() else None


@cache
def template(name: str) -> Template:
    """A Markdown template of this package; an unknown name in it is an error."""
    texts = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    texts.filters |= {"short": short, "signed": signed, "interval": _interval}
    return texts.from_string(files("relgnn.audit").joinpath(name).read_text("utf-8"))


def _interval(found: Interval | dict[str, float]) -> str:
    """A difference with its interval, in bold where 0 lies outside."""
    one = found if isinstance(found, Interval) else Interval(**found)
    text = f"{signed(one.mean)} [{signed(one.low)}, {signed(one.high)}]"
    return f"**{text}**" if one.low > 0 or one.high < 0 else text
