"""git's own smart HTTP service, as a CGI program of `twisted.web`: ``python git_app.py PORT DIRECTORY-OF-REPOSITORIES``.

Who pushes is whom the gateway names, as a service behind a gateway has it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.server import Site
from twisted.web.twcgi import CGIScript


class GitBackend(CGIScript):
    """``git http-backend`` for every path."""

    isLeaf = True

    def __init__(self, root: str) -> None:
        programs = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
        super().__init__(str(Path(programs) / "git-http-backend"))
        self._root = root

    def render(self, request: Any) -> Any:
        """Run it for the request, with the path in the type that `CGIScript` joins."""
        request.postpath = [segment.decode("iso-8859-1") for segment in request.postpath]
        return super().render(request)

    def runProcess(self, env: dict[str, str], request: Any, qargs: list[str] | None = None) -> None:
        """Run it with what it needs to know."""
        user = request.getHeader("X-Auth-Username") or ""
        env |= {"GIT_PROJECT_ROOT": self._root, "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": user}
        super().runProcess(env, request, qargs or [])


if __name__ == "__main__":
    endpoint = TCP4ServerEndpoint(reactor, int(sys.argv[1]), interface="127.0.0.1")
    endpoint.listen(Site(GitBackend(sys.argv[2])))
    reactor.run()
