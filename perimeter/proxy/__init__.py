"""The data plane behind the gate: headers rewritten, connections pooled, bodies streamed both ways."""
