"""The graph side: sparse sums, R-GCN and CompGCN layers, decoders, losses, negatives."""
