"""The scenarios: the kinds of work that are measured."""
