"""`relgnn rules`, and what `relgnn predict` does with a run of rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relgnn.commands.console import AsJson, note, print_json, print_table, start_quietly

if TYPE_CHECKING:
    from relgnn.data import KnowledgeGraph
    from relgnn.rules.predictor import Proof


def is_rules_run(run: Path) -> bool:
    """Whether a folder is a run of rules."""
    from relgnn.config import RulesConfig, config_of_run

    return isinstance(config_of_run(run), RulesConfig)


def rules(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run with rules.")],
    relation: Annotated[
        str | None, typer.Option(help="Id or exact name of what the rules derive; all where none.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rules shown.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the rules of a run, the most confident first."""
    start_quietly()
    from relgnn.data.lookup import find_relation
    from relgnn.rules.run import open_rules

    graph, predictor = open_rules(run)
    heads = range(graph.num_relations)
    if relation is not None:
        heads = range(number := find_relation(graph, relation), number + 1)
    found = [one for head in heads for one in predictor.rules.get(head, ())]
    found.sort(key=lambda one: -one.confidence)
    shown = [one._asdict() | {"rule": one.show(graph.relations)} for one in found[:limit]]
    columns = ("rule", "confidence", "pca_confidence", "support", "pairs")
    if as_json:
        print_json([{name: one[name] for name in columns} for one in shown])
        return
    rows = [
        [one["rule"], f"{one['confidence']:.3f}", f"{one['pca_confidence']:.3f}",
         str(one["support"]), str(one["pairs"])]
        for one in shown
    ]  # fmt: skip
    header = ["rule", "confidence", "of known", "right", "pairs"]
    print_table(f"{len(shown)} of {len(found)} rules", header, rows)


def predict_by_rules(
    run: Path, relation: str, head: str | None, tail: str | None, k: int, as_json: bool
) -> None:
    """Print the answers that rules derive, each with its proofs.

    Raises:
        InputError: a name is unknown, or the run is not finished.
    """
    from relgnn.data.lookup import find_entity, find_relation
    from relgnn.rules.run import open_rules

    graph, predictor = open_rules(run)
    number = find_relation(graph, relation)
    given = find_entity(graph, str(head if head is not None else tail))
    found = predictor.answers(given, number, tail is not None, k)
    answers: list[dict[str, Any]] = []
    for answer, score in found:
        triple = (answer, number, given) if tail is not None else (given, number, answer)
        answers.append({
            "entity": graph.entities[answer], "name": graph.entity_names[answer], "score": score,
            "why": [say(graph, proof) for proof in predictor.prove(*triple)],
        })  # fmt: skip
    if as_json:
        print_json(answers)
        return
    for place, one in enumerate(answers, 1):
        named = one["name"] or one["entity"]
        print(f"{place:3d}. {named} ({one['entity']}; score {one['score']:.2f})")
        for line in one["why"]:
            print(f"           {line}")
    if not answers:
        note("no rule derives an answer")


def say(graph: KnowledgeGraph, proof: Proof) -> str:
    """A proof in words: the given triples, and how often the rule is right."""
    from relgnn.rules.constants import ANYTHING, ConstantRule

    entity = graph.entity_label

    def edge(relation: int, other: str) -> str:
        back, own = divmod(relation, graph.num_relations)
        name = graph.relation_label(own)
        return f"←{name}– {other}" if back else f"–{name}→ {other}"

    rule = proof.rule
    if isinstance(rule, ConstantRule):
        end = "something" if rule.entity == ANYTHING else entity(rule.entity)
        path = f"{entity(proof.nodes[0])} {edge(rule.over, end)}"
    else:
        steps = zip(rule.body, proof.nodes[1:], strict=True)
        path = " ".join([entity(proof.nodes[0]), *(edge(r, entity(other)) for r, other in steps)])
    others = proof.groundings - 1
    more = f", and {others} more {'path' if others == 1 else 'paths'}" if others > 0 else ""
    return f"{rule.confidence:.2f}: {path}{more}"
