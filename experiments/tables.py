"""Tables from results: experiments/RESULTS.md, the blocks of README.md, and the README's picture.

    python -m experiments.tables            writes them
    python -m experiments.tables --check    says where they differ from the results, and exits 1

A block of README.md stands between `<!-- table:NAME -->` and `<!-- /table -->`, with `NAME@0.1` for
the share of triples given where a table has several; what the demo takes and gives, between
`<!-- numbers:demo -->` and `<!-- /numbers -->`.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from experiments import claims as claims_module
from experiments.claims import LOOP, METRIC, Claim, read_claims, stale
from experiments.columns import COLUMNS
from experiments.command import make_parser, tells_errors
from experiments.current import NAMED_ROWS, rendered
from experiments.markdown import markdown_table
from experiments.origin import origin
from experiments.reproduce import verdict
from experiments.results import RESULTS, ROOT, Line, read_lines, tables
from experiments.speed import SPEED, render_speed
from relgnn.loop import figures
from relgnn.loop.figures import short
from relgnn.loop.report import ordered_rows, row_title, signed
from relgnn.ranking.statistics import mean_std
from relgnn.training import atomic_file, save_text

README = ROOT.parent / "README.md"
OUTPUT = ROOT / "RESULTS.md"
PICTURES = ROOT.parent / "docs"
BLOCK = re.compile(r"(<!-- table:([\w-]+)(?:@([\d.]+))? -->\n).*?(<!-- /table -->)", re.DOTALL)

DEMO = ("loop_codex_s", 0.1, 0)
"""Table, fraction and seed of the run that `relgnn demo` makes again."""
NUMBERS = re.compile(r"(<!-- numbers:demo -->\n).*?(<!-- /numbers -->)", re.DOTALL)

FIRST = ("hits@10_of_50", "hits@20", "hits@50", "mrr", "macro_f1", "accuracy", "acc")
"""What is compared with the expected figure: the first of these that a row has."""
PLAIN_NUMBERS = (
    "reading_s", "training_s", "sentences_s", "trained_parameters", "seconds", "peak_memory_mb",
    "judged", "candidates", "true", "predictions", "parameters", "nodes", "edges", "steps",
    "persons", "questions",
    "targets", "rounds", "accepted",
)  # fmt: skip
WITH_COSTS = "efficient_"
"""Tables that show what each row's runs took."""
BOUNDS = ("", "_low", "_high")
"""Endings of a gain and of the interval that it is in."""
WIDE = 12
LOOP_COLUMNS = ("mrr", "mrr_feature", "mrr_corpus", "mrr_none", "hits@10")
OF_STRATA = {name for group, name in METRIC.items() if group != "all"}
"""What only tables of a loop show."""
FAMILIES = {"": "R-GCN", "compgcn": "CompGCN", "complex": "ComplEx"}

Group = list[Line]


def render_table(table: str, root: Path = RESULTS, fraction: float | None = None) -> str:
    """A table as Markdown: a section for each share of triples given, claims, the command.

    Args:
        table: its name.
        root: folder of results.
        fraction: the only share of triples to show; all where None.
    """
    lines = rendered(read_lines(table, root))
    lines = [line for line in lines if fraction is None or line.fraction == fraction]
    if not lines:
        return f"No results yet: `python -m experiments.reproduce {table}` makes them.\n"
    if table == SPEED:
        return render_speed(lines)
    lines = [replace(x, metrics=_compared(x.metrics)) for x in lines]
    if table.startswith(WITH_COSTS):
        lines = [replace(x, metrics=x.metrics | _costs(x)) for x in lines]
    claims = [claim for claim in read_claims(root) if claim.table == table]
    if table.startswith(NAMED_ROWS):
        parts = [_markdown(table, grouped(lines))]
    else:
        parts = []
        for fraction in sorted({line.fraction for line in lines}):
            groups = grouped([line for line in lines if line.fraction == fraction])
            heading = f"{100 * fraction:g} % of the triples given."
            parts += [f"{heading}\n\n{_markdown(table, groups)}"]
            parts += [sentence(claim) for claim in claims if _told(claim, fraction)]
    parts.append(origin(table, lines))
    return "\n\n".join(parts) + "\n"


def grouped(lines: Sequence[Line]) -> dict[str, Group]:
    """Lines by row, rows in the order of readers."""
    rows: dict[str, Group] = {}
    for line in lines:
        rows.setdefault(line.row, []).append(line)
    if all(line.table.startswith(LOOP) for line in lines):
        families = by_family(rows).values()
        parts = [named[name] for named in families for name in ordered_rows(named)]
        return {part[0].row: part for part in parts}
    return dict(sorted(rows.items()))


def by_family(groups: Mapping[str, Group]) -> dict[str, dict[str, Group]]:
    """Rows of a loop table by graph network ("" for R-GCN), each under its name without it."""
    found: dict[str, dict[str, Group]] = {}
    for row, part in groups.items():
        family, _, name = row.rpartition("/")
        found.setdefault(family, {})[name] = part
    return dict(sorted(found.items()))


