"""Every configuration under experiments/configs loads, and runs for a step or two on tiny data."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.reproduce import CONFIGS, Job, jobs, line_metrics
from relgnn.config import load_config
from relgnn.data.registry import list_datasets
from relgnn.loop.run import run
from tests.experiments.tiny import SMALL, SMALL_LOOP, write_tiny

PATHS = sorted(CONFIGS.glob("*/*.yaml"))
NAMES = [f"{path.parent.name}/{path.stem}" for path in PATHS]


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_config_loads_and_says_what_to_expect(path: Path) -> None:
    config = load_config(path)
    assert config.source
    assert config.data.name in {entry.name for entry in list_datasets()}
    assert path.parent.name.endswith(config.data.name)
    assert (config.loop is not None) == path.parent.name.startswith("loop_")


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_config_runs_on_tiny_data(path: Path, tmp_path: Path) -> None:
    small = [*SMALL, f"data.path={write_tiny(tmp_path / 'tiny')}", f"text.cache={tmp_path}/cache"]
    if load_config(path).loop is not None:
        small += SMALL_LOOP
    config = load_config(path, small)
    metrics = run(config, tmp_path / "run")
    rows = set(Job(path.parent.name, path.stem, 0, config).rows)
    # a loop that kept round 0 has read nothing
    kept_round_0 = len(metrics["rounds"]) == 1
    assert set(metrics["rows"]) == {r for r in rows if not (kept_round_0 and r.endswith("+read"))}
    for row in metrics["rows"].values():
        found = line_metrics(row)
        assert found.keys() >= {"mrr", "hits@1", "hits@3", "hits@10", "mrr_none"}
        assert all(0 <= value <= 1 for value in found.values())


def test_rows_of_a_table() -> None:
    rgcn, compgcn = sorted(jobs("loop_codex_s", seeds=[1]), key=lambda job: -len(job.name) % 5)
    assert {rgcn.name, compgcn.name} == {"rgcn", "compgcn"}
    by_name = {job.name: job for job in (rgcn, compgcn)}
    assert by_name["rgcn"].rows["loop+read"] == "loop+read"
    assert by_name["compgcn"].rows["loop"] == "compgcn/loop"
    config = by_name["rgcn"].config
    assert (config.runtime.seed, config.data.split_seed) == (1, 1)
    assert [job.name for job in jobs("loop_codex_s", ["compgcn/loop"], [0])] == ["compgcn"]
