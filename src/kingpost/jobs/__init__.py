"""Background jobs: stored in the transaction of the write that caused them, and run afterwards."""
