"""The in-memory path: what Python takes for a request, without sockets, TLS and a load generator.

`child` runs in a process of its own for each checkout; `alternation` starts these processes and lets them take turns.
"""
