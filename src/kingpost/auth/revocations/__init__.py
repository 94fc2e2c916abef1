"""What ended or changed on other nodes: sessions, roles, signing keys."""
