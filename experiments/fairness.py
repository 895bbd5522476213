"""Gaps between groups of people: error, calibration, and what moves when the group is swapped.

    python -m experiments.fairness [--run RUN] [--groups GROUP ...] [--swaps N] [--seeds S ...]

Audited is the final model of a loop: the run of the table loop_codex_s (configuration rgcn), which
is made where it is missing, or another run of CoDEx-S. CoDEx-S has citizenship (P27) but no gender
(P21), so that people are told apart by the pronoun of their page. A row is a group: MRR of the
questions (member, r, ?) of test, its gap to everybody else, the gap at like relations, and the same
of predicted − true probability, with 95 % intervals over persons. Rows `swap/…` hold how far the
answers about a person move when the group is swapped, and beside it the control.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.command import add_seeds, make_parser, tells_errors
from experiments.opened import Rows, record_asked
from experiments.results import RESULTS
from relgnn.audit.fairness import LEAST, Group
from relgnn.audit.groups import PRONOUN
from relgnn.audit.report import Report, audit_run
from relgnn.audit.swap import MOST, Swap
from relgnn.errors import InputError
from relgnn.loop.opened import OpenRun
from relgnn.ranking.statistics import Interval

TABLE = "fairness_codex_s"
DATA = "codex_s"
GROUPS = ("P27", PRONOUN)


def rows_of(report: Report) -> dict[str, dict[str, float]]:
    """Metrics by row: `grouping/group` for every group that is large enough, `swap/grouping`."""
    found = {}
    for part in report.groupings:
        for one in part.groups:
            if one.errors is not None:
                found[f"{part.name}/{one.name}"] = group_metrics(one)
        if part.swap is not None:
            found[f"swap/{part.name}"] = swap_metrics(part.swap)
    return found


def group_metrics(group: Group) -> dict[str, float]:
    """What a line holds of a group."""
    errors, calibration = group.errors, group.calibration
    assert errors is not None
    found = {"mrr": errors.mrr, **{f"hits@{k}": value for k, value in errors.hits.items()}}
    found |= _interval("group_gap", errors.gap) | _interval("like_gap", errors.like_gap)
    if calibration is not None:
        found |= {"over_confidence": calibration.predicted - calibration.observed}
        found |= _interval("confidence_gap", calibration.gap)
        found |= {"ece": calibration.ece, "ece_chance": calibration.ece_chance}
    return found | {"persons": float(errors.entities), "questions": float(errors.queries)}


def swap_metrics(swap: Swap) -> dict[str, float]:
    """What a line holds of a swap."""
    found = {"moved": swap.moved, "moved_control": swap.moved_control}
    found |= _interval("moved_gap", swap.moved_gap)
    found |= {"first": swap.first, "first_control": swap.first_control}
    found |= _interval("first_gap", swap.first_gap)
    return found | {"persons": float(swap.persons), "questions": float(swap.queries)}


def _interval(name: str, found: Interval) -> dict[str, float]:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.fairness", __doc__)
    parser.add_argument("--run", type=Path, help="a run folder, in place of those of the seeds")
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), help=" ".join(GROUPS))
    parser.add_argument("--least", type=int, default=LEAST, help=f"persons of a group ({LEAST})")
    parser.add_argument("--swaps", type=int, default=MOST, help=f"persons swapped ({MOST})")
    add_seeds(parser, [0])
    given = parser.parse_args(arguments)
    if given.least < 2:
        raise InputError(f"--least {given.least}: give at least 2, for an interval")
    if given.swaps < 0:
        raise InputError(f"--swaps {given.swaps}: give 0 or more")
    options = f"--groups {' '.join(given.groups)} --least {given.least} --swaps {given.swaps}"

    def measure(run: OpenRun) -> Rows:
        return rows_of(audit_run(run, given.groups, given.least, given.swaps))

    record_asked(TABLE, DATA, "experiments.fairness", given, options, measure, RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
