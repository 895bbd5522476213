"""Linking at scale: sentences and candidates a second, peak memory, and recall on CoDEx-S.

    python -m benchmarks.linking [--sizes N ...] [--encoded N] [--chunk N] [--coreference] [--json]
        [--record]

The sentences of a size are made up as they are read, from the names of CoDEx-S's entities; each
size runs in a process of its own. Times are of linking alone: making and cutting texts is left
out. Memory is what the linker and the stream add to the resident set. Recall is measured on the
real texts: of the given triples whose both ends some sentence names, letter by letter, how many
are among the candidate pairs. Of these texts the first sentences are encoded besides, each whole
and over every span that linking found, as the loop does it; without a cache. `--record` adds the
figures to experiments/results/speed.jsonl.
"""

from __future__ import annotations

import json
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.encode import fastest
from benchmarks.measure import apart, peak_since, reset_peak
from benchmarks.speed import Row, record
from experiments.command import make_parser, tells_errors, told_options
from experiments.commit import provenance
from relgnn.data import KnowledgeGraph, Sentence, Text, load, sentences_of
from relgnn.runtime import rng
from relgnn.text.blocking import CHUNK, link_stream
from relgnn.text.coreference import Coreference
from relgnn.text.encoder import TextEncoder
from relgnn.text.evidence import encode_corpus, find_evidence
from relgnn.text.linking import MentionLinker, plain_name

SIZES = (100_000, 1_000_000)
ENCODED = 20_000
DATA = "codex_s"
LENGTH = 8
"""Sentences of a made-up text."""

TEMPLATES = (
    "{a} was born in {b} and studied there for several years.",
    "In 1990, {a} moved from {b} to {c}, where the work of {d} had been known for a long time.",
    "The first edition was received well by the critics, although it sold only a few copies.",
    "He worked with {b} until the company was closed.",
    "It is often compared with {c} and {d}.",
    "Among the members of the society are {a}, {b} and {c}.",
    "Many of these pieces were lost when the archive burned down in the following winter.",
    "She is best known for {c}, written in {d}.",
)


@dataclass(frozen=True)
class Scale:
    """What was measured at one size.

    Attributes:
        sentences, candidates: read, and rows of evidence found in them.
        build_s: of the linker's indices, once.
        link_s: of linking all sentences.
        memory_mb: peak of linker and stream above what was resident before.
    """

    sentences: int
    candidates: int
    build_s: float
    link_s: float
    memory_mb: float


@dataclass(frozen=True)
class Encoding:
    """What encoding real sentences took.

    Attributes:
        sentences: as many as were asked for, or as there are.
        seconds: of encoding them and their spans.
        memory_mb: peak of encoder and vectors above what was resident before.
    """

    sentences: int
    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Recall:
    """Given triples that the candidate pairs reach.

    Attributes:
        given: all of them.
        named: those whose both ends one sentence names by their names.
        found: those of `named` whose ends are a candidate pair.
        reached: those of all whose ends are one.
        seconds: of linking the real texts.
    """

    given: int
    named: int
    found: int
    reached: int
    seconds: float


def synthetic_texts(graph: KnowledgeGraph, seed: int = 0) -> Iterator[Text]:
    """Pages without end, about entities and with names drawn from the graph, made when asked for.

    Args:
        graph: names.
        seed: of the draws.
    """
    generator = rng("benchmark linking", seed)
    names = [plain_name(name) for name in graph.entity_names]
    number = 0
    while True:
        pages = generator.integers(len(names), size=256).tolist()
        templates = generator.integers(len(TEMPLATES), size=(256, LENGTH)).tolist()
        drawn = generator.integers(len(names), size=(256, LENGTH, 3)).tolist()
        for page, which, others in zip(pages, templates, drawn, strict=True):
            said = [
                TEMPLATES[k].format(a=names[page], b=names[b], c=names[c], d=names[d])
                for k, (b, c, d) in zip(which, others, strict=True)
            ]
            yield Text(f"text-{number}", " ".join(said), page)
            number += 1


class _Timed:
    """Sentences, and the seconds that it took to make them."""

    def __init__(self, sentences: Iterable[Sentence]) -> None:
        self.sentences, self.seconds, self.count = iter(sentences), 0.0, 0

    def __iter__(self) -> Iterator[Sentence]:
        while True:
            start = time.perf_counter()
            sentence = next(self.sentences, None)
            self.seconds += time.perf_counter() - start
            if sentence is None:
                return
            self.count += 1
            yield sentence


def measure_size(
    sentences: int, coreference: bool = False, chunk: int = CHUNK, data: str = DATA
) -> Scale:
    """Link so many made-up sentences in this process and count what comes out."""
    graph = load(data)
    before = reset_peak()
    started = time.perf_counter()
    linker = MentionLinker(graph.entity_names, graph.aliases or None)
    resolver = Coreference(graph) if coreference else None
    build = time.perf_counter() - started
    source = _Timed(islice(sentences_of(synthetic_texts(graph)), sentences))
    started = time.perf_counter()
    candidates = sum(len(rows.head) for rows in link_stream(source, linker, resolver, chunk))
    link = time.perf_counter() - started - source.seconds
    return Scale(source.count, candidates, build, link, peak_since(before))


def measure_encoding(sentences: int, data: str = DATA) -> Encoding:
    """Encode the first so many real sentences in this process."""
    graph = load(data)
    some = graph.sentences()[:sentences]
    evidence = find_evidence(graph, some)
    nodes = torch.zeros(graph.num_entities, 1)
    before = reset_peak()
    encoder = TextEncoder(dtype=fastest())
    started = time.perf_counter()
    encode_corpus(graph, some, evidence, encoder, (nodes, nodes))
    return Encoding(len(some), time.perf_counter() - started, peak_since(before))


