"""Recovery of an account whose password was forgotten."""
