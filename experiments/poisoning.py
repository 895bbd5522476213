"""Planted sentences: how many false triples get into the graph, with and without the defence.

    python -m experiments.poisoning [--rows ROW ...] [--seeds S ...] [--targets N] [--again]

False triples of CoDEx-S are drawn (`relgnn.loop.poison`), N for each of 1, 3 and 10 sentences
planted, and the loop of the table loop_codex_s (configuration rgcn) is run on a corpus with all of
them. A triple is flipped where the loop's result has accepted it; its pair may also have joined
without a type, and its tail be answered first. Rows `clean` and `clean_defended` have nothing
planted: what they accept of the same triples is no work of the attacker's. The former, which is the
run of the loop table and is made where it is missing, has the gain in MRR over round 0 of which
others keep a share. Intervals are 95 %: of shares of triples Clopper and Pearson's, of `gain_kept`
a bootstrap over test triples. A row takes as long as a loop without its controls. Only rows that
are missing in experiments/results are run.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from experiments.command import add_seeds, make_parser, require_known, tells_errors
from experiments.commit import begin, recorded
from experiments.jobs import RUNS
from experiments.loop_ablation import replay_hashes
from experiments.opened import base_job, base_run
from experiments.results import RESULTS, append_rows, line_metrics
from relgnn.config import Config
from relgnn.data import KnowledgeGraph, is_in
from relgnn.errors import InputError
from relgnn.linkpred.evaluate import evaluate
from relgnn.linkpred.fit import Fitted
from relgnn.linkpred.supervision import Supervision
from relgnn.loop.opened import OpenRun, open_run
from relgnn.loop.poison import STYLES, Poison, pair_conviction, plant, statements
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.loop.replay import Replay
from relgnn.loop.rounds import Loop
from relgnn.ranking.ranks import Ranks
from relgnn.ranking.statistics import Interval
from relgnn.runtime import environment
from relgnn.text.evidence import find_evidence
from relgnn.training import load_json

TABLE = "poisoning_codex_s"
TARGETS = 120
COPIES = (1, 3, 10)
SAMPLES = 2000


class Arm(NamedTuple):
    """What a row's loop meets."""

    planted: bool
    defended: bool


CLEAN = "clean"
ARMS = {
    CLEAN: Arm(False, False), "clean_defended": Arm(False, True),
    "poisoned": Arm(True, False), "poisoned_defended": Arm(True, True),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a loop ended with.

    Args:
        config: the resolved configuration.
        fitted: the final graph model.
        pseudo: what it was taught, accepted triples and pairs that join without a type.
    """

    config: Config
    fitted: Fitted
    pseudo: Pseudo


def draw(run: OpenRun, targets: int) -> Poison:
    """What is planted in a run's corpus, by its seed: what its own pair model believes most."""
    graph, sentences = run.graph, run.world.sentences
    evidence = find_evidence(graph, sentences)
    known = statements(graph, sentences, evidence)
    rng = run.world.runtime.rng("planted sentences")
    convincing = pair_conviction(run.text_model.pairs, graph, run.world.encoder)
    return plant(graph, evidence, known, targets, COPIES, rng, convincing)


def finished(run: OpenRun) -> Outcome:
    """The outcome of a run that is there already."""
    number = load_json(run.folder / "metrics.json")["round"]
    loop = Loop(run.world)
    pseudo = Pseudo.none()
    if number:
        pseudo = loop.taught(loop.table(number), loop.in_force(number))
    return Outcome(run.world.config, run.fitted, pseudo)


def poisoned_loop(base: Path, arm: Arm, poison: Poison, folder: Path) -> Outcome:
    """Run a loop anew; only round 0, which reads no text, is that of the base run.

    Args:
        base: the base run.
        arm: what is planted and defended.
        poison: what may be planted.
        folder: of the new run; emptied first.
    """
    replay = Replay(base)  # with the weight decay that valid chose there
    config = replay.configured(changes(arm))
    shutil.rmtree(folder, ignore_errors=True)
    zero = Path("rounds", "0", "checkpoint.safetensors")
    (folder / zero).parent.mkdir(parents=True)
    shutil.copyfile(base / zero, folder / zero)
    graph = poison.into(replay.world.graph) if arm.planted else replay.world.graph
    world = replace(replay.world, config=config, graph=graph, folder=folder, resume=True)
    last = Loop(world).run()[-1]
    return Outcome(config, last.fitted, last.pseudo)


def changes(arm: Arm) -> tuple[str, ...]:
    """How an arm's loop is configured unlike the base run."""
    return ("loop.controls=[]", *(("loop.defence={}",) if arm.defended else ()))


def success(outcome: Outcome, graph: KnowledgeGraph, poison: Poison) -> dict[str, float]:
    """How many false triples a loop accepted, joined untyped, and answers first.

    Args:
        outcome: of the loop.
        graph: whose triples are no wrong answers.
        poison: the false triples.
    """
    accepted, joined = (outcome.pseudo.of(x).triples for x in (Role.ACCEPTED, Role.CONNECTED))
    flipped = is_in(poison.triples, accepted)
    # which end of an untyped pair comes first says nothing
    ends = np.sort(poison.triples[:, [0, 2]], axis=1)
    untyped = is_in(ends, np.sort(joined[:, [0, 2]], axis=1))
    ranks = outcome.fitted.ranks(poison.triples, graph.filter_triples("test"))
    first = ranks["tail"].realistic <= 1
    metrics = {"targets": float(len(poison))}
    for count in np.unique(poison.copies).tolist():
        own = poison.copies == count
        share = binomtest(int(flipped[own].sum()), int(own.sum())).proportion_ci()
        metrics |= {
            f"flipped_{count}": float(flipped[own].mean()),
            f"flipped_{count}_low": float(share.low), f"flipped_{count}_high": float(share.high),
            f"joined_{count}": float(untyped[own].mean()),
            f"first_{count}": float(first[own].mean()),
        }  # fmt: skip
    most = poison.copies == poison.copies.max()
    for style in STYLES:
        own = most & (np.array(poison.style) == style)
        if own.any():
            metrics[f"flipped_{style}"] = float(flipped[own].mean())
    return metrics


def gain_kept(before: dict[str, Ranks], clean: dict[str, Ranks], own: dict[str, Ranks]) -> Interval:
    """(MRR − MRR of round 0) / (the same of the clean loop), with its interval.

    Args:
        before, clean, own: test ranks of round 0, of the clean loop and of the loop in question.
    """
    zero, there, here = (
        sum(1 / ranks[side].realistic for side in ("tail", "head"))
        for ranks in (before, clean, own)
    )
    gains = np.column_stack([here - zero, there - zero])
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(gains), np.full(len(gains), 1 / len(gains)), SAMPLES) @ gains
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    total = gains.sum(0)
    return Interval(float(total[0] / total[1]), float(low), float(high))


