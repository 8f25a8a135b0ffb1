"""Sockets: transports that write at once, TLS on the socket, listeners, certificates, outgoing connections."""
