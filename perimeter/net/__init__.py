"""Sockets: transports that write at once, TLS on sockets, listeners, certificates, outgoing connections."""
