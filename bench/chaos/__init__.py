"""Faults under load: ``python -m bench.chaos``. A client counts every answer, and the audit log must have a record of each."""
