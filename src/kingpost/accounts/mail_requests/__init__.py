"""Links that anyone may request by naming an address."""
