"""JSON tools: a strict decoder that reports faults, and patches."""
