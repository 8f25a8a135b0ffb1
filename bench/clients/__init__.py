"""Programs that run on the core of the load generators: loads that no packaged tool makes, and the echo service.

Each is started as ``python -m bench.clients.NAME``, prints one line of JSON and ends.
"""
