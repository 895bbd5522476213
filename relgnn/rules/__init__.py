"""Horn rules over a graph: mined with confidence, reasoned with, shown with their proofs."""
