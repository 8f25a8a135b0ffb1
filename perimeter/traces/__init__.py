"""Traces of requests, for OpenTelemetry: W3C Trace Context in and out, and OTLP over HTTP to a collector."""
