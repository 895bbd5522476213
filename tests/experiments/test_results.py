from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import claims, current, jobs, reproduce, results, tables
from experiments.current import rendered
from experiments.results import append, latest, load_ranks, read_lines
from relgnn.config import make_config
from relgnn.data import load
from relgnn.errors import InputError, MachineError
from relgnn.loop.demo import demo_config
from relgnn.ranking.metrics import metrics_by_stratum, write_ranks
from relgnn.ranking.ranks import Ranks
from relgnn.ranking.sampled import HITS_10_OF_50
from relgnn.training import load_json, save_json
from tests.conftest import ROOT
from tests.experiments.lines import LINE, TABLE


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    lines = [LINE, replace(LINE, row="oracle", expected={"mrr": 0.5, "source": "a book"})]
    append(TABLE, lines, tmp_path)
    assert read_lines(TABLE, tmp_path) == lines
    assert results.tables(tmp_path) == [TABLE]
    assert read_lines("loop_other", tmp_path) == []


def test_appending_keeps_what_is_there(tmp_path: Path) -> None:
    append(TABLE, [LINE], tmp_path)
    before = (tmp_path / f"{TABLE}.jsonl").read_bytes()
    append(TABLE, [replace(LINE, seed=1)], tmp_path)
    assert (tmp_path / f"{TABLE}.jsonl").read_bytes().startswith(before)


