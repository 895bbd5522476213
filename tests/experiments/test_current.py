"""Which lines tables show: clean ones, of the configurations that are on file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import jobs, results, tables
from experiments.current import is_current, rendered
from experiments.results import append
from tests.experiments.lines import LINE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table `lp_toy` with one configuration."""
    found = tmp_path / "configs" / "lp_toy"
    found.mkdir(parents=True)
    (found / "complex.yaml").write_text("data: {name: nations}\ngnn: {kind: none}\n")
    monkeypatch.setattr(jobs, "CONFIGS", found.parent)
    return found


def line(seed: int = 0, fraction: float = 1.0) -> results.Line:
    """As of the configuration on file."""
    (job,) = jobs.jobs("lp_toy", ["complex"], [seed], [f"data.fraction={fraction}"])
    return replace(
        LINE, table="lp_toy", row="complex", fraction=fraction, seed=seed,
        config_sha256=job.config.sha256(),
    )  # fmt: skip


@pytest.mark.usefixtures("folder")
def test_lines_of_former_configurations_are_not_shown(tmp_path: Path) -> None:
    now, before = line(), replace(line(), config_sha256="b" * 64, metrics={"mrr": 0.9})
    assert rendered([now, before]) == [now] and rendered([before]) == []
    gone = replace(now, row="transe")
    assert not is_current(gone)
    others = [line(seed=1), line(fraction=0.3)]
    assert rendered([now, *others]) == [now, *others]
    append("lp_toy", [before], tmp_path)
    assert tables.render_table("lp_toy", tmp_path).startswith("No results yet")
    assert "lp_toy" not in tables.render_results(tmp_path)


def test_a_row_that_says_its_share_is_of_no_other(folder: Path) -> None:
    named = folder.parent / "re_toy"
    named.mkdir()
    (named / "complex.yaml").write_text("data: {name: nations, fraction: 0.3}\ngnn: {kind: none}\n")
    for fraction, shown in ((0.3, True), (0.5, False)):
        one = replace(line(fraction=fraction), table="re_toy")
        assert is_current(one) is shown
        assert is_current(replace(one, table="lp_toy"))


@pytest.mark.usefixtures("folder")
def test_a_table_is_made_with_the_shares_and_seeds_of_its_lines(tmp_path: Path) -> None:
    command = "python -m experiments.reproduce lp_toy"
    own = [replace(line(seed=s), command=f"{command} --seeds {s}") for s in range(5)]
    append("lp_toy", own[:1], tmp_path)
    assert f"Made by `{command} --seeds 0` (" in tables.render_table("lp_toy", tmp_path)
    append("lp_toy", own[1:3], tmp_path)
    assert f"Made by `{command}` (" in tables.render_table("lp_toy", tmp_path)
    append("lp_toy", [*own[3:], replace(line(fraction=0.3), command=command)], tmp_path)
    shown = tables.render_table("lp_toy", tmp_path)
    rows = f"{command} --rows complex"
    assert f"Made by `{rows} --seeds 0 1 2 3 4`, `{rows} --fraction 0.3 --seeds 0` (" in shown


@pytest.mark.usefixtures("folder")
def test_where_a_table_has_no_configurations_all_are_shown() -> None:
    assert is_current(replace(LINE, table="audit_toy", config_sha256="b" * 64))


def test_a_share_that_a_configuration_refuses_is_none_of_it(folder: Path) -> None:
    now = line()
    (folder / "pairs.yaml").write_text("data: {name: ogbl_ddi}\npairs: {}\n")
    assert not is_current(replace(now, row="pairs", fraction=0.5))


@pytest.mark.parametrize("table", [path.name for path in jobs.CONFIGS.iterdir()])
def test_every_row_that_a_configuration_makes_is_current(table: str) -> None:
    for job in jobs.jobs(table, seeds=[1]):
        made = replace(
            LINE, table=table, fraction=job.config.data.fraction, seed=1,
            config_sha256=job.config.sha256(),
        )  # fmt: skip
        rows = job.rows.values()
        assert rows and all(is_current(replace(made, row=row)) for row in rows)
        assert not any(is_current(replace(made, row=row, seed=2)) for row in rows)
