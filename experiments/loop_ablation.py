"""Ablation of the loop on CoDEx-S at 10 %: every row replays the rounds of one run per seed.

    python -m experiments.loop_ablation [--rows ROW ...] [--seeds S ...] [--again]

The base run (experiments/configs/loop_codex_s/rgcn.yaml with rules and five rounds) trains the
judges once; a row weighs, chooses and teaches otherwise (`relgnn.loop.replay`). `loop` changes
nothing but the number of rounds: it has two, as every row but `rounds_N`. Only rows that are
missing in experiments/results are run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.reproduce import (
    CONFIGS,
    RUNS,
    SEEDS,
    line_metrics,
    make_line,
    provenance,
    run_apart,
    tree_is_dirty,
)
from experiments.results import RESULTS, append, read_lines
from relgnn.config import Config, load_config
from relgnn.errors import InputError, RelgnnError
from relgnn.linkpred.evaluate import evaluate
from relgnn.loop.pseudo import is_in
from relgnn.loop.replay import Replay, Variant
from relgnn.ranking.metrics import metrics_by_stratum
from relgnn.ranking.strata import degree_masks
from relgnn.runtime import peak_memory_mb
from relgnn.training import load_json

TABLE = "ablation_loop_codex_s"
CONFIG = CONFIGS / "loop_codex_s" / "rgcn.yaml"
CHANGES = ("loop.rules={}", "loop.rounds=5", "loop.patience=5", "loop.controls=[]")
BASE = ("loop.rounds=2",)

VARIANTS = {
    "loop": Variant(BASE),
    "without_text": Variant(BASE, without=("text",)),
    "without_graph": Variant(BASE, without=("graph",)),
    "without_rules": Variant(BASE, without=("rules",)),
    "uncalibrated": Variant(BASE, calibrated=False),
    "em": Variant((*BASE, "loop.weighing=em")),
    "by_relation": Variant((*BASE, "loop.label_frequency_by_relation=true")),
    "cap": Variant((*BASE, "loop.cap=0.5")),
    "unconnected": Variant((*BASE, "loop.connect=1")),
    "selector_budget": Variant((*BASE, "loop.selector=budget")),
    "selector_fixed": Variant((*BASE, "loop.selector=fixed", "loop.threshold=0.8")),
    "selector_flex": Variant((*BASE, "loop.selector=flex", "loop.threshold=0.8")),
    "selector_free": Variant((*BASE, "loop.selector=free")),
    "selector_soft": Variant((*BASE, "loop.selector=soft")),
    "selector_class_top": Variant((*BASE, "loop.selector=class_top")),
    "selector_agreement": Variant((*BASE, "loop.selector=agreement", "loop.threshold=0.5")),
    "selector_curriculum": Variant((*BASE, "loop.selector=curriculum")),
    "selector_conformal": Variant((*BASE, "loop.selector=conformal")),
    "targets_alone": Variant((*BASE, "loop.context=false")),
    "context_alone": Variant((*BASE, "loop.targets=false")),
    "uniform_weights": Variant((*BASE, "loop.target_weighting=uniform")),
    "gce": Variant((*BASE, "loop.pseudo_loss=gce")),
    "bootstrap": Variant((*BASE, "loop.pseudo_loss=bootstrap")),
    "coteaching": Variant((*BASE, "loop.coteaching={}")),
    "polish": Variant((*BASE, "loop.polish_epochs=5")),
    "warm_start": Variant((*BASE, "loop.warm_start=true")),
    "adversarial": Variant((*BASE, "train.adversarial={}")),
    "contrast": Variant((*BASE, "train.contrast={}")),
    "consistency": Variant((*BASE, "loop.consistency={}")),
    **{f"rounds_{n}": Variant((f"loop.rounds={n}",)) for n in (1, 3, 4, 5)},
    **{f"noise_{s}": Variant(BASE, noise=s / 100) for s in (10, 20, 30, 50)},
}
"""Row: what it changes."""

Runner = Callable[[Any, Path, bool], Any]


def base_run(seed: int, runner: Runner = run_apart) -> Path:
    """The folder of a seed's base run, made or gone on with where it is not finished."""
    folder = RUNS / TABLE / str(seed)
    if not (folder / "metrics.json").is_file():
        runner(base_config(seed), folder, (folder / "config.yaml").is_file())
    return folder


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
    accepted = last.pseudo.typed(graph.num_relations)
    right = is_in(accepted.triples, graph.filter_triples("test"))
    metrics |= {"accepted": float(len(accepted)), "rounds": float(last.number)}
    if len(accepted):
        metrics |= {
            "promised_precision": float(accepted.weight.mean()),
            "real_precision": float(right.mean()),
        }
    shutil.rmtree(folder)
    return metrics


def record(rows: Sequence[str], seed: int) -> None:
    """Replay rows for a seed and append each as it is done."""
    folder = base_run(seed)
    replay, environment = Replay(folder), load_json(folder / "environment.json")
    for row in rows:
        print(f"{TABLE}: {row}, seed {seed}", file=sys.stderr)
        code, started = provenance(), time.perf_counter()
        config = replay.configured(VARIANTS[row].overrides)
        metrics = measure(replay, VARIANTS[row], folder.parent / f"{seed}-{row}")
        code |= {"dirty": code["dirty"] or tree_is_dirty()}
        cost = {"seconds": time.perf_counter() - started, "peak_memory_mb": peak_memory_mb()}
        command = f"python -m experiments.loop_ablation --rows {row} --seeds {seed}"
        append(
            TABLE,
            [make_line(TABLE, row, seed, config, metrics, {}, command, code, cost, environment)],
            RESULTS,
        )


def base_config(seed: int) -> Config:
    """The configuration of a seed's base run."""
    return load_config(CONFIG, [*CHANGES, f"runtime.seed={seed}", f"data.split_seed={seed}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.loop_ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", nargs="+", default=list(VARIANTS), help="all of them")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="0 1 2")
    parser.add_argument("--again", action="store_true", help="replay what is recorded too")
    given = parser.parse_args(arguments)
    try:
        for row in given.rows:
            if row not in VARIANTS:
                raise InputError(f"--rows {row}: is no row; known are {', '.join(VARIANTS)}")
        dirty = tree_is_dirty()
        if dirty:
            print("uncommitted code: these lines will be dirty, and never shown", file=sys.stderr)
        known = {(x.row, x.seed) for x in read_lines(TABLE, RESULTS) if dirty or not x.dirty}
        for seed in given.seeds:
            rows = [row for row in given.rows if given.again or (row, seed) not in known]
            if rows:
                record(rows, seed)
    except RelgnnError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
