"""What the test sets give away, as a document: docs/leakage.md.

    python -m experiments.leakage            writes it
    python -m experiments.leakage --check    says whether it differs from the data, and exits 1

Needs every data set that it tells of.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments.command import make_parser, tells_errors
from experiments.markdown import markdown_table
from experiments.results import ROOT
from relgnn.data import STRATA, KnowledgeGraph, list_datasets, load
from relgnn.data.leakage import Leakage, cross_set, find_leakage, named_in_text
from relgnn.training import save_text

OUTPUT = ROOT.parent / "docs" / "leakage.md"
GRAIL = "grail_inductive/"
GRAPHS = (
    "atlas", "codex_s", "codex_m", "wn18rr", "fb15k237", "nations", "umls",
    *(entry.name for entry in list_datasets() if entry.name.startswith(GRAIL)),
)  # fmt: skip
ACROSS = (
    ("codex_s", "codex_m"), ("codex_m", "codex_s"),
    *((name, "fb15k237" if "fb237" in name else "wn18rr") for name in GRAPHS if GRAIL in name),
)  # fmt: skip
"""Which test set is looked for in which train set."""

COLUMNS = {
    "test": "test triples",
    "duplicates_in_test": "repeated",
    "test_in_train": "in train",
    "inverse_in_train": "inverse in train",
    "overlap_in_train": "by a duplicate or inverse relation",
    "pair_in_train": "pair in train",
    "reversed_pair_in_train": "pair turned round",
    "unseen_entity": "unseen entity",
    "self_loops": "self loop",
}
"""Counts of `relgnn.data.leakage.Leakage`."""

HEAD = """\
# What test sets give away

Written by `python -m experiments.leakage` from the data; not edited by hand. Nothing is taken
out: published splits keep their leaks, and we add none (no test triple, inverse or duplicate of
one, unless the loop itself read it in text). `relgnn data show NAME` tells the same of any data
set or folder.

## Within a data set

Numbers of test triples (h, r, t):

- *repeated*: rows that repeat another one of test; *in train*: the triple itself is given.
- *inverse in train*: (t, r, h) is given, with the same relation.
- *by a duplicate or inverse relation*: given by a relation whose pairs coincide with those of r,
  as they are or turned round, in at least 80 % of both (Akrami et al., SIGMOD 2020). A symmetric
  relation is its own inverse.
- *pair in train*: h and t are given with another relation; *pair turned round*: t and h with any.
- *unseen entity*: h or t has no given triple.
- *text names the other end*: the description or the first sentence of the page of one end holds
  the other's name; – where there is no text.
"""
SPREAD = """\
## Text that states test triples

Where the evidence of each test triple is, by a deliberately generous linker (`strata.tsv`): in
the node's own text (`feature`), elsewhere in the corpus alone (`corpus`), nowhere (`none`).
Reading it is the task of the loop, so results come by stratum. The other data sets have no strata;
for them the last column above is what can be counted.
"""
OVERLAPS = """\
## Relations that coincide

Relations of train whose pairs coincide; `share` is the smaller of the two containments. GrAIL's
graphs are left out.
"""
CROSS = """\
## Across data sets

Test triples of one data set that the train set of another one holds. Where this is not 0, never
start a model on the first from anything that was learned on the second.
"""


def leak_row(graph: KnowledgeGraph, leakage: Leakage) -> list[str]:
    """A graph's cells of the first table."""
    described = any(graph.entity_descriptions) or len(graph.texts) > 0
    named = f"{named_in_text(graph):,}" if described else "–"
    return [f"`{graph.name}`", *(f"{getattr(leakage, name):,}" for name in COLUMNS), named]


def strata_row(graph: KnowledgeGraph) -> list[str]:
    """A graph's cells of the table of strata."""
    assert graph.strata is not None
    counts = [int((graph.strata["test"] == code).sum()) for code in range(len(STRATA))]
    return [f"`{graph.name}`", *(f"{count:,}" for count in counts)]


def overlap_rows(graph: KnowledgeGraph, leakage: Leakage) -> list[list[str]]:
    """A graph's rows of the table of relations, the greatest share first."""
    number = {relation: place for place, relation in enumerate(graph.relations)}

    def shown(relation: str) -> str:
        return graph.relation_names[number[relation]] or relation

    rows = []
    for one in leakage.overlapping_relations:
        kind = "inverse" if one.inverse else "duplicate"
        symmetric = one.first == one.second
        kind, second = ("symmetric", "itself") if symmetric else (kind, shown(one.second))
        rows.append([f"`{graph.name}`", kind, shown(one.first), second, f"{one.share:.2f}"])
    return rows


def render() -> str:
    """The document.

    Raises:
        InputError: a data set is nowhere.
    """
    graphs = {name: load(name) for name in GRAPHS}
    found = {name: find_leakage(graph) for name, graph in graphs.items()}
    plain = {name: graph for name, graph in graphs.items() if not name.startswith(GRAIL)}
    parts = [
        HEAD,
        markdown_table(
            ["data set", *COLUMNS.values(), "text names the other end"],
            [leak_row(graph, found[name]) for name, graph in graphs.items()],
        ),
        SPREAD,
        markdown_table(
            ["data set", *STRATA],
            [strata_row(one) for one in graphs.values() if one.strata is not None],
        ),
        OVERLAPS,
        markdown_table(
            ["data set", "kind", "first", "second", "share"],
            [row for name, graph in plain.items() for row in overlap_rows(graph, found[name])],
            words=4,
        ),
        CROSS,
        markdown_table(
            ["test of", "train of", "test triples", "held"],
            [
                [f"`{one}`", f"`{other}`", f"{len(graphs[one].test):,}",
                 f"{cross_set(graphs[one], graphs[other]):,}"]
                for one, other in ACROSS
            ],
            words=2,
        ),
    ]  # fmt: skip
    return "\n\n".join(part.strip() for part in parts) + "\n"


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.leakage", __doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on differences")
    given = parser.parse_args(arguments)
    text = render()
    if given.check:
        same = OUTPUT.exists() and OUTPUT.read_text(encoding="utf-8") == text
        print("says what the data say" if same else "differs; run python -m experiments.leakage")
        return int(not same)
    save_text(OUTPUT, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
