"""Personal data is masked where it is recognised, and the rest of a text stays as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.config.base import DataConfig
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load_graph
from relgnn.serving.privacy import Masker, mask_patterns

MASKED = {
    "write to ann.b+c@mail.example.org.": "write to [mail].",
    "call +49 30 123 45-67 now": "call [phone] now",
    "call (030) 1234567": "call [phone]",
    "call 555-123-4567": "call [phone]",
    "IBAN DE89 3704 0044 0532 0130 00.": "IBAN [id].",
    "SSN 078-05-1120": "SSN [id]",
    "from 192.168.10.4": "from [id]",
    "from 2001:db8::8a2e:370:7334, or ::1": "from [id], or [id]",
    "ip:2001:db8::1": "ip:[id]",
    "fe80:: and 1:2:3:4:5:6:7:8 and 00:1B:44:11:3A:B7": "[id] and [id] and [id]",
    "2001:0db8:85a3:1:1:8a2e:0370:7334: refused": "[id]: refused",
    "passport C01X0006H1234567": "passport [id]",
    "number 1234567890123456789": "number [id]",
    "says Dr. Eva Maria Stone, who": "says [name], who",
    "Mrs Dalloway and Herr von Goethe": "[name] and [name]",
    "Mme. Curie": "[name]",
}
KEPT = (
    "born on 1867-11-07 in Warsaw", "in 1914-1918 and 1939–1945", "Q42 has P106 since 1999",
    "a drink of 330 ml", "the Drs are in", "pages 12-34", "it was Sirius", "0.8342 at 12:30",
    "it ended at 12:30:45", "Psalm 23:1:4", "a :: b", "std::vector", "a ratio of 1:2:3",
)  # fmt: skip


@pytest.mark.parametrize("text", MASKED)
def test_what_looks_like_personal_data_is_masked(text: str) -> None:
    assert mask_patterns(text) == MASKED[text]


@pytest.mark.parametrize("text", KEPT)
def test_what_does_not_is_kept(text: str) -> None:
    assert mask_patterns(text) == text


@given(st.text(alphabet="ab@.+-0123456789 ()/DrMs", max_size=60))
def test_masking_again_changes_nothing(text: str) -> None:
    once = mask_patterns(text)
    assert mask_patterns(once) == once


@pytest.fixture(scope="module")
def masker(own_graph: KnowledgeGraph) -> Masker:
    return Masker(own_graph)


@pytest.fixture(scope="module")
def own_graph(own_config: Path) -> KnowledgeGraph:
    return load_graph(DataConfig(path=own_config.parent / "data"))


def test_persons_of_the_graph_are_masked_wherever_they_are_named(masker: Masker) -> None:
    text = "Ada Abel knows Ben Bolt; Ada Abel's friend Carr was in Cork, says Bolt."
    masked = masker.mask(text)
    assert masked.count("[name]") == 5 and "Cork" in masked
    for word in ("Ada", "Abel", "Ben", "Bolt", "Carr"):
        assert word not in masked
    assert masker.mask("it will kent in cork") == "it will kent in cork"
    # one that is written small hides no other
    assert masker.mask("ada abel said Ada Abel lies") == "ada abel said [name] lies"


PERSONS = ("Prince", "50 Cent", "bell hooks", "张伟", "John Cale") + tuple(
    f"Paul {chr(65 + i // 26)}{chr(97 + i % 26)}" for i in range(60)
)


def test_names_are_masked_however_they_are_written(own_graph: KnowledgeGraph) -> None:
    graph = replace(
        own_graph, entities=PERSONS, entity_names=PERSONS, aliases=(),
        entity_descriptions=("a singer",) * len(PERSONS), types=(("person",),) * len(PERSONS),
        train=own_graph.train[:0], valid=own_graph.valid[:0], test=own_graph.test[:0], texts=(),
    )  # fmt: skip
    mask = Masker(graph).mask
    assert mask("the prince sang; Prince is here") == "the prince sang; [name] is here"
    assert mask("50 Cent and bell hooks, 张伟 too") == "[name] and [name], [name] too"
    # a first name of many is one all the same
    assert mask("Paul told John Cale's friend") == "[name] told [name]'s friend"