def family_title(family: str) -> str:
    """The name that readers see of a family of rows, see `by_family`."""
    return FAMILIES.get(family, family)


def sentence(claim: Claim) -> str:
    """A claim in words."""
    prefix = "" if claim.config == claims_module.PLAIN else f"{claim.config}/"
    what = " (the best row that neither reads at test time nor is the oracle)" if claim.best else ""
    where = "all test triples" if claim.stratum == "all" else f"stratum {claim.stratum}"
    return (
        f"- `{prefix}{claim.row}` − `{prefix}{claim.against}`{what}, {where}: "
        f"{signed(claim.mean)} MRR [{signed(claim.low)}, {signed(claim.high)}]"
    )


def render_results(root: Path = RESULTS) -> str:
    """RESULTS.md."""
    head = (
        "# Results\n\nWritten by `python -m experiments.tables` from `experiments/results`; "
        "not edited by hand.\nMean ± standard deviation over seeds. Ranks are filtered and "
        "realistic, but for Hits@10 of 50\n(docs/inductive.md). Intervals are 95 %: those of the "
        "loops' claims are paired over seeds and test triples\n(`python -m experiments.claims`); "
        "of the others the docstring of the module tells that made the table. Over several\nseeds, "
        "`from` and `to` are the means of each seed's.\n"
    )
    shown = [name for name in tables(root) if rendered(read_lines(name, root))]
    if not shown:
        return head + "\nThere are no results yet.\n"
    return head + "".join(f"\n## {name}\n\n{render_table(name, root)}" for name in shown)


def render_readme(text: str, root: Path = RESULTS) -> str:
    """README.md with every block replaced."""
    text = NUMBERS.sub(lambda m: f"{m[1]}\n{demo_numbers(root)}\n{m[2]}", text)

    def block(match: re.Match[str]) -> str:
        fraction = float(match[3]) if match[3] else None
        return f"{match[1]}\n{render_table(match[2], root, fraction)}\n{match[4]}"

    return BLOCK.sub(block, text)


def demo_numbers(root: Path = RESULTS) -> str:
    """What `make demo` takes and what it should print."""
    table, fraction, seed = DEMO
    rows = {
        line.row: line
        for line in rendered(read_lines(table, root))
        if (line.fraction, line.seed) == (fraction, seed)
    }
    if not {"round0", "loop", "oracle"} <= rows.keys():
        return "Not measured yet.\n"
    loop = rows["loop"]
    before, after, most = (short(rows[r].metrics["mrr"]) for r in ("round0", "loop", "oracle"))
    return (
        f"After installation `make demo` took {loop.seconds / 60:.0f} minutes and "
        f"{loop.peak_memory_mb / 1024:.1f} GB on {loop.hardware}.\n"
        f"Expect a test MRR of {before} before any sentence is read (`round0`), {after} after two "
        f"rounds (`loop`), and {most} for a\nperfect reader of the same sentences (`oracle`); "
        "another processor or number of threads moves these by some thousandths.\n"
    )


def differences(root: Path = RESULTS, output: Path = OUTPUT, readme: Path = README) -> list[str]:
    """Where the files do not say what the results say, one sentence each."""
    found = stale(read_claims(root), root)
    wanted = {output: render_results(root)}
    if readme.exists():
        wanted[readme] = render_readme(readme.read_text(encoding="utf-8"), root)
    for path, text in wanted.items():
        now = path.read_text(encoding="utf-8") if path.exists() else ""
        if now != text:
            pairs = zip([*now.splitlines(), ""], [*text.splitlines(), ""], strict=False)
            number, line = next(
                ((n, new) for n, (old, new) in enumerate(pairs, start=1) if old != new), (1, "")
            )
            found.append(
                f"{path.name}:{number} differs from the results, expected {line!r}; run "
                "python -m experiments.tables"
            )
    return found


def picture(table: str, root: Path = RESULTS) -> bytes | None:
    """MRR of every row and stratum of a loop table as PNG; None where there is nothing to draw."""
    lines = rendered(read_lines(table, root))
    if not lines:
        return None
    shares = sorted({line.fraction for line in lines})
    fraction = DEMO[1] if DEMO[1] in shares else shares[0]
    groups = grouped([line for line in lines if line.fraction == fraction])
    draws = []
    for family, rows in by_family(groups).items():
        means: dict[str, dict[str, float]] = {}
        spread: dict[str, dict[str, float]] = {}
        for name, part in rows.items():
            values = {g: mean_std(one.metrics[m] for one in part) for g, m in METRIC.items()
                      if m in part[0].metrics}  # fmt: skip
            means[row_title(name)] = {g: v[0] for g, v in values.items()}
            spread[row_title(name)] = {g: v[1] for g, v in values.items()}
        seeds = len({one.seed for part in rows.values() for one in part})
        title = f"{family_title(family)}, {seeds} seed{'s' if seeds > 1 else ''}"
        draws.append(figures.draw_rows(means, "loop", spread, title))
    data = table.removeprefix(LOOP)
    return figures.overview(draws, f"{data}, {100 * fraction:g} % of the triples given: test MRR")


