"""Ablation of the loop on CoDEx-S at 10 %: every row replays the rounds of one run per seed.

    python -m experiments.loop_ablation [--rows ROW ...] [--seeds S ...] [--again]

The run is configuration rgcn of the table loop_codex_s with five rounds, no controls and bfloat16,
in which an epoch takes half as long; it is made where it is missing. Row `loop` is its first two
rounds, as many as that table's row has, and changes nothing. The judges are not trained again: a
row weighs, chooses and teaches otherwise (`relgnn.loop.replay`), with the weight decay that valid
chose in the run. Rows `not_cross_fitted` and `rules` replay runs of their own, whose judges have
seen what they judge, and of which rules are a third view. Only rows that are missing in
experiments/results are run.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.command import add_seeds, make_parser, require_known, tells_errors
from experiments.commit import begin, recorded
from experiments.jobs import RUNS
from experiments.opened import base_job
from experiments.reproduce import Runner, run_apart, run_in
from experiments.results import RESULTS, append_rows, line_metrics
from relgnn.config import Config, make_config
from relgnn.data.graph import is_in
from relgnn.linkpred.evaluate import evaluate
from relgnn.loop.pseudo import Role
from relgnn.loop.replay import Replay, Variant
from relgnn.ranking.metrics import metrics_by_stratum
from relgnn.ranking.strata import degree_masks
from relgnn.runtime import environment

TABLE = "ablation_loop_codex_s"
MOST_ROUNDS = 5
LONG = "longer"
CHEAP = ("loop.controls=[]", "runtime.precision=bf16")
RUN_BY = {
    LONG: (*CHEAP, f"loop.rounds={MOST_ROUNDS}", f"loop.patience={MOST_ROUNDS}"),
    "not_cross_fitted": (*CHEAP, "loop.cross_fitted=false"),
    "rules": (*CHEAP, "loop.rules={}"),
}
"""Runs that rows replay, each for the row of its name and the first for all others, and how they
differ from the loop table's."""

UNBOUNDED = "loop.min_probability=0.01"
"""For selectors that lower their own thresholds: the base run's bound is above nearly all of them,
and with it they would accept one and the same."""

VARIANTS = {
    "loop": Variant(),
    "without_text": Variant(without=("text",)),
    "without_graph": Variant(without=("graph",)),
    "rules": Variant(("loop.rules={}",)),
    "uncalibrated": Variant(calibrated=False),
    "not_cross_fitted": Variant(("loop.cross_fitted=false",)),
    "em": Variant(("loop.weighing=em",)),
    "by_relation": Variant(("loop.label_frequency_by_relation=true",)),
    "cap": Variant(("loop.cap=0.5",)),
    "unconnected": Variant(("loop.connect=1",)),
    "selector_budget": Variant(("loop.selector=budget",)),
    "selector_fixed": Variant(("loop.selector=fixed", "loop.threshold=0.8")),
    "selector_flex": Variant(("loop.selector=flex", "loop.threshold=0.8", UNBOUNDED)),
    "selector_free": Variant(("loop.selector=free", UNBOUNDED)),
    "selector_soft": Variant(("loop.selector=soft", UNBOUNDED)),
    "selector_class_top": Variant(("loop.selector=class_top",)),
    "selector_agreement": Variant(("loop.selector=agreement", "loop.threshold=0.5")),
    "selector_curriculum": Variant(("loop.selector=curriculum",)),
    "selector_conformal": Variant(("loop.selector=conformal",)),
    "targets_alone": Variant(("loop.context=false",)),
    "context_alone": Variant(("loop.targets=false",)),
    "memory": Variant(("loop.memory={}",)),
    "memory_for_targets": Variant(("loop.memory={}", "loop.targets=false")),
    "uniform_weights": Variant(("loop.target_weighting=uniform",)),
    "gce": Variant(("loop.pseudo_loss=gce",)),
    "bootstrap": Variant(("loop.pseudo_loss=bootstrap",)),
    "coteaching": Variant(("loop.coteaching={}",)),
    "polish": Variant(("loop.polish_epochs=5",)),
    "warm_start": Variant(("loop.warm_start=true",)),
    "adversarial": Variant(("train.adversarial={}",)),
    "contrast": Variant(("train.contrast={}",)),
    "consistency": Variant(("loop.consistency={}",)),
    "rounds_0": Variant(taught=False),
    **{f"rounds_{n}": Variant((f"loop.rounds={n}",)) for n in (1, 3, 4, MOST_ROUNDS)},
    **{f"noise_{s}": Variant(noise=s / 100) for s in (10, 20, 30, 50)},
}
"""Row: what it changes, beside the number of rounds."""


