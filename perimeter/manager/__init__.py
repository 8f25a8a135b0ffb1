"""The manager of several workers: opens the listening sockets, starts workers, watches and ends them.

It holds no key and no password, parses no HTTP, and reads no configuration (`perimeter.workers.plan`). Its process imports
little: `tests.unit.manager.test_imports` has the list.
"""
