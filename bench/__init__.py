"""Compares the gateway's CPU time with that of its peers, for the same work in the same run: ``python -m bench``.

One run starts an upstream, the gateway and the peers on the loopback interface, pins them to cores, loads them one after the
other in rounds, and reads the CPU time of each peer's processes from the kernel. On a shared machine absolute figures
mean little; compare the ratios within one run. No part of the gateway depends on this package.
"""
