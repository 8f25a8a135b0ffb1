"""Programs that run beside the peers, on the other core: loads that no packaged tool makes, and the service that echoes.

Each is started as ``python -m bench.clients.NAME``, prints one line of JSON and ends.
"""
