"""Who holds what, as a picture: ``boards`` arranges it, ``text`` and ``svg`` draw it."""
