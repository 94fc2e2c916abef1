"""The storage port on SQL: one implementation for SQLite and PostgreSQL."""
