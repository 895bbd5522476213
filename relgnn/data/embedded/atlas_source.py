"""The hand-written facts of the atlas: `atlas/source/*.tsv` in, entities and triples out."""

from __future__ import annotations

import csv
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

Triple = tuple[str, str, str]

FOLDER = Path(__file__).parent / "atlas"
SYMMETRIC = "borders"

# Whether these touch depends on a disputed territory or on an exclave: the atlas says neither.
OPEN_BORDER_QUESTIONS = frozenset(
    frozenset(pair)
    for pair in (
        ("serbia", "albania"),
        ("morocco", "mauritania"),
        ("spain", "united_kingdom"),
        ("france", "netherlands"),
        ("india", "afghanistan"),
        ("united_states", "cuba"),
    )
)

_SHORES = {"c": "country", "i": "island country", "l": "landlocked country"}


@dataclass(frozen=True)
class Entity:
    """One thing of the atlas.

    Attributes:
        id: ASCII identifier made from the name.
        name: the name without an article.
        phrase: the name as it stands inside a sentence, "the Gambia".
        types: readable types, the main one first.
        description: a few words of our own.
        adjective: of a country, "" elsewhere and where two countries share it.
    """

    id: str
    name: str
    phrase: str
    types: tuple[str, ...]
    description: str
    adjective: str = ""


@dataclass
class Facts:
    """Entities by id, and all triples in the order of the source."""

    entities: dict[str, Entity] = field(default_factory=dict)
    triples: list[Triple] = field(default_factory=list)

    def add(self, name: str, types: tuple[str, ...], description: str, adjective: str = "") -> str:
        """Adds an entity and returns its id; a name that is taken is an error in the source."""
        bare = name.removeprefix("the ")
        key = slug(bare)
        if key in self.entities:
            raise ValueError(f"atlas source: {name!r} is there twice")
        self.entities[key] = Entity(key, bare, name, types, description, adjective)
        return key


def slug(name: str) -> str:
    """ASCII identifier of a name: "São Tomé" becomes "sao_tome"."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain.replace("'", "")).strip("_")


def read_tsv(path: Path) -> list[list[str]]:
    """Rows of a tab-separated file, without its header."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def read_facts(source: Path = FOLDER / "source") -> Facts:
    """Reads the curated source.

    Args:
        source: folder with `countries.tsv` and `things.tsv`.

    Returns:
        All entities and triples; borders in both directions.

    Raises:
        ValueError: a name is there twice, or is used and nowhere defined.
    """
    facts = Facts()
    countries = read_tsv(source / "countries.tsv")
    things = read_tsv(source / "things.tsv")
    codes = _add_countries(facts, countries)
    _add_cities(facts, countries)
    for kind, name, description, _ in things:
        if kind != "rule":
            facts.add(name, (kind,), description)
    regions = {name: facts_text for kind, name, _, facts_text in things if kind == "region"}
    for row in countries:
        _add_country_facts(facts, codes, regions, row)
    for _, name, _, listed in things:
        _add_listed_facts(facts, codes, name, listed)
    unknown = {end for h, _, t in facts.triples for end in (h, t)} - facts.entities.keys()
    if unknown:
        raise ValueError(f"atlas source: used but not defined: {sorted(unknown)}")
    return facts


def _add_countries(facts: Facts, countries: list[list[str]]) -> dict[str, str]:
    adjectives = [row[2] for row in countries]
    codes = {}
    for code, name, adjective, shore, *_ in countries:
        kind = _SHORES[shore]
        types = ("country",) if kind == "country" else ("country", kind)
        own = adjective if adjectives.count(adjective) == 1 else ""
        codes[code] = facts.add(name, types, f"{kind}; adjective: {adjective}", own)
    return codes


def _add_cities(facts: Facts, countries: list[list[str]]) -> None:
    for row in countries:
        if row[5]:
            facts.add(row[5], ("city", "capital city"), "city")
        if row[6]:
            facts.add(row[6], ("city",), "city")


def _add_country_facts(
    facts: Facts, codes: dict[str, str], regions: dict[str, str], row: list[str]
) -> None:
    code, _, _, _, region, capital, largest, languages, borders = row
    country = codes[code]
    # South America is a continent without sub-regions.
    continent = regions[region].removeprefix("part_of>") if region in regions else region
    facts.triples.append((country, "continent", slug(continent)))
    region_id = slug(region.removeprefix("the "))
    if region in regions:
        facts.triples.append((country, "region", region_id))
    for relation, city in (("capital", capital), ("largest_city", largest)):
        if city:
            facts.triples.append((country, relation, slug(city)))
            facts.triples.append((slug(city), "region", region_id))
    for language in languages.split(","):
        # A language of one country only, and of no family named here, is no entity.
        if slug(language) in facts.entities:
            facts.triples.append((country, "official_language", slug(language)))
    for neighbour in filter(None, borders.split(",")):
        facts.triples.append((country, SYMMETRIC, codes[neighbour]))


def _add_listed_facts(facts: Facts, codes: dict[str, str], name: str, listed: str) -> None:
    """Adds facts written as `relation>tail` or `relation<head,head`, joined by semicolons."""
    this = codes[name] if name in codes else slug(name.removeprefix("the "))
    for part in filter(None, listed.split(";")):
        relation, direction, names = re.split("([<>])", part)
        if names.startswith("*"):
            of_continent = slug(names[1:])
            others = [h for h, r, t in facts.triples if (r, t) == ("continent", of_continent)]
        else:
            others = [
                codes[item] if item in codes else slug(item.removeprefix("the "))
                for item in names.split(",")
            ]
        for other in others:
            head, tail = (this, other) if direction == ">" else (other, this)
            facts.triples.append((head, relation, tail))
