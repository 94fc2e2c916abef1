"""How fast is it? `python3 dev.py python -m bench` measures Kingpost beside a floor, and writes docs/benchmarks."""
