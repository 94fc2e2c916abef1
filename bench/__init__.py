"""Benchmarks. `python3 dev.py python -m bench` compares Kingpost with a bare server, and writes docs/benchmarks."""
