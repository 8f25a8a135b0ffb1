"""Makes the pictures of the sign-in page and the operator page: ``python docs/images/pages.py [SECONDS]``.

A gateway has to run with etc/site.ini (``./scripts/run``). Its pages are photographed by Debian's
Chromium, light and dark, after SECONDS (240) of requests, so that the charts have something to show.
"""

from __future__ import annotations

import base64
import http.client
import math
import random
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

GATEWAY = "127.0.0.1:9443"
ColorScheme = Literal["light", "dark"]
SCHEMES: dict[ColorScheme, str] = {"light": "", "dark": "-dark"}


def basic(user: str) -> dict[str, str]:
    """The header with the password of one of the sample users."""
    return {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()}


def send_requests(stop: threading.Event) -> None:
    """Send requests of the sample users, more and fewer by turns, until ``stop`` is set."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    client = http.client.HTTPSConnection(GATEWAY, context=unverified)
    chosen = random.Random(1)
    headers = [basic("alice:wonderland")] * 5 + [basic("bob:builder")] * 4 + [{}]
    while not stop.wait(0.2):
        for _ in range(round(14 + 9 * math.sin(time.time() / 11) + 5 * chosen.random())):
            client.request("GET", chosen.choice(("/apps", "/apps/7", "/jobs")), headers=chosen.choice(headers))
            client.getresponse().read()


def photograph(page: Page, name: str) -> None:
    """What the window shows, in ``NAME.png``."""
    page.screenshot(path=Path(__file__).with_name(f"{name}.png"))


def photograph_sign_in(chromium: Browser, scheme: ColorScheme, name: str) -> None:
    """The sign-in page in a smaller window, with as many pixels as the operator page."""
    page = chromium.new_page(
        viewport={"width": 800, "height": 500}, device_scale_factor=1.6, color_scheme=scheme, ignore_https_errors=True
    )
    page.goto(f"https://{GATEWAY}/.perimeter/login")
    photograph(page, name)


def main() -> None:
    """Sign in, wait, photograph."""
    stop = threading.Event()
    threading.Thread(target=send_requests, args=[stop], daemon=True).start()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        opened = {}
        for scheme, suffix in SCHEMES.items():
            page = chromium.new_page(
                viewport={"width": 1280, "height": 800}, color_scheme=scheme, ignore_https_errors=True, locale="en-GB"
            )
            photograph_sign_in(chromium, scheme, f"sign-in{suffix}")
            page.goto(f"https://{GATEWAY}/.perimeter/login?to=/.perimeter/operator")
            page.fill("input[name=username]", "alice")
            page.fill("input[name=password]", "wonderland")
            page.keyboard.press("Enter")
            page.wait_for_url(f"https://{GATEWAY}/.perimeter/operator")
            opened[suffix] = page
        time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 240)
        for suffix, page in opened.items():
            photograph(page, f"operator{suffix}")
        chromium.close()
    stop.set()


if __name__ == "__main__":
    main()
