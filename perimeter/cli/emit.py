"""``perimeter emit``: the configuration with which another proxy asks this gateway before it forwards a request."""

from __future__ import annotations

from pathlib import Path

import click

from perimeter.cli.site import config_option, explained, read_site

PROXIES = ("nginx", "haproxy", "haproxy-lua", "caddy", "traefik", "envoy")


@click.command("emit")
@click.argument("proxy", type=click.Choice(PROXIES))
@config_option
@click.option("--gateway", metavar="URL", help="Where the proxy reaches this gateway; without it, one of its listeners.")
def command(proxy: str, file: Path, gateway: str | None) -> None:
    """Print the configuration that makes PROXY ask this gateway.

    It serves the routes of the site on port 80, clears what clients may not send, and passes on what the gateway answers.
    haproxy-lua is the script that the configuration for haproxy loads.
    """
    from perimeter.emit import caddy, envoy, haproxy, nginx, traefik
    from perimeter.emit.plan import make_plan

    renderers = {
        "nginx": nginx.render,
        "haproxy": haproxy.render,
        "haproxy-lua": haproxy.render_lua,
        "caddy": caddy.render,
        "traefik": traefik.render,
        "envoy": envoy.render,
    }
    with explained():
        config = read_site(file)
        plan = make_plan(config, gateway)
    if not plan.judges:
        click.echo(
            "warning: [perimeter] trusted_proxies is empty: the gateway will say who asks, and judge by no rules of routes",
            err=True,
        )
    for name in plan.unserved:
        click.echo(f"warning: [route {name}] is left out: only what another server serves can be forwarded to", err=True)
    click.echo(renderers[proxy](plan), nl=False)
