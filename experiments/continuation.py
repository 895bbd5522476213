"""Continue a run on relations that it did not know, with and without replay of the old sentences.

    python -m experiments.continuation [--seeds S ...] [--again]

The 30 % subset of SemEval-2010 Task 8 is divided: a run learns five relations and Other, and is
then continued on the other four. Rows tell F1 on the test sentences of the old relations and of the
new ones: `before`, `after_no_replay` and `after_replay`. Only seeds that are missing in
experiments/results are run.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.command import add_seeds, make_parser, tells_errors
from experiments.commit import at_end, provenance, recorded
from experiments.jobs import CONFIGS, RUNS
from experiments.reproduce import Runner, run_apart
from experiments.results import RESULTS, append, make_line
from relgnn.config import RelationConfig, load_run_config
from relgnn.data.prepare import files_of
from relgnn.data.relations import SPLITS, RelationData
from relgnn.text.reader import load_data
from relgnn.text.retune import continued_config
from relgnn.training import load_json, save_text

TABLE = "continue_re_semeval2010"
CONFIG = CONFIGS / "re_semeval2010" / "tuned_30.yaml"
OLD = frozenset((
    "Cause-Effect", "Component-Whole", "Content-Container", "Entity-Destination", "Entity-Origin",
    "Other",
))  # fmt: skip
REPLAY = {"after_no_replay": 0.0, "after_replay": 0.3}
"""Row: share of the old sentences that is learnt again."""
TOLERANCE = 0.02
EPOCHS = 5
"""Of a continuation."""


def of_relations(data: RelationData, families: Collection[str]) -> RelationData:
    """The sentences and labels of some relations, direction left aside; labels that train has."""
    taught = {one.relation for one in data.train}
    kept = [i for i, family in enumerate(data.families) if family in families and i in taught]
    number = {label: i for i, label in enumerate(kept)}
    parts: dict[str, Any] = {
        split: tuple(
            one._replace(relation=number[one.relation])
            for one in getattr(data, split)
            if one.relation in number
        )
        for split in SPLITS
    }
    return replace(
        data, labels=tuple(data.labels[i] for i in kept),
        label_names=tuple(data.label_names[i] for i in kept),
        descriptions=tuple(data.descriptions[i] for i in kept), unlabelled=(), **parts,
    )  # fmt: skip


def measure(
    config: RelationConfig, folder: Path, old: Collection[str], runner: Runner = run_apart
) -> dict[str, tuple[Mapping[str, float], dict[str, Any]]]:
    """Run the protocol.

    Args:
        config: of a run on all relations.
        folder: of the data and the runs; emptied first.
        old: relations that are known before; the others are new.
        runner: runs a configuration in a folder.

    Returns:
        row -> F1 on old, new and all test sentences, and the metrics.json of the run behind it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    data = load_data(config)
    new = set(data.families) - set(old)
    for name, families in (("old", old), ("new", new)):
        for file, content in files_of(of_relations(data, families)).items():
            save_text(folder / name / file, content)
    place = config.data.model_copy(
        update={"name": None, "path": folder / "old", "fraction": 1.0, "split_seed": 0}
    )
    base = config.model_copy(update={"data": place})
    runner(base, folder / "run", False)
    found: dict[str, tuple[Mapping[str, float], dict[str, Any]]] = {}
    for row, replay in REPLAY.items():
        further = continued_config(
            folder / "run", folder / "new", replay, TOLERANCE, [f"extraction.epochs={EPOCHS}"]
        )
        runner(further, folder / row, False)
        metrics = load_json(folder / row / "metrics.json")
        for when, name in (("before", "before"), ("after", row)):
            figures = metrics["continued"][when]
            behind = metrics if when == "after" else load_json(folder / "run" / "metrics.json")
            found[name] = (
                {f"{part}{metric}": figures[test][metric]
                 for test, part in (("test", ""), ("old_test", "old_"), ("new_test", "new_"))
                 for metric in ("macro_f1", "micro_f1")},
                behind,
            )  # fmt: skip
    return found


def record(seed: int) -> None:
    """Run the protocol for a seed and append its rows."""
    config = _config(seed)
    code = provenance()
    folder = RUNS / TABLE / str(seed)
    found = measure(config, folder, OLD)
    environment = load_json(folder / "run" / "environment.json")
    code = at_end(code)
    command = f"python -m experiments.continuation --seeds {seed}"
    append(TABLE, [
        make_line(TABLE, row, seed, config, dict(figures), {}, command, code, metrics, environment)
        for row, (figures, metrics) in found.items()
    ], RESULTS)  # fmt: skip


def _config(seed: int) -> RelationConfig:
    changes = [f"runtime.seed={seed}", f"data.split_seed={seed}"]
    found = load_run_config(CONFIG, changes)
    assert isinstance(found, RelationConfig)
    return found


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.continuation", __doc__)
    add_seeds(parser)
    parser.add_argument("--again", action="store_true", help="run what is recorded too")
    given = parser.parse_args(arguments)
    known = {(x.seed, x.config_sha256) for x in recorded(TABLE, RESULTS, given.again)}
    for seed in given.seeds:
        if (seed, _config(seed).sha256()) not in known:
            print(f"{TABLE}: seed {seed}", file=sys.stderr)
            record(seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
