from __future__ import annotations

import importlib
import json
import struct
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from experiments import current
from experiments.claims import METRIC
from experiments.current import rendered
from experiments.jobs import PLAIN, table_configs
from experiments.results import (
    append,
    load_ranks,
    load_strata,
    ranks_path,
    read_lines,
    strata_path,
)
from paper_figures import (
    ablation,
    calibration,
    cost,
    efficient,
    explanation,
    inductive,
    label_efficiency,
    loop_ablation,
    loop_fractions,
    loop_rounds,
    rank_changes,
    scale,
    speed,
    text_map,
)
from paper_figures.__main__ import FIGURES
from paper_figures.drawing import (
    ONE_COLUMN,
    OUT,
    ROOT,
    TWO_COLUMNS,
    PaperFigure,
    command,
    differences,
    style,
    write,
)
from relgnn.config import load_run_config
from relgnn.errors import InputError
from relgnn.training import load_json, save_json
from tests.paper_figures.toy import MASKS, line, write_results

each = pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)


@pytest.fixture
def any_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up lines are of no configuration on file, and shown all the same."""
    monkeypatch.setattr(current, "is_current", lambda line: True)


@pytest.fixture(scope="module")
def few_lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def many_lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("many"), large=True)


@pytest.fixture
def results(few_lines: Path, any_configuration: None) -> Path:
    return few_lines


@pytest.fixture
def many(many_lines: Path, any_configuration: None) -> Path:
    return many_lines


@pytest.fixture
def own(tmp_path: Path, any_configuration: None) -> Path:
    return write_results(tmp_path / "results")


def test_committed_figures_show_what_the_results_say() -> None:
    assert differences(FIGURES) == []
    assert {path.stem for path in OUT.iterdir()} == {figure.name for figure in FIGURES}


def test_all_figures_are_drawn_by_the_command() -> None:
    scripts = [path.stem for path in ROOT.glob("*.py") if "FIGURE = " in path.read_text()]
    assert sorted(scripts) == sorted(figure.name for figure in FIGURES)
    for name in scripts:
        assert importlib.import_module(f"paper_figures.{name}").FIGURE in FIGURES


@each
def test_a_figure_is_written_with_its_numbers(
    figure: PaperFigure, results: Path, tmp_path: Path
) -> None:
    first = {path.suffix: path.read_bytes() for path in write(figure, results, tmp_path)}
    assert first.keys() == {".pdf", ".png", ".json"}
    assert differences([figure], results, tmp_path) == []
    width, _ = struct.unpack(">II", first[".png"][16:24])
    assert width / 220 == pytest.approx(ONE_COLUMN, abs=0.01) or width / 220 == pytest.approx(
        TWO_COLUMNS, abs=0.01
    )
    # text is embedded as TrueType, and nothing says when it was drawn
    assert b"/FontFile2" in first[".pdf"] and b"/Type3" not in first[".pdf"]
    assert b"CreationDate" not in first[".pdf"]
    told = json.loads(first[".json"])
    assert told["command"] == f"python -m paper_figures.{figure.name}" and told["shown"]


def test_the_same_numbers_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        write(loop_fractions.FIGURE, results, tmp_path / out)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@each
@pytest.mark.parametrize("folder", ["many", "committed"])
def test_no_text_is_cut_or_lies_on_another(
    figure: PaperFigure,
    folder: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if folder == "committed":
        shown = json.loads((OUT / f"{figure.name}.json").read_text(encoding="utf-8"))["shown"]
    else:
        shown = json.loads(json.dumps(figure.numbers(request.getfixturevalue(folder))))
    with style():
        picture = figure.draw(shown)
        boxes = drawn_texts(picture, monkeypatch)
        outside = [text for text, box in boxes.items() if not inside(box, picture.bbox)]
        overlaps = [
            (one, two)
            for (one, a), (two, b) in combinations(boxes.items(), 2)
            if a.shrunk(0.9, 0.7).overlaps(b.shrunk(0.9, 0.7))
        ]
    assert len(boxes) > 5
    assert (outside, overlaps) == ([], [])


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> dict[str, Bbox]:
    """Where each text is that is drawn, numbered: ticks beyond the limits exist, but are not."""
    drawn: list[Text] = []
    draw = Text.draw

    def record(text: Text, renderer: RendererBase) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text() and text not in drawn:
            drawn.append(text)

    monkeypatch.setattr(Text, "draw", record)
    figure.draw_without_rendering()
    return {f"{n} {text.get_text()}": text.get_window_extent() for n, text in enumerate(drawn)}


def inside(box: Bbox, page: Bbox) -> bool:
    return bool(
        box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1
        and box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1
    )  # fmt: skip


@each
def test_without_results_it_says_what_to_run(figure: PaperFigure, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"; run python -m experiments") as error:
        write(figure, tmp_path / "none", tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_the_command_writes_checks_and_tells_errors(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, out = [ablation.FIGURE], tmp_path / "out"
    assert command(figures, ["--check"], own, out) == 1
    assert "ablation.pdf does not show what the results say; run python" in capsys.readouterr().out
    assert command(figures, [], own, out) == 0
    assert command(figures, ["--check"], own, out) == 0
    assert command(figures, [], tmp_path / "none", out) == 2
    assert "no clean results of ablation" in capsys.readouterr().err


def test_newer_lines_make_a_figure_stale_and_dirty_ones_do_not(own: Path, tmp_path: Path) -> None:
    figure, out = ablation.FIGURE, tmp_path / "out"
    write(figure, own, out)
    newer = replace(line(ablation.TABLE, "baseline", macro_f1=0.6), dirty=True)
    append(ablation.TABLE, [newer], own)
    assert differences([figure], own, out) == []
    append(ablation.TABLE, [replace(newer, dirty=False)], own)
    assert len(differences([figure], own, out)) == 3


@pytest.mark.parametrize("ending", ["json", "png", "pdf"])
def test_a_file_of_other_numbers_is_stale(ending: str, own: Path, tmp_path: Path) -> None:
    figure, out = ablation.FIGURE, tmp_path / "out"
    write(figure, own, out)
    append(ablation.TABLE, [line(ablation.TABLE, "newest", macro_f1=0.6)], own)
    old = (out / f"ablation.{ending}").read_bytes()
    write(figure, own, out)
    (out / f"ablation.{ending}").write_bytes(old)
    (problem,) = differences([figure], own, out)
    assert problem.startswith(f"ablation.{ending} ")


def test_a_row_of_the_ablation_is_paired_with_the_baseline_by_seed(results: Path) -> None:
    shown = ablation.numbers(results)
    # seed 99 has no baseline
    assert shown["addition_0"]["by_seed"] == {"0": 0.01} and shown["addition_0"]["std"] is None
    assert shown["addition_1"]["by_seed"] == {"0": 0.009, "1": 0.019}
    assert shown["addition_1"]["mean"] == pytest.approx(0.014)
    assert list(shown) == ["addition_1", "addition_2", "addition_0"]


def test_a_row_is_held_against_the_baseline_of_its_machine(own: Path) -> None:
    table = ablation.TABLE
    here, there = "another processor", "two cores, 24 GB"
    before = ablation.numbers(own)["addition_1"]
    base = replace(line(table, ablation.BASELINE, macro_f1=0.1), hardware=here)
    row = replace(line(table, "addition_1", macro_f1=0.15), hardware=here)
    append(table, [row], own)
    [alone] = [ablation.numbers(own)["addition_1"]]
    assert alone["elsewhere"] == ["0"] and before["elsewhere"] == []
    # the baseline ran there, too, and here again: both lines are kept
    [last] = [x for x in read_lines(table, own) if (x.row, x.seed) == (ablation.BASELINE, 0)]
    assert last.hardware == there
    # so may have the same training of another table
    append(ablation.SAME[0], [replace(base, table=ablation.SAME[0], row=ablation.SAME[1])], own)
    assert ablation.numbers(own)["addition_1"]["elsewhere"] == []
    append(table, [replace(base, metrics={"macro_f1": 0.1}), last], own)
    both = ablation.numbers(own)["addition_1"]
    assert both["elsewhere"] == []
    assert both["by_seed"]["0"] == pytest.approx(0.05)
    assert both["by_seed"]["1"] == before["by_seed"]["1"]


@pytest.mark.usefixtures("any_configuration")
def test_an_ablation_without_its_baseline_says_so(tmp_path: Path) -> None:
    append(ablation.TABLE, [line(ablation.TABLE, "fgm", macro_f1=0.7)], tmp_path)
    with pytest.raises(InputError, match="--rows baseline"):
        ablation.numbers(tmp_path)


def test_rows_of_a_series_are_no_bars_and_the_loop_is_in_each_series(results: Path) -> None:
    bars, series = loop_ablation.numbers(results), loop_rounds.numbers(results)
    assert set(bars) == {"row_0", "row_1", "row_2"} and bars["row_2"]["seeds"] == 1
    assert list(series["rounds"]) == ["0", "1", "2"] and list(series["noise"]) == ["0", "10"]
    assert series["rounds"]["2"] == series["noise"]["0"]
    assert series["rounds"]["2"]["all"]["mean"] == pytest.approx(0.305)


def test_points_of_a_series_are_of_the_same_seeds(own: Path) -> None:
    append(loop_rounds.TABLE, [line(loop_rounds.TABLE, "loop", 0.1, 7, mrr=0.9)], own)
    shown = loop_rounds.numbers(own)["rounds"]
    assert {number: one["all"]["seeds"] for number, one in shown.items()} == dict.fromkeys("012", 2)
    assert shown["2"]["all"]["mean"] == pytest.approx(0.305)


@pytest.mark.usefixtures("any_configuration")
def test_the_loops_ablation_without_the_loop_says_so(tmp_path: Path) -> None:
    append(loop_rounds.TABLE, [line(loop_rounds.TABLE, "cap", mrr=0.2)], tmp_path)
    for figure in (loop_ablation, loop_rounds):
        with pytest.raises(InputError, match="run python -m experiments.loop_ablation"):
            figure.numbers(tmp_path)


def test_one_seed_is_hollow(results: Path) -> None:
    shown = ablation.numbers(results)
    with style():
        bars = ablation.draw(shown).axes[0].patches
    hollow = [bar.get_facecolor() == (1.0, 1.0, 1.0, 1.0) for bar in bars]
    assert hollow == [one["seeds"] == 1 for one in shown.values()] and any(hollow)


def test_the_best_control_neither_reads_nor_is_the_oracle(own: Path) -> None:
    better = [
        line(loop_fractions.TABLE, row, 0.1, seed, mrr=0.9)
        for row in ("loop+read", "round0+read", "oracle", "round0")
        for seed in (0, 1)
    ]
    append(loop_fractions.TABLE, better, own)
    append(loop_fractions.TABLE, [line(loop_fractions.TABLE, "shuffled", 0.1, 0, mrr=0.8)], own)
    shown = loop_fractions.numbers(own)["R-GCN"]
    assert shown["best control"]["0.1"]["row"] == "shuffled"
    assert shown["round0"]["0.1"]["mean"] == 0.9 and shown["loop"]["0.03"]["std"] is None


def test_gains_and_losses_add_up_to_the_change_of_the_table(results: Path) -> None:
    shown = rank_changes.numbers(results)
    lines = rendered(read_lines(rank_changes.TABLE, results))
    for stratum, one in shown["CompGCN"].items():
        means = [
            np.mean([
                x.metrics[METRIC[stratum]] for x in lines
                if (x.row, x.fraction) == (f"compgcn/{row}", 0.1)
            ])
            for row in ("loop", "round0")
        ]  # fmt: skip
        assert one["change"]["mean"] == pytest.approx(means[0] - means[1], abs=1e-6)
        assert one["gained"]["mean"] + one["lost"]["mean"] == pytest.approx(one["change"]["mean"])
        assert one["gained"]["mean"] > 0 > one["lost"]["mean"]
        assert 0 < one["better"]["mean"] + one["worse"]["mean"] < 1
    assert shown["CompGCN"].keys() == MASKS.keys()


def test_committed_ranks_and_strata_are_those_of_the_committed_lines() -> None:
    masks = load_strata(strata_path(rank_changes.TABLE))
    lines = rendered(read_lines(rank_changes.TABLE))
    checked = 0
    for one in lines:
        family, _, row = one.row.rpartition("/")
        if row in (rank_changes.BEFORE, rank_changes.AFTER):
            path = ranks_path(rank_changes.TABLE, family or PLAIN, one.fraction, one.seed)
            ranks = load_ranks(path)[row]
            for stratum, mask in masks.items():
                mrr = (1 / ranks[:, mask]).mean()
                assert mrr == pytest.approx(one.metrics[METRIC[stratum]], abs=1e-6)
                checked += 1
    assert checked


def test_only_rows_with_a_calibration_error_are_shown(results: Path) -> None:
    shown = calibration.numbers(results)
    assert "toy0: tuned" in shown["errors"] and "toy0: frequency" not in shown["errors"]
    assert shown["errors"]["semeval2010: tuned"]["chance"] == 0.03
    assert "promised" not in shown["read"]["answers, 10 % given"]


def test_a_table_without_a_line_to_show_is_left_out(own: Path) -> None:
    before = [figure.numbers(own) for figure in (calibration, cost)]
    ece = {"ece": 0.02, "ece_chance": 0.03, "mrr": 0.5}
    for table in (f"{calibration.PREFIX}new", f"{cost.PREFIX}new"):
        append(table, [replace(line(table, "tuned", 1.0, **ece), dirty=True)], own)
    append(f"{cost.PREFIX}codex_m", [line(f"{cost.PREFIX}codex_m", "complex", 0.1, **ece)], own)
    assert [figure.numbers(own) for figure in (calibration, cost)] == before


def test_our_own_forms_are_no_peers_and_what_ran_out_of_memory_is_told(results: Path) -> None:
    shown = speed.numbers(results)
    assert not any(one["peer"].startswith("ours") for one in shown.values())
    assert shown["layer: PyG Huge"]["note"] == "out of memory (asks for 1 GB)"
    assert {"layer: PyG Layer-0", "layer: PyG Layer-0 (0)"} <= shown.keys()
    ratios = [one["ratio"] for one in shown.values() if "ratio" in one]
    assert ratios == sorted(ratios, reverse=True)


def test_full_tuning_is_the_row_of_the_same_configuration(
    own: Path,
) -> None:
    full = table_configs(efficient.TABLE)[efficient.FULL]
    same = table_configs(efficient.SAME[0])[efficient.SAME[1]]
    assert load_run_config(full).sha256() == load_run_config(same).sha256()
    shown = efficient.numbers(own)["rows"]
    assert shown["full"]["trained_parameters"]["mean"] == 23e6 and list(shown)[-1] == "full"
    append(
        efficient.TABLE, [line(efficient.TABLE, "full", macro_f1=0.5, trained_parameters=1)], own
    )
    assert efficient.numbers(own)["rows"]["full"]["macro_f1"]["mean"] == 0.5


def test_seconds_are_compared_on_one_machine(own: Path) -> None:
    other = line(efficient.TABLE, "method_1", macro_f1=0.5, trained_parameters=1)
    append(efficient.TABLE, [replace(other, hardware="a GPU", seconds=1.0)], own)
    shown = efficient.numbers(own)
    assert shown["machine"] == "two cores, 24 GB"
    assert shown["rows"]["method_1"]["seconds"] == [61.0]


def test_published_ranges_are_read_from_the_sources(results: Path) -> None:
    shown = label_efficiency.numbers(results)["metrics"]
    assert shown["micro_f1"]["published"] == {"0.1": [0.719, 0.739], "0.3": [0.786, 0.806]}
    assert shown["macro_f1"]["published"] == {"1": [0.884, 0.893]}
    assert list(shown["macro_f1"]["tuned"]) == ["0.05", "0.1", "1"]
    committed = json.loads((OUT / "label_efficiency.json").read_text())["shown"]["metrics"]
    assert committed["micro_f1"]["published"].keys() >= {"0.05", "0.1", "0.3"}
    assert committed["macro_f1"]["published"].keys() == {"1"}


def test_what_has_not_run_is_absent_and_what_is_published_of_it_is_not(results: Path) -> None:
    shown = inductive.numbers(results)
    graphs = shown["graphs"]
    assert graphs["WN18RR"]["v1"]["ours"]["PageRank"]["mrr"]["seeds"] == 1
    assert graphs["fb237"]["v4"]["ours"] == {method: {} for method in inductive.LOOKS}
    assert [graphs[name]["v4"]["published"] for name in ("fb237", "WN18RR")] == [0.96, 0.89]
    with style():
        panels = inductive.draw(shown).axes
    for place, versions in enumerate(graphs.values()):
        absent = sum(not one for x in versions.values() for one in x["ours"].values())
        for axes in panels[place :: len(graphs)]:
            in_axes = axes.get_xaxis_transform()
            assert sum(one.get_transform() == in_axes for one in axes.lines) == absent > 0


def test_hours_are_those_of_all_that_a_row_reads(own: Path) -> None:
    table = cost.PREFIX + "codex_s"
    shown = cost.numbers(own)["processors"]["data"]["codex_s"]
    assert list(shown) == ["biencoder", "compgcn_text", "complex", "complex_text"]
    for row in ("ensemble", "reranked"):
        append(table, [replace(line(table, row, 1.0, mrr=0.5), seconds=3600.0)], own)
    shown = cost.numbers(own)["processors"]["data"]["codex_s"]
    # what re-ranks reads the rules too, which have not run
    assert "reranked" not in shown
    assert shown["ensemble"]["reads"] == ["biencoder", "complex", "compgcn_text"]
    read = sum(shown[row]["hours"] for row in shown["ensemble"]["reads"])
    assert shown["ensemble"]["hours"] == pytest.approx(1 + read)


def test_hours_count_what_is_read_of_another_table(own: Path) -> None:
    table = cost.PREFIX + "codex_s"
    loop = [line("loop_codex_s", row, 1.0, mrr=0.4) for row in ("round0", "loop")]
    append("loop_codex_s", [replace(one, seconds=7200.0) for one in loop], own)
    for row in ("rules", "ensemble", "reranked_read"):
        append(table, [replace(line(table, row, 1.0, mrr=0.5), seconds=3600.0)], own)
    shown = cost.numbers(own)["processors"]["data"]["codex_s"]
    read = shown["reranked_read"]["reads"]
    assert read[-1] == "loop_codex_s/rgcn"
    # its two rows are of one run
    rest = sum(shown[row]["hours"] for row in ("biencoder", "complex", "compgcn_text"))
    assert shown["reranked_read"]["hours"] == pytest.approx(3 + 2 + rest)


def test_hours_of_a_gpu_are_apart(own: Path) -> None:
    table = cost.PREFIX + "codex_s"
    gpu = "a processor, 16 cores, 128 GB, a GPU"
    for row, seconds in (("rgcn_text", 360.0), ("ensemble", 3600.0), ("biencoder", 720.0)):
        one = replace(line(table, row, 1.0, mrr=0.5), hardware=gpu, seconds=seconds)
        append(table, [replace(one, seed=7)], own)
    shown = cost.numbers(own)
    there, here = (shown[place]["data"]["codex_s"] for place in ("GPU", "processors"))
    assert shown["GPU"]["machines"] == [gpu]
    assert "rgcn_text" not in here and "ensemble" not in here
    assert there["rgcn_text"]["hours"] == 0.1
    # what it reads counts with its time beside a GPU where it has run there
    other = here["complex"]["hours"] + here["compgcn_text"]["hours"]
    assert there["ensemble"]["hours"] == pytest.approx(1 + 0.2 + other)


def test_panels_name_the_machines(own: Path) -> None:
    table = cost.PREFIX + "codex_s"
    for hardware in ("a processor, 16 cores, 128 GB", "a processor, 16 cores, 128 GB, H200"):
        one = replace(line(table, "rgcn_text", 1.0, mrr=0.5), hardware=hardware)
        append(table, [replace(one, seed=len(hardware))], own)
    with style():
        panels = cost.draw(cost.numbers(own)).axes
    named = [axes.get_ylabel() for axes in panels if axes.get_ylabel()]
    assert named == ["on 16 cores or two cores", "sharing an H200"]


def test_sizes_are_those_of_graphs_corpora_and_benchmarks(results: Path, many: Path) -> None:
    few, all_of_them = scale.numbers(results), scale.numbers(many)
    assert few["sizes"]["scale"].keys() == {"10000", "1000000", "16000000"}
    assert few["sizes"]["linking"] == few["sizes"][scale.OGB] == {}
    assert few["exponents"]["forward_s"] == 0.97
    assert all_of_them["sizes"]["linking"]["100000"] == {"ours_s": 10.0, "ours_mb": 300.0}
    assert all_of_them["sizes"][scale.OGB]["ogb_2"]["edges"] == 4_000_000


def test_two_rows_of_one_size_are_both_drawn(own: Path) -> None:
    measured = {"edges": 2e6, "step_s": 0.7, "peak_memory_mb": 900.0}
    lines = [line(scale.OGB, row, 1.0, **measured) for row in ("ogbl_ddi", "ogbl_ddi_gpu")]
    append(scale.OGB, lines, own)
    with style():
        time, memory = scale.draw(scale.numbers(own)).axes
    for axes, series in ((time, scale.TIMES), (memory, scale.MEMORY)):
        name = [text for (what, _), text in series.items() if what == scale.OGB]
        [drawn] = [one for one in axes.lines if one.get_label() in name]
        assert list(drawn.get_xdata()) == [2e6, 2e6]


def test_sizes_without_any(tmp_path: Path) -> None:
    append(scale.SPEED, [line(scale.SPEED, "layer", ours_s=1.0)], tmp_path)
    with pytest.raises(InputError, match="run python -m benchmarks.speed scale --record"):
        scale.numbers(tmp_path)


@pytest.mark.parametrize("module", [explanation, text_map])
def test_a_file_of_uncommitted_code_is_not_shown(module: ModuleType, own: Path) -> None:
    content = load_json(own / module.FILE)
    save_json(own / module.FILE, {**content, "dirty": True})
    with pytest.raises(InputError, match="made by uncommitted code; run python -m experiments"):
        module.numbers(own)


def test_the_explanation_tells_what_is_lost_with_a_whole_text(results: Path) -> None:
    shown = explanation.numbers(results)
    rows = shown["bars"]["Log odds by sentence"]["rows"]
    assert [name for name, *_ in rows][1:] == ["all sentences of T0"]
    assert [share for _, share, _ in rows] == [1.0, None]
    # a dash within a name is no step
    assert explanation.STEP.split("A –r→ B–C ←s t– D") == ["A", "–r→", "B–C", "←s t–", "D"]
