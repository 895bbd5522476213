"""The loop's task as a benchmark: what a system is given, and how its answers are scored.

    python -m experiments.loop_benchmark make --data codex_s --fraction 0.1 --seed 0 --out folder
    python -m experiments.loop_benchmark score folder --ranks ranks.tsv
    python -m experiments.loop_benchmark score folder --triples accepted.tsv

A folder holds a fraction of a graph's triples and all of its texts, so that any system can read the
texts, add triples to the graph and rank the answers of the test triples; README.md there says which
file is what, and what it may be used for. The scorer checks that nothing in it was changed.
"""
