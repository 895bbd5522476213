"""Figures of the paper: one script each, drawn from experiments/results alone.

What a row reads and what is published of one that has not run yet, experiments/configs say.

    python -m paper_figures.NAME        draws one into paper_figures/out
    python -m paper_figures             draws all
    python -m paper_figures --check     says which do not show what the results say, and exits 1

A script has `numbers`, what its figure shows, and `draw`, which sees nothing else. Both the PDF and
the PNG carry the digest of the numbers, which are kept beside them as JSON.
"""
