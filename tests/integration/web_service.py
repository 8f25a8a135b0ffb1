"""A service with what pages of real ones have: assets, XHR, server-sent events, a WebSocket, a download, a service worker.

`serving` is the script of an `Upstream`. Each page may be kept by caches for ten minutes, so that a test that goes back after a
sign-out finds out whether they were emptied.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time

from tests.integration.upstreams import Connection, Received

KEPT = "Cache-Control: max-age=600"
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

PAGE = b"""<!DOCTYPE html>
<html lang="en">
<title>the service</title>
<link rel="stylesheet" href="/assets/style.css">
<h1 id="title">Page of the service</h1>
<img id="picture" src="/assets/picture.svg" alt="a picture">
<p>XHR: <output id="data"></output></p>
<p>events: <output id="events"></output></p>
<p>socket: <output id="socket"></output></p>
<p id="place"></p>
<a id="download" href="/download/report.txt" download>report</a>
<a id="logout" href="/.perimeter/logout">sign out</a>
<script src="/assets/page.js"></script>
</html>
"""

SCRIPT = b"""
const show = (name, text) => { document.getElementById(name).textContent = text; };
show('place', location.pathname + location.search + location.hash);
const ask = async () => {
    const answer = await fetch('/data', {method: 'POST', body: 'x'});
    show('data', answer.status + ' ' + await answer.text());
};
ask().catch(() => show('data', 'nothing'));
const events = new EventSource('/events');
events.onmessage = event => show('events', event.data);
events.onerror = () => show('events', 'cut');
const socket = new WebSocket('wss://' + location.host + '/socket');
socket.onmessage = message => show('socket', message.data);
socket.onclose = () => show('socket', 'closed');
// a page with an open connection is not kept by the back/forward cache
addEventListener('pagehide', () => { events.close(); socket.close(); });
"""

PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><rect width="40" height="40" fill="teal"/></svg>'

WORKER_PAGE = b"""<!DOCTYPE html>
<title>a service worker</title>
<p id="state"></p>
<script>
navigator.serviceWorker.register('/worker.js', {scope: '/'}).then(() => navigator.serviceWorker.ready).then(() => {
    document.getElementById('state').textContent = 'ready';
}, error => { document.getElementById('state').textContent = String(error); });
</script>
"""

WORKER = b"""
addEventListener('activate', event => event.waitUntil(clients.claim()));
addEventListener('fetch', event => event.respondWith(fetch(event.request)));
"""

FILES = {
    "/assets/style.css": ("text/css", b"h1 { color: rgb(0, 128, 128) }"),
    "/assets/page.js": ("text/javascript", SCRIPT),
    "/assets/picture.svg": ("image/svg+xml", PICTURE),
    "/worker.js": ("text/javascript", WORKER),
    "/worker": ("text/html", WORKER_PAGE),
}


def serving(connection: Connection) -> None:
    """Answer each request by its path; every other path is `PAGE`."""
    while True:
        received = connection.request()
        path = received.line.split(" ")[1].partition("?")[0]
        if received.get("sec-websocket-key") is not None:
            _websocket(connection, received)
            return
        if path == "/events":
            _events(connection)
            return
        if path == "/data":
            user = {"user": received.get("x-auth-username"), "body": received.body.decode()}
            answer(connection, "application/json", json.dumps(user).encode(), "Cache-Control: no-store")
        elif path.startswith("/download/"):
            answer(connection, "text/plain", b"the report\n", "Content-Disposition: attachment")
        elif path == "/plant":
            planted = (f"Set-Cookie: {name}={'x' * 43}; Secure; Path=/" for name in ("__Host-perimeter", "__host-perimeter"))
            answer(connection, "text/html", PAGE, *planted, "Set-Cookie: own=1; Path=/")
        else:
            kind, body = FILES.get(path, ("text/html", PAGE))
            answer(connection, kind, body, KEPT)


def answer(connection: Connection, kind: str, body: bytes, *lines: str, status: str = "200 OK") -> None:
    """Send a response with ``lines`` among its headers."""
    head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines, "", ""))
    connection.send(head.encode() + body)


def accept_websocket(connection: Connection, received: Received) -> None:
    """Send the answer to the handshake of a WebSocket (RFC 6455, section 4.2.2)."""
    key = received.get("sec-websocket-key") or ""
    accept = base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT).digest()).decode()
    lines = ("HTTP/1.1 101 S", "Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Accept: {accept}", "", "")
    connection.send("\r\n".join(lines).encode())


def send_text(connection: Connection, text: str) -> None:
    """Send a short message of a WebSocket."""
    connection.send(bytes((0x81, len(text))) + text.encode())


def _websocket(connection: Connection, received: Received) -> None:
    accept_websocket(connection, received)
    send_text(connection, f"hello {received.get('x-auth-username')}")
    while connection.read_some():
        pass


def _events(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n")
    for number in range(10_000):
        connection.send(b"data: %d\n\n" % number)
        time.sleep(0.1)
