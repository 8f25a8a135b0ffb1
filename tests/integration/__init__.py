"""Tests of a running gateway, with real sockets and real peers."""
