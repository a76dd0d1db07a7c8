"""What the names of this rank hold: brought, sent, copied, compared, shown, completed."""
