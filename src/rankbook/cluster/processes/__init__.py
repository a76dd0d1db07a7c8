"""The processes of a cluster that are not engines."""