def record(row: str, seed: int, targets: int) -> None:
    """Run a row for a seed and append its line."""
    arm, base = ARMS[row], base_run(seed)
    print(f"{TABLE}: {row}, seed {seed}", file=sys.stderr)
    begun, run = begin(base), open_run(base)
    graph, poison = run.graph, draw(run, targets)
    clean = finished(run)
    if row == CLEAN:
        outcome = clean
    else:
        outcome = poisoned_loop(base, arm, poison, RUNS / TABLE / f"{seed}-{row}")
    gold = Supervision.gold(graph.train)
    zero = run.world.load(gold, base / "rounds" / "0" / "checkpoint.safetensors")
    before, at_first = evaluate(zero, graph, "test")
    ranks, by_stratum = evaluate(outcome.fitted, graph, "test")
    metrics = line_metrics(by_stratum)
    accepted = outcome.pseudo.of(Role.ACCEPTED).triples
    right = is_in(accepted, graph.filter_triples("test"))
    metrics |= {
        "gain_mrr": metrics["mrr"] - line_metrics(at_first)["mrr"],
        "accepted": float(len(right)), "real_precision": float(right.mean()) if len(right) else 0.0,
        **success(outcome, graph, poison),
    }  # fmt: skip
    if row != CLEAN:
        kept = gain_kept(before, evaluate(clean.fitted, graph, "test")[0], ranks)
        metrics |= {
            "gain_kept": kept.mean, "gain_kept_low": kept.low, "gain_kept_high": kept.high
        }  # fmt: skip
    code, cost = begun.ended()
    command = command_of(row, seed, targets)
    append_rows(
        TABLE, {row: metrics}, seed, outcome.config, command, code, cost, environment(), RESULTS
    )


def command_of(row: str, seed: int, targets: int) -> str:
    """What makes a line again."""
    return f"python -m experiments.poisoning --rows {row} --seeds {seed} --targets {targets}"


def hashes_of(row: str, seed: int) -> set[str]:
    """Hashes that the configuration of a row's loop may have."""
    config = base_job(seed).config
    assert isinstance(config, Config)
    return {config.sha256()} if row == CLEAN else replay_hashes(config, changes(ARMS[row]))


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.poisoning", __doc__)
    parser.add_argument("--rows", nargs="+", default=list(ARMS), help="all of them")
    add_seeds(parser)
    parser.add_argument("--targets", type=int, default=TARGETS, help=str(TARGETS))
    parser.add_argument("--again", action="store_true", help="run what is recorded too")
    given = parser.parse_args(arguments)
    require_known("--rows", "row", given.rows, ARMS)
    if given.targets < 1:
        raise InputError(f"--targets {given.targets}: give at least 1")
    known = {(x.command, x.config_sha256) for x in recorded(TABLE, RESULTS, given.again)}
    for seed in given.seeds:
        for row in given.rows:
            command = command_of(row, seed, given.targets)
            if not known & {(command, sha) for sha in hashes_of(row, seed)}:
                record(row, seed, given.targets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
