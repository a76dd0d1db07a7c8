"""Engines on hosts that ``ssh`` reaches: one login each, all at once."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence

from rankbook.cluster.hosts.addresses import is_loopback, seen_from
from rankbook.cluster.launchers.host import REMOTE_MODULE, Host
from rankbook.cluster.launchers.hosts import HostsLauncher
from rankbook.errors import ClusterError
from rankbook.words import how_ended

__all__ = ["SSHLauncher"]

_OPTIONS = (
    *("-T", "-x", "-oBatchMode=yes", "-oLogLevel=ERROR"),
    *("-oConnectTimeout=3", "-oConnectionAttempts=1"),
)
"""No terminal, no interactive questions, no banner among its errors, and no long wait for a host
that is off."""

_FAILED = 255
"""The exit code with which ssh itself fails; others are those of what it has run there."""

_HINTS = {
    "Host key verification failed": "run `ssh {host}` once in a terminal to accept its key",
    "Permission denied": "`ssh {host}` must work without a password",
    "Invalid argument": "an address that begins with fe80 needs its interface, [fe80::1%eth0]",
}


class SSHLauncher(HostsLauncher):
    """Logs in to each host once.

    Args:
        hosts: Names, as ``ssh`` takes them, and how many engines each has.
        python: See :class:`HostsLauncher`.
        gpus: See :class:`HostsLauncher`.
        address: This host's address for the engines; empty: the one that the hosts see.
    """

    if_late = ": `ssh {host} true` must end in a terminal, too, whatever the login shell starts"

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]],
        python: str | None = None,
        gpus: str = "",
        address: str = "",
    ) -> None:
        super().__init__(sum(seats for _, seats in hosts), python, gpus, address)
        self._seats = tuple(hosts)

    def describe(self) -> str:
        """By its hosts."""
        return f"the engines on {', '.join(name for name, _ in self._seats)}"

    def preview(self) -> list[str]:
        """The commands, for display."""
        return [shlex.join(self._command(name)) for name, _ in self._seats]

    def reach(self) -> list[Host]:
        """Log in everywhere."""
        try:
            return [Host(name, seats, self._command(name)) for name, seats in self._seats]
        except FileNotFoundError:
            raise ClusterError("There is no ssh on this host: install OpenSSH's client.") from None

    def reach_again(self, host: Host) -> Host:
        """Log in again."""
        return Host(host.name, host.seats, self._command(host.name))

    def find_address(self) -> str:
        """The address from which the first host sees this one."""
        found = [seen_from(host.name, host.hello["client"], _name_behind) for host in self.hosts]
        # This host sees itself as loopback, which is right only if all hosts are this one.
        return next((address for address in found if not is_loopback(address)), found[0])

    def why_it_ended(self, host: Host) -> str:
        """By ssh's own last line, or that of the host, and what to do about it."""
        said = host.process.errors() or ([host.printed] if host.printed and not host.hello else [])
        status = host.process.process.poll()
        if said:
            line = said[-1].removeprefix("ssh: ").rstrip(".")
        elif status is None or not 0 <= status < _FAILED:
            line = "the connection was closed"
        else:
            line = f"the login shell or Python there {how_ended(status)} and printed nothing"
        hints = _HINTS if status == _FAILED else {}  # otherwise ssh was not at fault
        hint = next((hint for phrase, hint in hints.items() if phrase in line), "")
        return f"ssh {host.name}: {line}" + (f": {hint.format(host=host.name)}" if hint else "")

    def _command(self, name: str) -> list[str]:
        remote = shlex.join([self.python, "-m", REMOTE_MODULE])
        return ["ssh", *_OPTIONS, "--", name, f"exec {remote}"]


def _name_behind(host: str) -> str:
    """The name or address that ssh's configuration has for a host."""
    try:
        told = subprocess.run(
            ["ssh", "-G", "--", host],  # noqa: S607 - the user's
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return host
    found = (line.partition(" ") for line in told.splitlines())
    return next((name for option, _, name in found if option == "hostname"), host)
