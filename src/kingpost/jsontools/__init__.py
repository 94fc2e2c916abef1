"""JSON: the strict decoder, its faults, and patches."""
