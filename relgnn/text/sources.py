"""Sentences of many data sets, each with a pair of entities and one relation, in one data set."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from relgnn.data import KnowledgeGraph
from relgnn.data.documents import FILES, read_documents, sentence_examples
from relgnn.data.mentions import overlap
from relgnn.data.registry import find, load
from relgnn.data.relations import Example, RelationData, is_relations, read_relations
from relgnn.data.tables import find_file
from relgnn.errors import InputError
from relgnn.text.blocking import NO_SPAN
from relgnn.text.evidence import find_evidence
from relgnn.text.linking import EXACT

WIKIDATA = re.compile(r"P\d+")


def read_source(name: str) -> RelationData:
    """The sentences of a named data set that state a relation: those of its training part.

    Of documents, the pairs that one sentence names; of a knowledge graph, the sentences of its
    texts that name both ends of a triple (distant supervision: Mintz et al., 2009).

    Raises:
        InputError: it is nowhere, or is broken.
    """
    folder = find(name)
    if folder is None:
        raise InputError(
            f"metric.sources: {name!r} was found in no data folder; set RELGNN_DATA to the folder "
            "that holds it"
        )
    if is_relations(folder):
        return read_relations(folder, name, ("train",))
    if find_file(folder, *FILES["valid"]) is not None:
        documents = read_documents(folder, name)
        # dev where there is no train; never test, which other tables measure
        found = sentence_examples(documents.train or documents.valid)
        return RelationData(
            name, documents.labels, documents.label_names, documents.descriptions, tuple(found),
            (), (),
        )  # fmt: skip
    return distant_relations(load(name))


def distant_relations(graph: KnowledgeGraph) -> RelationData:
    """Sentences that name both ends of a training triple, labelled by it.

    A pair gives the first sentence that names one of them, by a word of its name on its own page
    at least, and the other exactly; one with several relations, in either direction, gives nothing.
    """
    stated = defaultdict(set)
    for head, relation, tail in graph.train.tolist():
        stated[head, tail].add(relation)
    sentences = graph.sentences()
    evidence = find_evidence(graph, sentences)
    found: dict[tuple[int, int], Example] = {}
    columns = (evidence.head, evidence.tail, evidence.sentence, evidence.kind,
               evidence.head_span, evidence.tail_span)  # fmt: skip
    for one, other, sentence, kind, a, b in zip(*(x.tolist() for x in columns), strict=True):
        span, other_span = (a[0], a[1]), (b[0], b[1])
        if kind != EXACT or span == NO_SPAN or overlap(span, other_span):
            continue
        relations = stated.get((one, other), set()) | stated.get((other, one), set())
        if len(relations) != 1:
            continue
        [relation] = relations
        text = sentences[sentence].text
        for pair, spans in (((one, other), (span, other_span)), ((other, one), (other_span, span))):
            if relation in stated.get(pair, ()):
                found.setdefault(pair, Example(text, *spans, relation))
    return RelationData(
        graph.name, graph.relations, graph.relation_names, graph.relation_descriptions,
        tuple(found.values()), (), (),
    )  # fmt: skip


def gather(
    names: Sequence[str],
    judged: RelationData,
    leave_out: Sequence[str],
    most: int,
    generator: np.random.Generator,
) -> tuple[RelationData, dict[str, int]]:
    """One data set of several, without anything of the one that is judged by it.

    Left out are the relations of `judged` (by label, with its direction and without, and by
    readable name), those that `leave_out` names, "no relation", and sentences that `judged` has too
    (letter by letter, whatever the case and the spaces). Relations of two sources are one where
    both have the same Wikidata id.

    Args:
        names: of the data sets.
        judged: what must stay unseen.
        leave_out: labels of more relations, without their direction.
        most: sentences of a relation at most, drawn at random.
        generator: of the draws.

    Returns:
        the data set, all in `train`, each example's `group` the source; and how many sentences
        each source gave, and how many were left out for their relation or as `judged`'s own.

    Raises:
        InputError: a source is `judged` itself, is nowhere, or nothing is left.
    """
    own_names = (*judged.labels, *judged.families, *judged.label_names)
    unseen = {label.lower() for label in (*own_names, *leave_out)} - {""}
    known = {_squash(one.text) for one in _all(judged)}
    counts: Counter[str] = Counter()
    texts: dict[str, tuple[str, str]] = {}
    members: dict[str, list[Example]] = defaultdict(list)
    for name in names:
        if name == judged.name:
            raise InputError(f"metric.sources names {name!r}, which it is judged by; take it out")
        source = read_source(name)
        for one in source.train:
            if one.relation == source.negative:
                continue
            label = source.labels[one.relation]
            own = {label, source.families[one.relation], source.label_names[one.relation]}
            if unseen & {x.lower() for x in own}:
                counts["relation left out"] += 1
            elif _squash(one.text) in known:
                counts["sentence left out"] += 1
            else:
                key = label if WIKIDATA.fullmatch(label) else f"{name}: {label}"
                pair = source.label_names[one.relation], source.descriptions[one.relation]
                texts.setdefault(key, pair)
                members[key].append(one._replace(group=name))
    labels = tuple(sorted(members))
    if not labels:
        raise InputError("metric.sources: no sentence is left; name other data sets")
    train = []
    for number, label in enumerate(labels):
        own_rows = members[label]
        drawn = np.sort(generator.permutation(len(own_rows))[:most])
        train += [own_rows[i]._replace(relation=number) for i in drawn.tolist()]
    counts.update(one.group for one in train)
    label_names, descriptions = zip(*(texts[label] for label in labels), strict=True)
    data = RelationData("sources", labels, label_names, descriptions, tuple(train), (), ())
    return data, dict(counts)


def _all(data: RelationData) -> Iterator[Example]:
    for part in (data.train, data.valid, data.test, data.unlabelled):
        yield from part


def _squash(text: str) -> str:
    return "".join(text.lower().split())
