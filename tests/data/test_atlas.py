"""The embedded atlas: its files are what its source builds, and its facts hold together."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter, defaultdict
from random import Random

import pytest

from relgnn.data.embedded import build_atlas
from relgnn.data.embedded.atlas_source import FOLDER, OPEN_BORDER_QUESTIONS, read_facts, slug
from relgnn.data.embedded.atlas_text import Writer
from relgnn.data.sentences import split_sentences

SPLITS = ("train", "valid", "test")


def rows(name: str) -> list[tuple[str, ...]]:
    """Rows of one of the atlas's tab-separated files."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    return [tuple(line.split("\t")) for line in text.splitlines()]


@pytest.fixture(scope="module")
def splits() -> dict[str, list[tuple[str, ...]]]:
    return {name: rows(f"{name}.tsv") for name in SPLITS}


@pytest.fixture(scope="module")
def triples(splits: dict[str, list[tuple[str, ...]]]) -> list[tuple[str, ...]]:
    return [row for name in SPLITS for row in splits[name]]


@pytest.fixture(scope="module")
def pages() -> list[dict[str, str]]:
    with gzip.open(FOLDER / "texts.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def built() -> dict[str, bytes]:
    return build_atlas.build()


def test_committed_files_equal_what_the_source_builds(built):
    assert built == build_atlas.build()
    for name, content in built.items():
        committed = (FOLDER / name).read_bytes()
        if name.endswith(".gz"):
            # Compressors differ between machines; what they pack does not.
            committed, content = gzip.decompress(committed), gzip.decompress(content)
        assert committed == content, f"run python -m relgnn.data.embedded.build_atlas for {name}"


def test_main_writes_every_built_file(tmp_path, built):
    build_atlas.main(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == built


def test_size_stays_under_one_megabyte():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 1_000_000


def test_counts(splits, triples, pages):
    assert 400 <= len(rows("entities.tsv")) <= 620
    assert 12 <= len(rows("relations.tsv")) <= 16
    assert 2500 <= len(triples) <= 4000
    assert len(pages) == len(rows("entities.tsv"))
    for name in ("valid", "test"):
        assert len(splits[name]) == pytest.approx(0.1 * len(triples), rel=0.05)


def test_ids_are_unique_ascii_and_known(triples):
    entities = [row[0] for row in rows("entities.tsv")]
    relations = [row[0] for row in rows("relations.tsv")]
    assert len(set(entities)) == len(entities) and all(map(str.isascii, entities))
    assert {end for h, _, t in triples for end in (h, t)} == set(entities)
    assert {r for _, r, _ in triples} == set(relations)
    assert {row[0] for row in rows("types.tsv")} == set(entities)
    names = [row[1] for row in rows("entities.tsv")]
    assert len(set(names)) == len(names)


def test_splits_are_disjoint_and_train_covers_all(splits, triples):
    assert len(set(triples)) == len(triples)
    in_train = {end for h, _, t in splits["train"] for end in (h, t)}
    assert in_train == {end for h, _, t in triples for end in (h, t)}
    assert {r for _, r, _ in splits["train"]} == {r for _, r, _ in triples}


def test_borders_are_symmetric_and_both_directions_share_a_split(splits):
    pairs = {(h, t): name for name in SPLITS for h, r, t in splits[name] if r == "borders"}
    assert all(pairs.get((tail, head)) == name for (head, tail), name in pairs.items())
    assert all(head != tail for head, tail in pairs)


def test_no_other_relation_holds_in_both_directions(triples):
    pairs = {(h, t) for h, r, t in triples if r != "borders"}
    assert not [(h, t) for h, t in pairs if (t, h) in pairs]


@pytest.mark.parametrize("relation", ["capital", "continent", "currency_unit", "region"])
def test_one_tail_at_most(triples, relation):
    assert max(Counter(h for h, r, _ in triples if r == relation).values()) == 1


def test_every_country_has_one_continent_and_fitting_region(triples):
    countries = {row[0] for row in rows("types.tsv") if row[2] == "country"}
    continent = {h: t for h, r, t in triples if r == "continent"}
    part_of = {h: t for h, r, t in triples if r == "part_of"}
    region = {h: t for h, r, t in triples if r == "region"}
    assert set(continent) == countries and len(countries) == 194
    for country in countries & region.keys():
        assert part_of[region[country]] == continent[country]
    for country, relation, city in triples:
        if relation in ("capital", "largest_city"):
            assert region[city] == region.get(country, continent[country])


def test_relations_join_the_right_types(triples):
    kind = {}
    for entity, _, label in rows("types.tsv"):
        kind.setdefault(entity, label)
    tails = defaultdict(set)
    for _, relation, tail in triples:
        tails[relation].add(kind[tail])
    assert tails["capital"] == tails["largest_city"] == tails["headquarters"] == {"city"}
    assert tails["official_language"] == {"language"}
    assert tails["coast_on"] == {"ocean", "sea", "lake"}
    assert tails["independent_from"] == {"country", "former state"}


def test_islands_without_a_border_and_landlocked_countries_without_an_ocean(triples):
    labels = defaultdict(set)
    for entity, _, label in rows("types.tsv"):
        labels[label].add(entity)
    bordering = {h for h, r, _ in triples if r == "borders"}
    assert labels["country"] - labels["island country"] <= bordering
    inland = {"caspian_sea", "lake_victoria", "lake_tanganyika"}
    at_sea = {h for h, r, t in triples if r == "coast_on" and t not in inland}
    assert not at_sea & labels["landlocked country"]
    # Their straits and small seas are no entities here.
    at_sea |= {"singapore", "timor_leste"}
    assert labels["country"] - labels["landlocked country"] <= at_sea


@pytest.mark.parametrize(
    ("relation", "tail", "number"),
    [
        ("member_of", "european_union", 27),
        ("member_of", "nato", 32),
        ("member_of", "african_union", 54),
        ("member_of", "commonwealth_of_nations", 56),
        ("member_of", "oecd", 38),
        ("member_of", "council_of_europe", 46),
        ("member_of", "schengen_area", 29),
        ("member_of", "g20", 19),
        ("crossed_by", "danube", 10),
    ],
)
def test_known_numbers_of_members(triples, relation, tail, number):
    assert sum(row[1:] == (relation, tail) for row in triples) == number


@pytest.mark.parametrize(
    "fact",
    [
        "kenya capital nairobi",
        "australia capital canberra",
        "turkey capital ankara",
        "turkey largest_city istanbul",
        "brazil official_language portuguese",
        "suriname official_language dutch",
        "portugal borders spain",
        "lesotho borders south_africa",
        "opec headquarters vienna",
        "lisbon stands_on tagus",
        "danube flows_into black_sea",
        "hungarian language_family uralic_family",
        "namibia independent_from south_africa",
        "senegal currency_unit cfa_franc",
    ],
)
def test_spot_checks(triples, fact):
    assert tuple(fact.split()) in triples


def test_pages_belong_to_known_entities_and_are_long_enough(pages):
    known = {row[0] for row in rows("entities.tsv")}
    assert {page["entity"] for page in pages} == known
    assert len({page["id"] for page in pages}) == len(pages)
    counts = [len(split_sentences(page["text"])) for page in pages]
    assert min(counts) >= 3 and sum(counts) > 1200


def test_text_is_clean(pages):
    text = " ".join(page["text"] for page in pages)
    assert not set("{}\t\n") & set(text)
    for fault in ("  ", " .", "..", "The the", "the the", "it's", " ,", "s's "):
        assert fault not in text, fault
    names = {row[0]: row[1] for row in rows("entities.tsv")}
    for page in pages:
        first = split_sentences(page["text"])[0]
        assert names[page["entity"]] in page["text"][slice(*first)]


def test_sentences_split_where_the_writer_ended_them(built):
    facts = read_facts()
    writer = Writer(facts, Random(1))
    for key, parts in list(writer.plan().items())[::10]:
        sentences = [sentence.text for sentence in writer.page(key, parts)]
        text = " ".join(sentences)
        assert [text[a:b] for a, b in split_sentences(text)] == sentences


def test_no_page_denies_a_border_that_exists_or_is_open(pages, triples):
    borders = {frozenset((h, t)) for h, r, t in triples if r == "borders"}
    phrases = {entity.phrase: key for key, entity in read_facts().entities.items()}
    other = "(" + "|".join(sorted(map(re.escape, phrases), key=len, reverse=True)) + ")"
    denial = re.compile(
        rf" and {other} do not share a land border\.|No land border runs .* and {other}\."
        rf"|straight into {other}\.|some water lies .* and {other}\."
    )
    denied = set()
    for page in pages:
        for start, end in split_sentences(page["text"]):
            for match in denial.finditer(page["text"][start:end]):
                named = next(filter(None, match.groups()))
                denied.add(frozenset((page["entity"], phrases[named])))
    assert len(denied) > 50
    assert not denied & (borders | OPEN_BORDER_QUESTIONS)


def test_strata_cover_every_triple_in_order(splits):
    strata = rows("strata.tsv")
    assert [row[:4] for row in strata] == [
        (name, *triple) for name in SPLITS for triple in splits[name]
    ]
    shares = Counter(row[4] for row in strata)
    assert set(shares) == {"feature", "corpus", "none"}
    assert 0.3 < shares["none"] / len(strata) < 0.5


def test_strata_none_means_that_no_page_names_the_capital(pages):
    names = {row[0]: row[1] for row in rows("entities.tsv")}
    text = {page["entity"]: page["text"] for page in pages}
    stratum = {row[1:4]: row[4] for row in rows("strata.tsv")}
    for (country, relation, city), where in stratum.items():
        if relation == "capital" and names[city] not in names[country]:
            named = re.search(rf"\b{re.escape(names[city])}\b", text[country]) is not None
            assert not (named and where == "none")


def test_slug():
    assert slug("São Tomé") == "sao_tome"
    assert slug("Sana'a") == "sanaa"


def test_source_errors_are_named(tmp_path):
    header = "code\tname\tadjective\tshore\tregion\tcapital\tlargest_city\tlanguages\tborders\n"
    country = "aa\tAland\tAlandic\tc\tAfrica\t\t\t\t\n"
    (tmp_path / "countries.tsv").write_text(header + country, encoding="utf-8")
    (tmp_path / "things.tsv").write_text("type\tname\tdescription\tfacts\n", encoding="utf-8")
    with pytest.raises(ValueError, match="not defined.*africa"):
        read_facts(tmp_path)
    (tmp_path / "countries.tsv").write_text(header + country + country, encoding="utf-8")
    with pytest.raises(ValueError, match="twice"):
        read_facts(tmp_path)
