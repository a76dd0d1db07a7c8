"""The process that engines are forked from on another host.

``ssh`` or ``srun`` carries its standard input and output to the notebook's kernel, so it works like
:mod:`rankbook.engine.starting.server`: when the kernel, or the connection, is gone, stdin closes,
and this process ends its engines. Where the network is gone nothing closes stdin, and this process
notices after a while that it is alone.

Before importing torch it prints one line: its host, the notebook's address as seen from here, and
versions. With the argument ``hello`` it does nothing else.
"""

from __future__ import annotations

import os
import socket
import sys

from rankbook._version import __version__

__all__ = ["main"]


def main() -> None:
    """Say hello, then fork engines until stdin closes."""
    _say_hello()
    if sys.argv[1:] == ["hello"]:
        return
    from rankbook.engine.starting import files, lookout, server

    server.load_and_serve(lookout.Lookout(lookout.PATIENCE))
    files.remove_all()
    os._exit(0)


def _say_hello() -> None:
    import json

    hello = {
        "event": "hello",
        "host": socket.gethostname(),
        "client": os.environ.get("SSH_CONNECTION", "").partition(" ")[0],
        "python": sys.version.split()[0],
        "rankbook": __version__,
    }
    # On a line of its own, whatever the login script has printed without ending its line.
    os.write(1, b"\n" + json.dumps(hello).encode() + b"\n")


if __name__ == "__main__":
    main()
