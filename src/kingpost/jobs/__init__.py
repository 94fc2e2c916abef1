"""Jobs: work that is stored with the write that caused it, and done afterwards."""
