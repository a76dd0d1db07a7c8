"""What ranks did, in the forms that other programs read: torch's analyser, Perfetto. Pure."""
