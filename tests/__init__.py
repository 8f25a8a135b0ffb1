"""The tests. `unit` needs nothing but Python; `integration` runs real gateways and real peers."""
