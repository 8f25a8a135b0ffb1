"""The tests. `unit` needs nothing but Python; `integration` runs real gateways and real peers."""

import os

from hypothesis import HealthCheck, settings

# No test is a matter of time: a busy machine must not fail one. In CI the examples are the same on each run.
settings.register_profile(
    "perimeter", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=os.environ.get("CI") == "true"
)
settings.load_profile("perimeter")