def replayed(row: str, seed: int, runner: Runner = run_apart) -> Path:
    """The folder of the run that a row replays, made where it is missing."""
    name, config = replayed_config(row, seed)
    return run_in(RUNS / TABLE / f"{seed}-run-{name}", config, runner)


def replayed_config(row: str, seed: int) -> tuple[str, Config]:
    """The name and the configuration of the run that a row replays."""
    name = row if row in RUN_BY else LONG
    return name, make_config(base_job(seed).config.model_dump(mode="json"), RUN_BY[name])


def variant_of(row: str) -> Variant:
    """What a row changes in the run that it replays: as many rounds as the loop table's as well."""
    base = base_job(0).config
    assert isinstance(base, Config) and base.loop is not None
    variant = VARIANTS[row]
    return replace(variant, overrides=(f"loop.rounds={base.loop.rounds}", *variant.overrides))


def replay_hashes(config: Config, overrides: Sequence[str]) -> set[str]:
    """Hashes that the configuration of a replay may have.

    Args:
        config: of the run that is replayed; the replay has the weight decay that valid chose there,
            one of those tried.
        overrides: what the replay changes.
    """
    decays = config.train.weight_decay
    tried = decays if isinstance(decays, tuple) else (decays,)
    content = config.model_dump(mode="json")
    return {
        make_config(content, [f"train.weight_decay={decay}", *overrides]).sha256()
        for decay in tried
    }


def measure(replay: Replay, variant: Variant, folder: Path) -> dict[str, float]:
    """Test metrics of a variant's last round, and what it accepted.

    Args:
        replay: of the base run.
        variant: what is changed.
        folder: of the replay; emptied first, and taken away afterwards.
    """
    shutil.rmtree(folder, ignore_errors=True)
    rounds = replay.run(variant, folder)
    graph, last = replay.world.graph, rounds[-1]
    ranks, by_stratum = evaluate(last.fitted, graph, "test")
    metrics = line_metrics(by_stratum)
    by_degree = metrics_by_stratum(ranks, degree_masks(graph, "test"))
    for name, part in by_degree.items():
        if name != "all":
            metrics[f"mrr_{name}"] = part["both"]["realistic"]["mrr"]
    accepted = last.pseudo.of(Role.ACCEPTED)
    right = is_in(accepted.triples, graph.filter_triples("test"))
    metrics |= {"accepted": float(len(accepted)), "rounds": float(last.number)}
    if len(accepted):
        metrics |= {
            "promised_precision": float(accepted.p.mean()),
            "real_precision": float(right.mean()),
        }
    shutil.rmtree(folder)
    return metrics


def record(rows: Sequence[str], seed: int) -> None:
    """Replay rows for a seed and append each as it is done."""
    replays: dict[Path, Replay] = {}
    for row in rows:
        folder = replayed(row, seed)
        if folder not in replays:
            replays[folder] = Replay(folder)
        replay = replays[folder]
        print(f"{TABLE}: {row}, seed {seed}", file=sys.stderr)
        begun, variant = begin(folder), variant_of(row)
        config = replay.configured(variant.overrides)
        metrics = measure(replay, variant, RUNS / TABLE / f"{seed}-{row}")
        code, cost = begun.ended()
        command = f"python -m experiments.loop_ablation --rows {row} --seeds {seed}"
        append_rows(
            TABLE, {row: metrics}, seed, config, command, code, cost, environment(), RESULTS
        )


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.loop_ablation", __doc__)
    parser.add_argument("--rows", nargs="+", default=list(VARIANTS), help="all of them")
    add_seeds(parser)
    parser.add_argument("--again", action="store_true", help="replay what is recorded too")
    given = parser.parse_args(arguments)
    require_known("--rows", "row", given.rows, VARIANTS)
    known = {(x.row, x.seed, x.config_sha256) for x in recorded(TABLE, RESULTS, given.again)}
    for seed in given.seeds:
        rows = []
        for row in given.rows:
            hashes = replay_hashes(replayed_config(row, seed)[1], variant_of(row).overrides)
            if not known & {(row, seed, sha) for sha in hashes}:
                rows.append(row)
        if rows:
            record(rows, seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
