"""What this rank does and has done: seen from the control thread, whatever the main one does."""
