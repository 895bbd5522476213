"""A line of results that nothing made."""

from __future__ import annotations

from experiments.results import Line

TABLE = "loop_toy"
LINE = Line(
    table=TABLE, row="loop", fraction=0.1, seed=0, metrics={"mrr": 0.25, "hits@10": 0.4},
    expected={}, command="python -m experiments.reproduce", config_sha256="a" * 64,
    git_commit="c" * 40, dirty=False, split_seed=0, seconds=60.0, peak_memory_mb=900.0,
    hardware="two cores", versions={"python": "3.11"},
)  # fmt: skip
