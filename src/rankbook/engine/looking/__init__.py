"""What this rank does and has done, observed from the control thread at any time."""
