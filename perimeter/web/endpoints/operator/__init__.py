"""The operator's page: what is wrong, what happens now, and what may be ended, below ``/operator`` of the gateway's pages.

`page` is the endpoint, `sections` lists what it has, one module for each; `events` is the stream of figures. `gateway` is what
all of them need of the running gateway.
"""
