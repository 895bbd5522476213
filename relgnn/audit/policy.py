"""Which statements are private or harmful: a file of relations, objects and phrases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

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
# "(14 March 1879 – 18 April 1955)", "(c. 428 – 348 BC)"; not "(born 1950)", nor "(active 1970–90)"
_LIVED = re.compile(
    r"\((?![^)]*\b(?:born|active)\b)[^)]*\b\d{3,4}\b[^)]*[-–—][^)]*\b\d{3,4}\b[^)]*\)"
)

Patterns = tuple[str, ...]


class Policy(Section):
    """What is withheld; see `policy.yaml` for how it is written."""

    private: dict[str, Patterns] = Field(default_factory=dict, description="category: relations")
    harmful: dict[str, Patterns] = Field(default_factory=dict, description="category: objects")
    phrases: Patterns = Field((), description="of sentences that are not shown")
    died: Patterns = Field((), description="relations that only the dead are heads of")

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
        graph: says who is a person, and who has died. An entity of which neither a type nor a
            description is known may be a person.
    """

    def __init__(self, policy: Policy, graph: KnowledgeGraph) -> None:
        self.policy = policy
        self.relations = _matched(policy.private, graph.relations, graph.relation_names)
        self.objects = _matched(policy.harmful, graph.entities, graph.entity_names)
        self.living = frozenset(_persons(graph) - _dead(policy, graph))

    def category(self, head: int, relation: int, tail: int) -> str | None:
        """Why a triple is withheld; None where it is not."""
        found = self.relations.get(relation)
        if found is not None and (head in self.living or tail in self.living):
            return found
        found = self.objects.get(tail)
        return found if found is not None and head in self.living else None


def _persons(graph: KnowledgeGraph) -> set[int]:
    labels = graph.type_labels
    unknown = {
        number
        for number, (types, said) in enumerate(
            zip(graph.types, graph.entity_descriptions, strict=True)
        )
        if not said and not any(labels.get(one) or one.isalpha() for one in types)
    }
    return unknown.union(Coreference(graph).persons)


def _dead(policy: Policy, graph: KnowledgeGraph) -> set[int]:
    told = _matched({"": policy.died}, graph.relations, graph.relation_names)
    dead = {head for head, relation, _ in graph.train.tolist() if relation in told}
    pages = {text.entity: text.text[:OPENING] for text in reversed(graph.texts)}
    dead |= {entity for entity, page in pages.items() if entity is not None and _LIVED.search(page)}
    return dead | {
        number
        for number, said in enumerate(graph.entity_descriptions)
        if _LIVED.search(said[:OPENING])
    }


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
