"""Sessions with their access and refresh tokens: sign-in, refresh, sign-out."""
