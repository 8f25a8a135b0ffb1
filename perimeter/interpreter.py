"""How the Python that runs this was built: an interpreter without profile-guided optimisation (PGO) takes some 15 % more CPU."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path


def built_with_pgo(variables: Mapping[str, object] | None = None, distribution: bool | None = None) -> bool:
    """Whether this interpreter was built with PGO, as far as it says.

    The variables of the build say it, except for those of Debian's interpreters, which are built with it: ``distribution`` is
    whether this is one of them. Both are for tests.
    """
    found = sysconfig.get_config_vars() if variables is None else variables
    if distribution is None:
        distribution = sys.base_prefix == "/usr" and Path("/etc/debian_version").exists()
    if distribution:
        return True
    flags = " ".join(str(found.get(name) or "") for name in ("PY_CFLAGS", "PY_CFLAGS_NODIST", "PY_CORE_CFLAGS", "CONFIG_ARGS"))
    return "--enable-optimizations" in flags or "-fprofile-use" in flags or "-fprofile-instr-use" in flags
