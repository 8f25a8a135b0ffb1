"""Every kind of section of a site.ini."""

from __future__ import annotations

from perimeter.config.site import (
    acme,
    audit,
    augmenter,
    authentication,
    authenticator,
    errors,
    limits,
    listener,
    logging,
    login,
    metrics,
    operator,
    perimeter,
    provider,
    route,
    second_factor,
    token,
    traces,
    upstream,
)

KINDS = (
    perimeter.KIND,
    limits.KIND,
    listener.KIND,
    acme.KIND,
    authenticator.KIND,
    authentication.KIND,
    augmenter.KIND,
    provider.KIND,
    login.KIND,
    second_factor.KIND,
    operator.KIND,
    token.KIND,
    upstream.KIND,
    route.KIND,
    audit.KIND,
    logging.KIND,
    metrics.KIND,
    traces.KIND,
    errors.KIND,
)
"""In the order of the reference page."""
