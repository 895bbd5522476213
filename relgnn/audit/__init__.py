"""Trust: fairness by group, private and harmful statements, cards, a log that shows tampering."""
