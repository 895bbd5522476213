"""`relgnn explain`: why a run predicts one triple, and what it would predict without that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from relgnn.commands.ask import RunFolder
from relgnn.commands.console import AsJson, print_json, start_quietly

if TYPE_CHECKING:
    from relgnn.explain.report import Believed, Explanation


class Method(StrEnum):
    """Ways to find out which edges are important."""

    integrated_gradients = "integrated_gradients"
    gnn_explainer = "gnn_explainer"
    occlusion = "occlusion"


def explain(
    run: RunFolder,
    head: Annotated[str, typer.Option(help="Id or exact name.")],
    relation: Annotated[str, typer.Option(help="Id or exact name.")],
    tail: Annotated[str, typer.Option(help="Id or exact name; the answer that is explained.")],
    method: Annotated[
        Method,
        typer.Option(
            help="How edges are weighed: by the gradient on the way from none of them, by a "
            "learned mask, or by each one's removal (exact, and slow where there are many)."
        ),
    ] = Method.integrated_gradients,
    k: Annotated[
        int, typer.Option("-k", "--top", min=1, help="Paths, edges and sentences looked into.")
    ] = 5,
    as_json: AsJson = False,
) -> None:
    """Explain why a run answers (head, relation, ?) with a tail.

    Paths of given and accepted triples with the rules they follow; the edges that the graph model
    rests on; what each view and each sentence adds to the posterior (Shapley values, in log odds);
    and what the answer's rank would be without them.
    """
    start_quietly()
    from relgnn.data.lookup import find_entity, find_relation
    from relgnn.explain.edges import EXPLAINERS
    from relgnn.explain.report import Explaining
    from relgnn.loop.opened import open_run

    opened = open_run(run)
    graph = opened.graph
    triple = find_entity(graph, head), find_relation(graph, relation), find_entity(graph, tail)
    found = Explaining(opened, EXPLAINERS[method](), k).explain(triple)
    if as_json:
        print_json(asdict(found))
        return
    for line in lines(found):
        print(line)


def lines(found: Explanation) -> Iterator[str]:
    """An explanation for people."""
    p = "" if found.probability is None else f", probability {found.probability:.2f}"
    given = ", given" if found.given else ""
    yield f"{found.triple}: rank {found.rank:g}{p}{given}"
    if found.paths:
        yield "paths, with how often their rule is right:"
    for path in found.paths:
        more = f", and {path.count - 1} more like it" if path.count > 1 else ""
        rule = ""
        if path.rule is not None:
            rule = f"   [{path.rule}: {path.confidence:.2f}, right on {path.support}]"
        yield f"  {path.path}{more}{rule}"
    if found.log_probability is not None:
        none, every = found.log_probability
        yield f"edges (log-probability {none:.2f} without any, {every:.2f} with all):"
    for edge in found.edges:
        without = f"{edge.source}; without it rank {edge.rank:g}"
        yield f"  {edge.importance:+.3f}  {edge.edge} ({without})"
    if found.smallest_set is not None:
        edges = "; ".join(found.smallest_set)
        yield f"  no longer first (rank {found.rank_without_set:g}) without: {edges}"
    if found.believed is not None:
        yield from _believed(found.believed)


def _believed(found: Believed) -> Iterator[str]:
    taken = "accepted" if found.accepted else "not accepted"
    yield f"posterior {found.posterior:.2f} in the ledger, {taken}"
    none, every = found.view_odds
    yield f"log odds by view ({none:.2f} without any, {every:.2f} with all):"
    for view in found.views:
        yield f"  {view.share:+.2f}  {view.player}"
    none, every = found.odds
    yield f"log odds by sentence ({none:.2f} without any, {every:.2f} with all):"
    for share, text in zip(found.sentences, found.texts, strict=True):
        error = f" ± {share.error:.2f}" if share.error else ""
        yield f"  {share.share:+.2f}{error}  “{' '.join(text.split())}” ({share.player})"
    yield "had it never been written:"
    for one in found.without:
        taken = "accepted" if one.accepted else "not accepted"
        yield f"  {one.what}: posterior {one.posterior:.2f}, {taken}, rank {one.rank:g}"
