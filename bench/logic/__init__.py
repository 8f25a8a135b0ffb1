"""Measures the Python code of a request in memory, without sockets, TLS and a load generator.

`child` runs in its own process for each checkout. `alternation` starts these processes and lets them take turns.
"""