def _markdown(table: str, groups: Mapping[str, Group]) -> str:
    """A table; of a wide one, figures that less than half of the rows have stand in a second.

    A row that has such figures, and less than half of the others, stands there alone.
    """
    loop = table.startswith(LOOP)
    present = Counter(
        name
        for part in groups.values()
        for name in {name for line in part for name in line.metrics}
    )
    hidden: set[str] = set() if LOOP in table else OF_STRATA
    wanted = LOOP_COLUMNS if loop else [name for name in COLUMNS if name not in hidden]
    columns = [name for name in wanted if name in present]
    columns += sorted(present.keys() - COLUMNS.keys())
    wide = len(columns) > WIDE
    rare = [name for name in columns if wide and 2 * present[name] < len(groups)]
    usual = [name for name in columns if name not in rare]
    some = {row: part for row, part in groups.items() if _figures(part) & set(rare)}
    apart = {row for row, part in some.items() if 2 * len(_figures(part) & set(usual)) < len(usual)}
    main = {row: part for row, part in groups.items() if row not in apart}
    parts = [_one_table(usual, main, expects=True)]
    if some:
        besides = set(rare).union(*(_figures(groups[row]) for row in apart))
        parts.append(_one_table([name for name in columns if name in besides], some))
    return "\n\nOf some rows alone:\n\n".join(parts)


def _figures(part: Group) -> set[str]:
    return {name for line in part for name in line.metrics}


def _one_table(columns: Sequence[str], groups: Mapping[str, Group], expects: bool = False) -> str:
    """These figures of each row, with a verdict where one is expected and wanted."""
    judged = {row: _judged_by(part, columns[0]) for row, part in groups.items()}
    expected = {
        metric for row, metric in judged.items() if any(metric in x.expected for x in groups[row])
    }
    titles = ["row", *(COLUMNS.get(c, c) for c in columns), "seeds"]
    if expected and expects:
        # rows of one table may be of data sets with measures of their own
        titles += [f"expected {COLUMNS[expected.pop()]}" if len(expected) == 1 else "expected", ""]
    rows = []
    for row, part in groups.items():
        cells = [f"`{row}`", *(_cell(part, c) for c in columns), str(len(part))]
        if len(titles) > len(cells):
            metric = judged[row]
            figure = part[-1].expected.get(metric)
            shown, said = "–", ""
            if figure is not None:
                shown = short(float(figure))
                said = verdict(*mean_std(line.metrics[metric] for line in part), figure)
            cells += [shown, said]
        rows.append(cells)
    return markdown_table(titles, rows)


def _judged_by(part: Group, otherwise: str) -> str:
    present = {name for line in part for name in line.metrics}
    return next((name for name in FIRST if name in present), otherwise)


def _compared(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics without gains over itself: what others are compared with once recorded such zeros."""
    own = {
        f"{name}{bound}"
        for name in metrics
        if name.endswith("gain") and not any(metrics.get(f"{name}{x}", 1) for x in BOUNDS)
        for bound in BOUNDS
    }
    return {name: value for name, value in metrics.items() if name not in own}


def _costs(line: Line) -> dict[str, float]:
    return {"seconds": line.seconds, "peak_memory_mb": line.peak_memory_mb}


def _cell(part: Group, metric: str) -> str:
    values = [line.metrics[metric] for line in part if metric in line.metrics]
    if not values:
        return "–"
    mean, deviation = mean_std(values)
    if metric in PLAIN_NUMBERS:
        return f"{mean:,.0f}"
    return short(mean) if deviation != deviation else f"{short(mean)} ± {short(deviation)}"


def _told(claim: Claim, fraction: float) -> bool:
    """The best rival on everything; both on what no text states, where reading could harm."""
    return claim.fraction == fraction and (
        (claim.best and claim.stratum == "all") or claim.stratum == "none"
    )


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.tables", __doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on differences")
    given = parser.parse_args(arguments)
    if given.check:
        found = differences()
        print("\n".join(found) or "RESULTS.md and README.md say what the results say")
        return int(bool(found))
    texts = {OUTPUT: render_results()}
    if README.exists():
        texts[README] = render_readme(README.read_text(encoding="utf-8"))
    for path, text in texts.items():
        save_text(path, text)
    for table in tables():
        image = picture(table) if table.startswith(LOOP) else None
        if image is not None:
            with atomic_file(PICTURES / f"{table}.png") as partial:
                partial.write_bytes(image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
