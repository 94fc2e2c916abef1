"""SQLite, on apsw."""