def test_a_line_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / f"{TABLE}.jsonl"
    append(TABLE, [LINE], tmp_path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(MachineError, match="No space left"):
            append(TABLE, [replace(LINE, seed=1)], tmp_path)
    assert path.read_bytes() == before
    path.write_bytes(before + before[:40])  # of a process that was killed as it wrote
    append(TABLE, [replace(LINE, seed=2)], tmp_path)
    assert [line.seed for line in read_lines(TABLE, tmp_path)] == [LINE.seed, 2]


def test_last_line_of_a_key_wins() -> None:
    later = replace(LINE, metrics={"mrr": 0.3})
    other = replace(LINE, config_sha256="b" * 64)
    assert latest([LINE, other, later]) == {LINE.key: later, other.key: other}
    # a table shows one line a seed: the last configuration that was run
    assert rendered([LINE, later, other]) == [other]


def test_dirty_lines_are_never_rendered(tmp_path: Path) -> None:
    dirty = replace(LINE, dirty=True, metrics={"mrr": 0.9, "hits@10": 0.9})
    assert rendered([LINE, dirty]) == [LINE]
    append(TABLE, [LINE, dirty], tmp_path)
    assert ".900" not in tables.render_results(tmp_path)
    append("lp_toy", [replace(dirty, table="lp_toy")], tmp_path)
    assert "lp_toy" not in tables.render_results(tmp_path)
    assert tables.render_table("lp_toy", tmp_path).startswith("No results yet")


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{TABLE}.jsonl").write_text('{"table": "loop_toy"}\n')
    with pytest.raises(InputError, match=r"loop_toy\.jsonl:1: no line of results"):
        read_lines(TABLE, tmp_path)


def toy_ranks(factor: float, seed: int) -> dict[str, Ranks]:
    random = np.random.default_rng(seed)
    ranks = {}
    for side in ("head", "tail"):
        rank = 1 + np.floor(factor * random.random(40) * 9).astype(np.int64)
        ranks[side] = Ranks(rank, rank + 1, np.full(40, 20))
    return ranks


STRATA = {"feature": np.arange(40) % 3 == 0, "none": np.arange(40) % 3 != 0}
FACTORS = {"round0": 1.0, "alltext": 0.8, "loop": 0.3, "loop+read": 0.1, "oracle": 0.05}


@pytest.fixture
def fake_runner(clean_tree: str) -> Callable[..., None]:
    """Leaves a run folder with made-up ranks in place of training."""

    def runner(config: object, folder: Path, resume: bool) -> None:
        told = {"hardware": "two cores", "threads": 2, "versions": {}}
        save_json(folder / "environment.json", told)
        (folder / "config.yaml").write_text(config.to_yaml())  # type: ignore[attr-defined]
        (folder / "ranks").mkdir(exist_ok=True)
        seed = config.runtime.seed  # type: ignore[attr-defined]
        triples = np.zeros((40, 3), dtype=np.int64)
        rows = {}
        for row, factor in FACTORS.items():
            ranks = toy_ranks(factor, seed)
            write_ranks(folder / "ranks" / f"{row}.tsv", ranks, triples, ["e"], ["r"])
            rows[row] = metrics_by_stratum(ranks, STRATA)
        save_json(folder / "metrics.json", {"rows": rows, "seconds": 9.0, "peak_memory_mb": 5.0})

    return runner


def toy_job(seed: int) -> jobs.Job:
    content = {
        "data": {"name": "codex_s", "fraction": 0.1, "split_seed": seed},
        "runtime": {"seed": seed},
        "loop": {"controls": ["alltext", "oracle", "read"]},
        "expected": {"mrr": 0.2, "round0/mrr": 0.9}, "source": "a book",
    }  # fmt: skip
    return jobs.Job(TABLE, "rgcn", seed, make_config(content))


@pytest.fixture
def recorded(tmp_path: Path, fake_runner: Callable[..., None]) -> Path:
    for seed in (0, 1, 2):
        reproduce.execute(
            toy_job(seed), tmp_path / "runs", tmp_path / "results", runner=fake_runner
        )
    return tmp_path / "results"


def test_a_run_is_recorded_once(recorded: Path) -> None:
    lines = read_lines(TABLE, recorded)
    # as of a loop that kept round 0, the run has no row `round0+read`
    assert [line.row for line in lines[:5]] == ["round0", "loop", "alltext", "oracle", "loop+read"]
    assert lines[0].expected == {"mrr": 0.9, "source": "a book"}
    assert lines[1].expected == {"mrr": 0.2, "source": "a book"}
    assert lines[1].metrics.keys() >= {"mrr", "hits@1", "hits@3", "mrr_feature", "mrr_none"}
    job = toy_job(0)
    assert not jobs.missing(job, lines, dirty=False)
    assert jobs.missing(toy_job(3), lines, dirty=False)
    spoiled = [replace(line, dirty=True) for line in lines]
    assert jobs.missing(job, spoiled, dirty=False)
    assert not jobs.missing(job, spoiled, dirty=True)


def test_ranks_are_kept_exactly_and_small(recorded: Path) -> None:
    path = results.ranks_path(TABLE, "rgcn", 0.1, 0, recorded)
    kept = load_ranks(path)
    assert kept.keys() == FACTORS.keys()
    ranks = toy_ranks(1.0, 0)
    np.testing.assert_array_equal(kept["round0"][0], ranks["head"].realistic)
    np.testing.assert_array_equal(kept["round0"][1], ranks["tail"].realistic)
    with pytest.raises(InputError, match="no ranks"):
        load_ranks(path.with_name("rgcn-10-9.parquet"))


def test_strata_are_kept_beside_the_ranks(tmp_path: Path) -> None:
    path = results.strata_path(TABLE, tmp_path)
    assert path.parent == results.ranks_path(TABLE, "rgcn", 0.1, 0, tmp_path).parent
    with pytest.raises(InputError, match="no strata; run python -m experiments.claims"):
        results.load_strata(path)
    results.save_strata(STRATA, path)
    kept = results.load_strata(path)
    assert list(kept) == list(STRATA)
    for name, mask in STRATA.items():
        np.testing.assert_array_equal(kept[name], mask)


def test_an_interrupted_run_needs_resume(tmp_path: Path, fake_runner: Callable[..., None]) -> None:
    runs, root, job = tmp_path / "runs", tmp_path / "results", toy_job(0)
    folder = runs / TABLE / "rgcn-10-0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(job.config.to_yaml())
    save_json(folder / "provenance.json", {"git_commit": "c" * 40, "dirty": False})
    with pytest.raises(InputError, match="add --resume"):
        reproduce.execute(job, runs, root, runner=fake_runner)
    seen = []

    def runner(config: object, folder: Path, resume: bool) -> None:
        seen.append(resume)
        fake_runner(config, folder, resume)

    reproduce.execute(job, runs, root, resume=True, runner=runner)
    # it has ended now: only recorded, not run
    reproduce.execute(job, runs, root, resume=True, runner=runner)
    assert seen == [True]
    assert {line.git_commit for line in read_lines(TABLE, root)} == {"c" * 40}


def test_a_dirty_run_leaves_the_ranks_alone(
    tmp_path: Path, fake_runner: Callable[..., None], dirty_tree: str
) -> None:
    lines = reproduce.execute(toy_job(0), tmp_path / "runs", tmp_path, runner=fake_runner)
    assert all(line.dirty for line in lines)
    assert not (tmp_path / "ranks").exists()


def test_summary_compares_with_what_was_expected(recorded: Path) -> None:
    table = reproduce.summary(TABLE, read_lines(TABLE, recorded), ["loop", "round0"])
    cells = {
        row: [str(column._cells[i]) for column in table.columns]
        for i, row in enumerate(table.columns[0]._cells)
    }
    assert cells["loop"][-1] == "reached" and cells["round0"][-1] == "below"
    assert cells["loop"][2] == "3" and "±" in cells["loop"][3]
    assert reproduce.verdict(0.19, 0.02, 0.2) == "within spread"


def test_a_command_sums_up_no_uncommitted_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_tree: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    [job] = jobs.jobs("lp_codex_m", ["complex"], [0])
    one = replace(LINE, table="lp_codex_m", row="complex", fraction=1.0,
                  config_sha256=job.config.sha256(), metrics={"mrr": 0.3})  # fmt: skip
    dirty = replace(one, dirty=True, metrics={"mrr": 0.999})
    monkeypatch.setattr(reproduce, "read_lines", lambda *_: [one, dirty])
    assert reproduce.main(["lp_codex_m", "--rows", "complex", "--seeds", "0"]) == 0
    told = capsys.readouterr().out
    assert ".300" in told and ".999" not in told


def test_what_is_measured_of_a_run_is_of_the_recorded_one(
    recorded: Path, fake_runner: Callable[..., None]
) -> None:
    runs, job = recorded.parent / "runs", toy_job(0)
    folder = reproduce.made(job, runs, recorded, fake_runner)
    assert folder == jobs.run_folder(job, runs)
    metrics = load_json(folder / "metrics.json")
    save_json(folder / "metrics.json", metrics | {"seconds": 11.0})
    with pytest.raises(InputError, match="took 11.0 s, and the run that .* records 9.0 s; delete"):
        reproduce.made(job, runs, recorded, fake_runner)


def test_a_run_of_uncommitted_code_is_the_recorded_one_while_it_is(
    recorded: Path, fake_runner: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("dirty_tree")
    job = toy_job(0)

    def slower(config: object, folder: Path, resume: bool) -> None:
        fake_runner(config, folder, resume)
        metrics = load_json(folder / "metrics.json")
        save_json(folder / "metrics.json", metrics | {"seconds": 11.0})

    lines = reproduce.execute(job, recorded.parent / "dirty", recorded, runner=slower)
    assert all(line.dirty for line in lines)
    folder = reproduce.made(job, recorded.parent / "dirty", recorded, slower)
    assert load_json(folder / "metrics.json")["seconds"] == 11.0


def test_threads_are_written_down(recorded: Path, tmp_path: Path) -> None:
    lines = read_lines(TABLE, recorded)
    assert {line.threads for line in lines} == {2}
    path = recorded / f"{TABLE}.jsonl"
    path.write_text(path.read_text().replace(', "threads": 2', ""))
    # lines from before say nothing of them
    assert [line.threads for line in read_lines(TABLE, recorded)] == [None] * len(lines)


def write_claims(root: Path) -> list[claims.Claim]:
    masks = {"all": np.ones(40, dtype=bool), **STRATA}
    found = claims.table_claims(TABLE, masks, root)
    save_json(root / claims.FILE, [claims.asdict(claim) for claim in found])
    return found


def test_claims_are_paired_with_the_best_row_that_neither_reads_nor_knows(recorded: Path) -> None:
    found = write_claims(recorded)
    assert {claim.against for claim in found if claim.best} == {"alltext"}
    assert {claim.against for claim in found} == {"alltext", "round0"}
    whole = next(claim for claim in found if claim.best and claim.stratum == "all")
    means = {
        row: np.mean([x.metrics["mrr"] for x in read_lines(TABLE, recorded) if x.row == row])
        for row in ("loop", "alltext")
    }
    assert whole.mean == pytest.approx(means["loop"] - means["alltext"])
    assert whole.low < whole.mean < whole.high and whole.seeds == [0, 1, 2]
    assert claims.read_claims(recorded) == found
    assert claims.stale(found, recorded) == []


def test_tables_and_readme_are_checked_against_results(recorded: Path, tmp_path: Path) -> None:
    write_claims(recorded)
    output, readme = tmp_path / "RESULTS.md", tmp_path / "README.md"
    text = f"# Toy\n\n<!-- table:{TABLE} -->\nold\n<!-- /table -->\n\nThe end.\n"
    readme.write_text(text)
    assert len(tables.differences(recorded, output, readme)) == 2
    output.write_text(tables.render_results(recorded))
    readme.write_text(tables.render_readme(text, recorded))
    assert tables.differences(recorded, output, readme) == []
    shown = readme.read_text()
    assert shown.startswith("# Toy\n") and shown.endswith("The end.\n")
    assert f"python -m experiments.reproduce {TABLE}" in shown
    assert "`loop` − `alltext` (the best row" in shown and "stratum none" in shown
    loop = next(line for line in shown.splitlines() if line.startswith("| `loop` |"))
    readme.write_text(shown.replace(loop, loop.replace(" ± ", " ± 9", 1)))
    (problem,) = tables.differences(recorded, output, readme)
    assert problem.startswith("README.md:") and "experiments.tables" in problem


def test_claims_that_results_no_longer_bear_out_are_stale(recorded: Path, tmp_path: Path) -> None:
    found = write_claims(recorded)
    line = next(x for x in read_lines(TABLE, recorded) if x.row == "loop" and x.seed == 1)
    append(TABLE, [replace(line, metrics=line.metrics | {"mrr": 0.01})], recorded)
    assert any("claims.json" in problem for problem in claims.stale(found, recorded))


def test_picture_of_a_table(recorded: Path) -> None:
    image = tables.picture(TABLE, recorded)
    assert image is not None and image.startswith(b"\x89PNG")
    assert tables.picture("loop_nothing", recorded) is None


def test_rows_are_in_the_order_of_readers() -> None:
    rows = ["oracle", "compgcn/loop", "loop", "compgcn/round0", "round0"]
    groups = tables.grouped([replace(LINE, row=row) for row in rows])
    assert list(groups) == ["round0", "loop", "oracle", "compgcn/round0", "compgcn/loop"]


def test_committed_tables_say_what_the_results_say() -> None:
    assert tables.differences() == []


def test_the_demo_is_the_run_whose_numbers_readme_tells(shared_data: Path) -> None:
    table, fraction, seed = tables.DEMO
    (job,) = jobs.jobs(table, [jobs.PLAIN], [seed])
    demo = demo_config(load(job.config.data.name or ""), fraction, job.config.gnn.kind)
    assert job.config.data.fraction == fraction and demo.sha256() == job.config.sha256()


def test_what_the_demo_takes_is_told(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "<!-- numbers:demo -->\nold\n<!-- /numbers -->\n"
    assert "Not measured yet." in tables.render_readme(text, recorded)
    line = read_lines(TABLE, recorded)[0]
    monkeypatch.setattr(tables, "DEMO", (TABLE, line.fraction, 0))
    oracle = replace(line, row="oracle", seed=0, metrics={"mrr": 0.5}, dirty=False)
    append(TABLE, [oracle], recorded)
    shown = tables.render_readme(text, recorded)
    assert ".500 for a" in shown and "old" not in shown


def test_a_table_of_efficient_tuning_shows_what_it_costs(tmp_path: Path) -> None:
    metrics = {"macro_f1": 0.7, "trained_parameters": 814853.0}
    line = replace(LINE, table="efficient_re_toy", row="lora", metrics=metrics)
    append(line.table, [line], tmp_path)
    shown = tables.render_table(line.table, tmp_path)
    assert "| `lora` | .700 | 814,853 | 60 | 900 | 1 |" in shown
    titles = "macro-F1 | parameters trained | seconds | MB | seeds"
    assert titles in shown


def test_large_figures_keep_their_digits(tmp_path: Path) -> None:
    line = replace(LINE, table="pretraining_toy", row="mlm", metrics={"perplexity": 350.25})
    append(line.table, [line], tmp_path)
    assert "350.250" in tables.render_table(line.table, tmp_path)


def test_an_ablation_of_the_loop_tells_strata_degrees_and_rounds(tmp_path: Path) -> None:
    degrees = {f"mrr_degree_{one}": 0.5 for one in ("0", "1-3", "4-10", "11+")}
    metrics = {"mrr": 0.3, "mrr_none": 0.2, "accepted": 871.0, "promised_precision": 0.85}
    metrics |= {"real_precision": 0.75, "rounds": 2.0, "mrr_unseen_relation": 0.1, **degrees}
    for table, strata in (("ablation_loop_toy", True), ("ablation_toy", False)):
        append(table, [replace(LINE, table=table, metrics=metrics)], tmp_path)
        titles, _, cells = tables.render_table(table, tmp_path).splitlines()[:3]
        assert ("MRR none" in titles) == strata and "MRR, relations never seen" in titles
        assert "end never given | rarer end given 1 to 3 times | 4 to 10 times | often" in titles
        assert "| 2 | 871 | .850 | .750 |" in cells and "_" not in titles


def test_a_table_is_made_by_what_makes_all_of_its_lines(tmp_path: Path) -> None:
    command = "python -m experiments.other --rows a/b c --data mine --seeds 0 1 --targets 9"
    append("other_toy", [replace(LINE, table="other_toy", command=command)], tmp_path)
    shown = tables.render_table("other_toy", tmp_path)
    assert "`python -m experiments.other --data mine --targets 9`" in shown


def test_a_table_says_which_lines_a_gpu_made(tmp_path: Path) -> None:
    near = replace(LINE, table="re_toy", hardware="A CPU, 2 cores, 24 GB")
    far = replace(near, seed=1, hardware="A CPU, 16 cores, 126 GB, NVIDIA H200")
    append("re_toy", [near], tmp_path)
    assert "NVIDIA" not in tables.render_table("re_toy", tmp_path)
    append("re_toy", [far], tmp_path)
    shown = tables.render_table("re_toy", tmp_path)
    assert "1 of 2 lines: NVIDIA H200." in shown


def test_an_inductive_table_is_held_against_hits_among_drawn_negatives(tmp_path: Path) -> None:
    metrics = metrics_by_stratum(toy_ranks(1, 0))
    assert HITS_10_OF_50 not in results.line_metrics(metrics)
    metrics["all"]["both"]["pessimistic"][HITS_10_OF_50] = 0.75
    found = results.line_metrics(metrics)
    assert found.keys() == {*results.METRICS, HITS_10_OF_50}
    expected: dict[str, float | str] = {HITS_10_OF_50: 0.8}
    line = replace(LINE, table="inductive_toy", row="v1", metrics=found, expected=expected)
    append(line.table, [line], tmp_path)
    shown = tables.render_table(line.table, tmp_path)
    assert "| expected Hits@10 of 50 |" in shown and "| .750 | 1 | .800 | below |" in shown
    table = reproduce.summary(line.table, [line], ["v1"])
    assert str(table.columns[-2].header) == "expected Hits@10 of 50"
    assert list(table.columns[-2].cells) == ["0.800"]


def test_rows_of_one_table_may_have_measures_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # lines of no configuration that the table has
    monkeypatch.setattr(current, "is_current", lambda line: True)
    given: list[tuple[str, str, float]] = [
        ("ogbl_biokg", "mrr", 0.81), ("ogbl_ddi", "hits@20", 0.9), ("ogbn_arxiv", "acc", 0.5)
    ]  # fmt: skip
    lines = []
    for row, metric, value in given:
        metrics = {metric: value, f"valid_{metric}": 0.75, "parameters": 1234567.0}
        expected: dict[str, float | str] = {} if metric == "acc" else {metric: 0.85}
        lines.append(replace(LINE, table="ogb", row=row, metrics=metrics, expected=expected))
    append("ogb", lines, tmp_path)
    shown = [
        [cell.strip() for cell in one.split("|")[1:-1]]
        for one in tables.render_table("ogb", tmp_path).splitlines() if one.startswith("|")
    ]  # fmt: skip
    titles, _, *rows = shown
    by_title = [dict(zip(titles, row, strict=True)) for row in rows]
    biokg, ddi, arxiv = by_title
    assert (biokg["MRR"], biokg["expected"], biokg[""]) == (".810", ".850", "below")
    assert (ddi["test Hits@20"], ddi["expected"], ddi[""]) == (".900", ".850", "reached")
    assert (arxiv["test accuracy"], arxiv["expected"], arxiv[""]) == (".500", "–", "")
    assert (ddi["MRR"], ddi["valid Hits@20"], ddi["parameters"]) == ("–", ".750", "1,234,567")
    table = reproduce.summary("ogb", lines, [row for row, _, _ in given])
    assert str(table.columns[-2].header) == "expected"
    assert list(table.columns[-1].cells) == ["below", "reached", ""]
    assert list(table.columns[-2].cells) == ["0.850", "0.850", "–"]
    append("ogb", lines[1:2], tmp_path / "one")
    assert "expected test Hits@20" in tables.render_table("ogb", tmp_path / "one")


def test_unknown_table_and_row_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce.main(["loop_nothing"]) == 2
    assert "loop_codex_s" in capsys.readouterr().err
    assert reproduce.main(["loop_codex_s", "--rows", "lop"]) == 2
    assert "--rows lop: not in loop_codex_s" in capsys.readouterr().err


ORPHAN = """
import multiprocessing, threading
from experiments.reproduce import _stop_with_parent

def child():
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    print("started", flush=True)
    threading.Event().wait()

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
"""


def test_a_run_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    parent.kill()
    # The pipe closes when the child, too, is gone.
    assert parent.communicate(timeout=60)[0] == ""