def sentences_naming(names: Sequence[str], sentences: Sequence[str]) -> list[set[int]]:
    """For each name the sentences that hold it as whole words, letter by letter."""
    whole = "\n".join(sentences)
    starts = [0, *accumulate(len(sentence) + 1 for sentence in sentences)]
    found: list[set[int]] = []
    for name in names:
        held: set[int] = set()
        place = whole.find(name) if name else -1
        while place >= 0:
            around = whole[place - 1 : place], whole[place + len(name) : place + len(name) + 1]
            if not any(character.isalnum() for character in around):
                held.add(bisect_right(starts, place) - 1)
            place = whole.find(name, place + 1)
        found.append(held)
    return found


def recall(coreference: bool = False, data: str = DATA) -> Recall:
    """How many given triples linking the real texts reaches."""
    graph = load(data)
    sentences = graph.sentences()
    started = time.perf_counter()
    evidence = find_evidence(graph, sentences, coreference=coreference)
    seconds = time.perf_counter() - started
    pairs = set(zip(evidence.pair_head.tolist(), evidence.pair_tail.tolist(), strict=True))
    names = [plain_name(name) for name in graph.entity_names]
    naming = sentences_naming(names, [sentence.text for sentence in sentences])
    named = found = reached = 0
    for head, _, tail in graph.train.tolist():
        is_named = not naming[head].isdisjoint(naming[tail])
        is_pair = (head, tail) in pairs or (tail, head) in pairs
        named += is_named
        found += is_named and is_pair
        reached += is_pair
    return Recall(len(graph.train), named, found, reached, seconds)


def rows_of(
    scales: Sequence[Scale], encoded: Encoding | None, reached: Recall, coreference: bool
) -> list[Row]:
    """One row a size, one of encoding and one of recall, as the table of speeds keeps them."""
    name = "linking_coreference" if coreference else "linking"
    rows: list[Row] = [
        {
            "row": f"{name}_{one.sentences}",
            "peer": None,
            "ours_s": one.link_s,
            "build_s": one.build_s,
            "sentences_s": one.sentences / one.link_s,
            "candidates_s": one.candidates / one.link_s,
            "ours_mb": one.memory_mb,
        }
        for one in scales
    ]
    if encoded is not None:
        rows.append(
            {
                "row": f"linking_encoded_{encoded.sentences}",
                "peer": None,
                "ours_s": encoded.seconds,
                "sentences_s": encoded.sentences / encoded.seconds,
                "ours_mb": encoded.memory_mb,
            }
        )
    rows.append(
        {
            "row": f"{name}_recall",
            "peer": None,
            "ours_s": reached.seconds,
            "ours_mb": None,
            "given": reached.given,
            "named": reached.named,
            "recall": reached.found / reached.named if reached.named else None,
            "reached": reached.reached / reached.given,
        }
    )
    return rows


def table(scales: Sequence[Scale]) -> Table:
    """What a person reads."""
    shown = Table(title="linking", title_justify="left")
    for title in ("sentences", "link s", "sentences/s", "candidates/s", "peak MB"):
        shown.add_column(title, justify="right")
    for one in scales:
        rates = (one.sentences / one.link_s, one.candidates / one.link_s)
        numbers = [f"{rate:,.0f}" for rate in (*rates, one.memory_mb)]
        shown.add_row(f"{one.sentences:,}", f"{one.link_s:.1f}", *numbers)
    return shown


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("benchmarks.linking", __doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument(
        "--encoded", type=int, default=ENCODED, help=f"real sentences to encode, 0: none; {ENCODED}"
    )
    parser.add_argument("--chunk", type=int, default=CHUNK, help=f"sentences at once; {CHUNK}")
    parser.add_argument("--coreference", action="store_true", help="resolve subjects too")
    parser.add_argument("--data", default=DATA, help=f"whose names and texts; {DATA}")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.add_argument("--record", action="store_true", help="append to the results")
    given = parser.parse_args(arguments)
    if min(given.chunk, *given.sizes) < 1:
        parser.error("--sizes and --chunk: expected numbers from 1")
    if given.encoded < 0:
        parser.error("--encoded: expected a number from 0")
    began = provenance()
    reached = recall(given.coreference, given.data)
    scales = []
    for size in given.sizes:
        asked = (size, given.coreference, given.chunk, given.data)
        scales.append(apart(measure_size, *asked))
        print(scales[-1], file=sys.stderr, flush=True)
    encoded = apart(measure_encoding, given.encoded, given.data) if given.encoded else None
    rows = rows_of(scales, encoded, reached, given.coreference)
    if given.record:
        names = ("coreference", "chunk", "data")
        settings: dict[str, Any] = {name: getattr(given, name) for name in names}
        told = told_options(parser, given, *names, "sizes", "encoded")
        record("linking", rows, settings, began, f"python -m benchmarks.linking{told}")
    if given.json:
        print(json.dumps({"rows": rows}, indent=2))
        return 0
    console = Console()
    console.print(table(scales))
    if encoded is not None:
        rate = encoded.sentences / encoded.seconds
        console.print(
            f"encoding {encoded.sentences:,} sentences: {encoded.seconds:.1f} s, {rate:,.0f} a "
            f"second, {encoded.memory_mb:,.0f} MB at most"
        )
    console.print(
        f"{given.data}: of {reached.given:,} given triples a sentence names both ends of "
        f"{reached.named:,}, and {reached.found:,} of these are candidate pairs; of all, "
        f"{reached.reached:,} are"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
