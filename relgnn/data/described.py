"""Descriptions of entities read as unlabelled text, and no longer known of the entities."""

from __future__ import annotations

from dataclasses import replace

from relgnn.data.graph import KnowledgeGraph, Text
from relgnn.data.sentences import first_sentence


def read_descriptions(graph: KnowledgeGraph) -> KnowledgeGraph:
    """The same graph with each description as the page of its entity, in place of what it was.

    A page begins with its entity's name, "tombstone: a stone that is used to mark a grave", unless
    its first sentence has it: else no sentence would name both ends of a triple.

    Args:
        graph: whose descriptions are "" afterwards; its own texts stay before the new ones.
    """
    pages = []
    described = zip(graph.entities, graph.entity_names, graph.entity_descriptions, strict=True)
    for number, (entity, name, said) in enumerate(described):
        if said:
            named = not name or name.casefold() in first_sentence(said).casefold()
            pages.append(Text(f"about {entity}", said if named else f"{name}: {said}", number))
    silent = ("",) * graph.num_entities
    return replace(graph, entity_descriptions=silent, texts=(*graph.texts, *pages))
