"""The values of this rank's names: pulled, pushed, copied, compared, shown, completed."""
