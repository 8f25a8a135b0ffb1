"""Tells ``twistd`` about its ``perimeter`` command. Nothing of the gateway is imported before the command is chosen."""

from twisted.application.service import ServiceMaker

perimeter = ServiceMaker(
    "Perimeter",
    "perimeter.cli.tap",
    "A perimeter-security gateway: ends TLS, authenticates, authorises, forwards and audits.",
    "perimeter",
)
