"""Which statements are private or harmful: a file of relations, objects and phrases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from relgnn.config.base import Section
from relgnn.config.errors import explain, one_line
from relgnn.config.tree import parse, tree_of
from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError
from relgnn.text.coreference import Coreference

DEFAULT = Path(__file__).with_name("policy.yaml")
OPENING = 300
"""Characters of a person's page that may say when they lived."""
YOUNGEST = 18
"""Years between two in brackets at least, for them to be a life: a series runs for fewer."""
_SAYS = r"is|was|are|were|has|had|who|which|known|for"
# What stands in brackets after the name that a page begins with, before it says anything.
_NAMED = re.compile(
    rf"(?:(?!\b(?:{_SAYS}|in|of|from|by|on)\b)[^()]){{1,80}}(?P<said>(?:\([^()]*\)[\s,]*)+)"
)
# "American singer (1901 – 1980)": a short description, and nothing in the brackets but years.
_YEAR = r"(?:c\.\s?)?\d{3,4}"
_ENDED = re.compile(
    rf"(?:(?!\b(?:{_SAYS})\b)[^()]){{0,80}}(?P<said>\({_YEAR}\s?[-–—]\s?{_YEAR}[^\d()]*\))"
)
# "14 March 1879 – 18 April 1955", "c. 428 – 348 BC"; not "born 1950", nor "active 1970–1990"
_YEARS = re.compile(r"\b(\d{3,4})\b[^()]*?[-–—][^()]*?\b(\d{3,4})\b")
_NO_LIFE = re.compile(r"\b(?:born|active|since|reign\w*|series|film|member)\b")

Patterns = tuple[str, ...]


class Policy(Section):
    """What is withheld; see `policy.yaml` for how it is written."""

    private: dict[str, Patterns] = Field(default_factory=dict, description="category: relations")
    harmful: dict[str, Patterns] = Field(default_factory=dict, description="category: objects")
    phrases: Patterns = Field((), description="of sentences that are not shown")
    died: Patterns = Field((), description="relations that only the dead are heads of")
    persons: Patterns = Field((), description="relations that only people are heads of")

    @cached_property
    def _phrases(self) -> re.Pattern[str]:
        words = "|".join(re.escape(phrase) for phrase in self.phrases)
        return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)

    def unfit(self, text: str) -> bool:
        """Whether a text holds one of the phrases."""
        return bool(self.phrases) and self._phrases.search(text) is not None


def load_policy(path: Path = DEFAULT) -> Policy:
    """Read a policy.

    Raises:
        InputError: the file cannot be read, is not YAML, or holds an unknown key or a wrong value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot read the policy ({one_line(error)}); give a UTF-8 YAML file"
        ) from None
    tree, places = tree_of(parse(text, str(path)), (), str(path))
    try:
        return Policy.model_validate(tree, strict=False)
    except ValidationError as error:
        raise InputError(explain(error, str(path), places, list(Policy.model_fields))) from None


class Applied:
    """A policy over the numbers of one graph.

    Args:
        policy: what is withheld.
        graph: says who is a person, and who has died. An entity of which nothing is known that
            tells, may be a person.
    """

    def __init__(self, policy: Policy, graph: KnowledgeGraph) -> None:
        self.policy = policy
        self.relations = _matched(policy.private, graph.relations, graph.relation_names)
        self.objects = _matched(policy.harmful, graph.entities, graph.entity_names)
        self.living = frozenset(_persons(policy, graph) - _dead(policy, graph))

    def category(self, head: int, relation: int, tail: int) -> str | None:
        """Why a triple is withheld; None where it is not."""
        found = self.relations.get(relation)
        if found is not None and (head in self.living or tail in self.living):
            return found
        found = self.objects.get(tail)
        return found if found is not None and head in self.living else None

    def among(self, triples: np.ndarray) -> np.ndarray:
        """Those of triples int64 [N, 3] that are withheld."""
        told = np.isin(triples[:, 1], list(self.relations))
        said = triples[told | np.isin(triples[:, 2], list(self.objects))]
        kept = [self.category(*row) is not None for row in said.tolist()]
        return said[np.array(kept, dtype=bool)]


def _persons(policy: Policy, graph: KnowledgeGraph) -> set[int]:
    told, known = _heads(policy.persons, graph), Coreference(graph)
    return told.union(known.persons, known.unknown)


def _dead(policy: Policy, graph: KnowledgeGraph) -> set[int]:
    dead = _heads(policy.died, graph)
    pages = {text.entity: text.text for text in reversed(graph.texts)}
    dead |= {entity for entity, page in pages.items() if entity is not None and _lived(page)}
    return dead | {i for i, said in enumerate(graph.entity_descriptions) if _lived(said)}


def _lived(text: str) -> bool:
    """Whether a page or a description says from when to when somebody lived.

    In doubt it does not: who is taken for living is told less of.
    """
    found = _ENDED.fullmatch(text.rstrip(" .")) or _NAMED.match(text[:OPENING])
    if found is None or _NO_LIFE.search(found["said"]):
        return False
    return any(
        abs(int(end) - int(start)) >= YOUNGEST for start, end in _YEARS.findall(found["said"])
    )


def _heads(patterns: Patterns, graph: KnowledgeGraph) -> set[int]:
    """Heads of given triples of some relations."""
    told = _matched({"": patterns}, graph.relations, graph.relation_names)
    return {head for head, relation, _ in graph.train.tolist() if relation in told}


def _matched(
    categories: dict[str, Patterns], ids: Sequence[str], names: Sequence[str]
) -> dict[int, str]:
    """The first category that each number's id or name is of."""
    found: dict[int, str] = {}
    for number, written in enumerate(zip(ids, names, strict=True)):
        category = next((c for c, ps in categories.items() if _matches(written, ps)), None)
        if category is not None:
            found[number] = category
    return found


def _matches(written: Iterable[str], patterns: Patterns) -> bool:
    known = [one.casefold() for one in written if one]
    return any(fnmatchcase(one, pattern.casefold()) for pattern in patterns for one in known)
