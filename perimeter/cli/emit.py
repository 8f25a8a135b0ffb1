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
@click.option("--listen", "listens", multiple=True, metavar="[ADDRESS:]PORT", help="Where the proxy listens; default: 80.")
@click.option(
    "--server-name",
    "server_names",
    multiple=True,
    metavar="NAME",
    help="A host that the routes for any host are served for; default: every host.",
)
def command(proxy: str, file: Path, gateway: str | None, listens: tuple[str, ...], server_names: tuple[str, ...]) -> None:
    """Print the configuration that makes PROXY ask this gateway.

    It serves the routes of the site, removes what clients must not send, and passes on what the gateway answers. haproxy-lua is
    the script that the configuration for haproxy loads. --listen and --server-name can be given several times.
    """
    from perimeter.emit import caddy, envoy, haproxy, nginx, traefik
    from perimeter.emit.plan import beyond, make_plan

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
        plan = make_plan(config, gateway, listens, server_names)
        text = renderers[proxy](plan)
    if not plan.judges:
        click.echo(
            "warning: [perimeter] trusted_proxies is empty: the gateway only reports the user, and applies no rules of routes",
            err=True,
        )
    for listener in config.listeners:
        if listener.acme_names:
            click.echo(
                f"warning: [listener {listener.name}] acme_names: the proxy needs certificates of its own, and the CA "
                "has to reach this gateway to issue this one",
                err=True,
            )
    for name in plan.unserved:
        click.echo(f"warning: [route {name}] is left out: a proxy can only forward to a server of its own", err=True)
    for remark in plan.remarks:
        click.echo(f"warning: {remark}", err=True)
    for route in config.routes:
        if route.name not in plan.unserved and (words := beyond(route, judged=plan.judges)):
            click.echo(f"warning: [route {route.name}] {words} does not limit what {proxy} forwards: limit it there", err=True)
    click.echo(text, nl=False)
