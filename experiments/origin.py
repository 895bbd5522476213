"""The line under a table: what makes it, what that took, and what its rows are held against."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from experiments.current import configuration_of, names_of, own_fraction
from experiments.jobs import SEEDS
from experiments.results import Line

AFTER_MEMORY = 3
"""Parts of a line's `hardware` before the names of GPUs: processor, cores, memory."""
LINES_OWN = re.compile(r" --(?:rows|seeds)(?: (?!--)\S+)+")
"""Options of a line's command that say which line it is, not how the table is made."""
OF_RUNS = ("audit_", "teaching_")
"""Tables that tell what the runs took that they look at."""
COMPARED = {"ablation_re_semeval2010_10": "ablation", "ablation_loop_codex_s": "loop_ablation"}
"""Tables of differences to one row, and their figures."""


def gpus_of(hardware: str) -> list[str]:
    """Names of the GPUs among what a line says of its machine."""
    return hardware.split(", ")[AFTER_MEMORY:]


def origin(table: str, lines: Sequence[Line]) -> str:
    """What makes these lines of a table, what that took, and what they are held against."""
    hours = sum({(x.config_sha256, x.seed, x.seconds): x.seconds for x in lines}.values()) / 3600
    sources = sorted({str(x.expected["source"]) for x in lines if x.expected.get("source")})
    commits = sorted({x.git_commit[:10] for x in lines})
    text = (
        f"Made by {_commands(table, lines)} "
        f"({'the runs that it reads took ' if table.startswith(OF_RUNS) else ''}"
        f"{_time(hours)} in all, {max(x.peak_memory_mb for x in lines):,.0f} MB at most) "
        f"at {', '.join(commits)}."
    )
    machines = len({x.hardware for x in lines})
    if table in COMPARED and machines > 1:
        text += (
            f" The lines are of {machines} kinds of machine, on which the same training gives "
            f"other figures: `python -m paper_figures.{COMPARED[table]}` compares on the same."
        )
    gpus = Counter(name for x in lines for name in gpus_of(x.hardware))
    for name, count in sorted(gpus.items()):
        text += f" {count} of {len(lines)} lines: {name}."
    return text + (f" Expected: {'; '.join(sources)}." if sources else "")


def _commands(table: str, lines: Sequence[Line]) -> str:
    """What makes these lines, with rows, shares and seeds that it would not take by itself."""
    if not lines[0].command.startswith(f"python -m experiments.reproduce {table}"):
        return f"`{LINES_OWN.sub('', lines[0].command)}`"
    seeds: dict[tuple[str, str], set[int]] = {}
    for line in lines:
        share = "" if line.fraction == own_fraction(line) else f" --fraction {line.fraction:g}"
        seeds.setdefault((share, configuration_of(line)), set()).add(line.seed)
    some = not names_of(table) <= {name for _, name in seeds}
    rows: dict[tuple[str, str], list[str]] = {}
    for (share, name), own in sorted(seeds.items()):
        told = "" if own == set(SEEDS) else f" --seeds {' '.join(map(str, sorted(own)))}"
        rows.setdefault((share, told), []).append(name)
    return ", ".join(
        f"`python -m experiments.reproduce {table}"
        f"{f' --rows {chr(32).join(names)}' if some or len(rows) > 1 else ''}{share}{told}`"
        for (share, told), names in rows.items()
    )


def _time(hours: float) -> str:
    minutes = max(1, round(60 * hours))
    return f"{hours:.1f} hours" if hours >= 0.1 else f"{minutes} minute{'s' * (minutes > 1)}"
