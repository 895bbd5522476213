"""The alternation: candidates, E step, M step, ledger, rounds."""
