"""``python -m rankbook``: see :mod:`rankbook.cli`."""

from rankbook.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
