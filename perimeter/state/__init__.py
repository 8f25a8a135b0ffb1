"""What must survive a restart: state of several kinds, kept in a store and held whole in memory.

The package knows no kind by name. A kind describes itself (`perimeter.state.kinds.Kind`): how its changes are encoded, in which
tables SQLite keeps them, and what holds them in memory. API tokens and revocations are `perimeter.tokens.kind`'s.
"""
