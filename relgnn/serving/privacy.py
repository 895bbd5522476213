"""Personal data out of what is logged or stored: mail, phone numbers, ids, names of persons.

Patterns find what looks like personal data; they miss what does not. A name is masked where it is
that of a person of the run's own graph, or follows a title ("Dr. …"). A name of somebody else,
written without a title, stays; so do addresses of streets. What is masked too often is cheap, what
is missed is not, so that any run of six digits goes.
"""

from __future__ import annotations

import re

from relgnn.data import KnowledgeGraph
from relgnn.text.coreference import Coreference
from relgnn.text.linking import EXACT, PART, MentionLinker, forget, plain_name

# Days, and spans of years: they look like telephone numbers and are none.
_DATE = r"(?:\d{4}-\d\d-\d\d|\d{4}\s?[-–]\s?\d{4})(?!\d)"
_PHONE = rf"(?<![\w+])(?!{_DATE})(?:\+|00)?\(?\d(?:[\s()/.-]*\d){{6,14}}(?!\w)"
# eight groups, or fewer about one "::" beside a digit; three numbers with colons are a time of day
_GROUPS = r"[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6}"
_IPV6 = rf"(?:[0-9A-Fa-f]{{1,4}}:){{7}}[0-9A-Fa-f]{{1,4}}|{_GROUPS}::(?:{_GROUPS})?|::{_GROUPS}"
_MAC = r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}"
_PATTERNS = (
    ("[mail]", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    ("[id]", re.compile(r"\b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){2,7}(?:\s?[A-Z0-9]{1,3})?\b")),
    ("[id]", re.compile(r"\b\d{3}-\d{2}-\d{4}\b|\b(?:\d{1,3}\.){3}\d{1,3}\b")),
    ("[id]", re.compile(rf"(?<!\w)(?:{_IPV6}|{_MAC})(?!\w|:\w)")),
    ("[phone]", re.compile(_PHONE)),
    ("[id]", re.compile(r"\b(?=\w*\d{6})\w+\b")),
    (
        "[name]",
        re.compile(
            r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Dame|Lord|Lady|Herr|Frau|Mme|Madame"
            r"|Monsieur|Señor|Señora)\b\.?(?:\s+(?:[^\W\d_a-z][\w'’-]*\.?|von|van|de|da|di|la))+"
        ),
    ),
)  # fmt: skip


def mask_patterns(text: str) -> str:
    """The text with `[mail]`, `[phone]`, `[id]` and `[name]` for what looks like one."""
    for mark, pattern in _PATTERNS:
        text = pattern.sub(mark, text)
    return text


class Masker:
    """Masks what `mask_patterns` does, and the names of the persons in a graph.

    Args:
        graph: its types, or else its descriptions, say who is a person.
    """

    def __init__(self, graph: KnowledgeGraph) -> None:
        persons = Coreference(graph).persons
        names = [graph.entity_names[i] for i in persons]
        aliases = [graph.aliases[i] for i in persons] if graph.aliases else None
        # however many share a first name, it is one
        self._linker = MentionLinker(names, aliases, limit=len(names))
        forms = (*names, *(form for own in aliases or () for form in own))
        self._written = frozenset(map(plain_name, forms))

    def mask(self, text: str) -> str:
        """The text without personal data, as far as it is recognised."""
        text = mask_patterns(text)
        for start, end in reversed(self._names(text)):
            text = f"{text[:start]}[name]{text[end:]}"
        forget()
        return text

    def _names(self, text: str) -> list[tuple[int, int]]:
        """Where persons are named, by a whole name or one word of it; [start, end) apart, in order.

        A word in small letters is none, unless the graph writes the name so ("bell hooks").
        """
        found: list[tuple[int, int]] = []
        for one in sorted(self._linker.mentions(text), key=lambda m: (m.start, m.end)):
            start, end = one.start, one.end
            named = not text[start].islower() or text[start:end] in self._written
            if one.kind not in (EXACT, PART) or not named:
                continue
            if found and start < found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        return found
