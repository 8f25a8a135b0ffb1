"""How much CPU the gateway takes, beside its peers on the same work in the same run: ``python -m bench``.

One run starts an upstream, the gateway and the peers on the loopback interface, pins them to cores, puts a load on one after the
other, round after round, and reads from the kernel what each peer's processes took. Absolute figures are worth little on a shared
machine; the ratios of one run are what counts. No part of the gateway depends on this package.
"""
