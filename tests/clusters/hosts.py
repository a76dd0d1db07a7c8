"""Three hosts on one machine: ``login``, ``alpha``, ``beta-2``, with real Slurm and sshd.

Each is a network namespace with a host name of its own; a bridge in the first one joins them.
They share the file system and the process ids, as hosts with a shared home share the first.
Nothing leaves the machine: no namespace has a way out.

``python tests/clusters/hosts.py FOLDER`` makes them and waits; ``FOLDER/on login CMD`` runs there.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template

from processes import wait_until

__all__ = ["NODES", "Hosts", "NoHostsError", "why_not"]

NODES = ("alpha", "beta-2")
_ADDRESSES = {"login": "10.98.0.1", "alpha": "10.98.0.11", "beta-2": "10.98.0.12"}
_PROGRAMS = {
    "ip": "iproute2",
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "mpiexec": "openmpi-bin",
}
_SYSTEM = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def why_not() -> str | None:
    """Why hosts cannot be made here; None if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root to make network namespaces"
    missing = sorted({p for name, p in _PROGRAMS.items() if not shutil.which(name, path=_SYSTEM)})
    return f"needs {', '.join(missing)}" if missing else None


class NoHostsError(Exception):
    """This machine does not let us make network namespaces."""


class Hosts:
    """The hosts, and the daemons on them.

    Args:
        folder: Empty; everything that the daemons write is below it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tag = secrets.token_hex(3)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    # -- making and removing them ------------------------------------------------------------

    def up(self) -> None:
        """Make the hosts and wait until Slurm says that its nodes are idle."""
        for name in ("log", "munge", "slurm", "ssh"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        self._make_script()
        self._make_network()
        self._make_munge()
        self._make_slurm()
        self._make_ssh()
        self.wait_until_idle()

    def down(self) -> None:
        """End every process of the hosts, and remove them."""
        for host in _ADDRESSES:
            shown = _run("ip", "netns", "pids", self._namespace(host), check=False)
            for pid in shown.split():
                _run("kill", "-9", pid, check=False)
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()
        for host in _ADDRESSES:
            _run("ip", "netns", "del", self._namespace(host), check=False)
            shutil.rmtree(self._etc(host), ignore_errors=True)

    def wait_until_idle(self, timeout: float = 30) -> None:
        """Wait until no node works for a job."""

        def states() -> list[str]:
            return self.ask("sinfo", "-h", "-o", "%T", check=False).split()

        wait_until(
            lambda: states() == ["idle"],
            timeout,
            pause=0.1,
            why=lambda: f"Slurm's nodes are {states()}, not idle{self.logs()}",
        )

    # -- using them --------------------------------------------------------------------------

    def on(self, host: str, *command: str) -> list[str]:
        """The command line that runs a command on a host."""
        return [str(self.folder / "on"), host, *command]

    def ask(self, *command: str, host: str = "login", check: bool = True) -> str:
        """Run a command on a host, at most 20 seconds; return what it printed."""
        return _run(*self.on(host, *command), check=check)

    def start(self, host: str, *command: str, **options: object) -> subprocess.Popen[bytes]:
        """Start a command on a host."""
        return subprocess.Popen(self.on(host, *command), **options)  # type: ignore[call-overload]

    def pids(self, *hosts: str) -> set[int]:
        """The processes on some hosts, on all by default, daemons and their children apart."""
        found = set()
        for host in hosts or _ADDRESSES:
            found |= {
                int(pid) for pid in _run("ip", "netns", "pids", self._namespace(host)).split()
            }
        return {pid for pid in found if not _is_daemons(pid)}

    def kill(self, pid: int) -> None:
        """Kill a process, if it is still there."""
        _run("kill", "-9", str(pid), check=False)

    def cut(self, host: str) -> None:
        """Unplug a host's network cable."""
        _run("ip", "-n", self._namespace("login"), "link", "set", self._cable(host), "down")

    def join(self, host: str) -> None:
        """Plug a host's network cable in again."""
        _run("ip", "-n", self._namespace("login"), "link", "set", self._cable(host), "up")

    def ip(self, host: str, *words: str) -> None:
        """Run ``ip`` in a host's namespace."""
        _run("ip", "-n", self._namespace(host), *words)

    def logs(self) -> str:
        """The ends of the daemons' logs, for a message."""
        texts = [
            f"\n--- {path.name}\n{path.read_text(errors='replace')[-600:]}"
            for path in sorted((self.folder / "log").iterdir())
        ]
        return "".join(texts)

    # ----------------------------------------------------------------------------------------

    def _namespace(self, host: str) -> str:
        return f"rb{self.tag}{host[0]}"

    def _cable(self, host: str) -> str:
        return f"v{self.tag}{host[0]}"

    def _etc(self, host: str) -> Path:
        """What `ip netns exec` puts over /etc on a host."""
        return Path("/etc/netns", self._namespace(host))

    def _make_script(self) -> None:
        script = self.folder / "on"
        script.write_text(
            "#!/bin/sh\n"
            'host=$1; shift; letter=${host%"${host#?}"}\n'
            f'export SLURM_CONF={self.folder}/slurm/slurm.conf PATH="$PATH:/usr/sbin:/sbin"\n'
            "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n"
            f'exec ip netns exec "rb{self.tag}$letter" unshare --uts '
            'sh -c \'hostname "$0"; exec "$@"\' "$host" "$@"\n'
        )
        script.chmod(0o755)

    def _make_network(self) -> None:
        names = "".join(f"{address} {host}\n" for host, address in _ADDRESSES.items())
        for host in _ADDRESSES:
            (self._etc(host) / "ssh").mkdir(parents=True)
            (self._etc(host) / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
            (self._etc(host) / "nsswitch.conf").write_text(
                "passwd: files\ngroup: files\nshadow: files\nhosts: files\n"
            )
            try:
                _run("ip", "netns", "add", self._namespace(host))
            except RuntimeError as error:
                raise NoHostsError(f"cannot make network namespaces: {error}") from None
            self.ip(host, "link", "set", "lo", "up")
        login = self._namespace("login")
        self.ip("login", "link", "add", "bridge", "type", "bridge")
        self.ip("login", "addr", "add", f"{_ADDRESSES['login']}/24", "dev", "bridge")
        self.ip("login", "link", "set", "bridge", "up")
        for host in NODES:
            cable, end = self._cable(host), f"w{self.tag}{host[0]}"
            _run("ip", "link", "add", cable, "type", "veth", "peer", "name", end)
            _run("ip", "link", "set", cable, "netns", login)
            self.ip("login", "link", "set", cable, "master", "bridge", "up")
            _run("ip", "link", "set", end, "netns", self._namespace(host))
            self.ip(host, "link", "set", end, "name", "eth0")
            self.ip(host, "addr", "add", f"{_ADDRESSES[host]}/24", "dev", "eth0")
            self.ip(host, "link", "set", "eth0", "up")

    def _daemon(self, name: str, *command: str) -> None:
        with (self.folder / "log" / name).open("wb") as log:
            self._daemons[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _make_munge(self) -> None:
        folder = self.folder / "munge"
        folder.chmod(0o711)  # munged refuses another mode
        key = folder / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        options = {"key": key, "socket": folder / "socket", "pid": folder / "pid"}
        named = {"log": folder / "log", "seed": folder / "seed"}
        self._daemon(
            "munged",
            shutil.which("munged", path=_SYSTEM) or "munged",
            "--foreground",
            f"--key-file={options['key']}",
            f"--socket={options['socket']}",
            f"--pid-file={options['pid']}",
            f"--log-file={named['log']}",
            f"--seed-file={named['seed']}",
        )

    def _make_slurm(self) -> None:
        folder = self.folder / "slurm"
        # `ip netns exec` hides /sys/fs/cgroup, and Slurm must not look for it there.
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        nodes = "".join(
            f"NodeName={host} NodeAddr={_ADDRESSES[host]} CPUs=4 RealMemory=1000\n"
            for host in NODES
        )
        template = Template(Path(__file__).with_name("slurm.conf").read_text())
        (folder / "slurm.conf").write_text(
            template.substitute(
                login=_ADDRESSES["login"], folder=self.folder, nodes=nodes, names=",".join(NODES)
            )
        )
        for name in ("state", *(f"spool-{host}" for host in NODES)):
            (folder / name).mkdir()
        self._daemon("slurmctld", *self.on("login", "slurmctld", "-D"))
        for host in NODES:
            self._daemon(f"slurmd-{host}", *self.on(host, "slurmd", "-D"))

    def _make_ssh(self) -> None:
        folder = self.folder / "ssh"
        folder.chmod(0o700)
        Path("/run/sshd").mkdir(exist_ok=True)
        _make_key(folder / "id")
        known = []
        for host in NODES:
            _make_key(folder / host)
            known.append(f"{host} {(folder / f'{host}.pub').read_text()}")
            (folder / f"{host}.conf").write_text(
                f"ListenAddress {_ADDRESSES[host]}\nHostKey {folder / host}\nPidFile none\n"
                f"AuthorizedKeysFile {folder}/id.pub\nStrictModes no\nUsePAM no\n"
                "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
                "PermitRootLogin prohibit-password\nMaxStartups 100\n"
                # What is imported there is what is tested here.
                f"SetEnv PYTHONPATH={os.environ.get('PYTHONPATH', '')}\n"
            )
            sshd = shutil.which("sshd", path=_SYSTEM) or "sshd"
            self._daemon(
                f"sshd-{host}",
                *self.on(host, sshd, "-D", "-e", "-f", str(folder / f"{host}.conf")),
            )
        (folder / "known_hosts").write_text("".join(known))
        for host in _ADDRESSES:
            (self._etc(host) / "ssh" / "ssh_config").write_text(
                "Host far\n  HostName beta-2\n  ProxyJump alpha\n"
                f"Host *\n  IdentityFile {folder}/id\n  IdentitiesOnly yes\n"
                f"  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
            )


def _make_key(path: Path) -> None:
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))


def _is_daemons(pid: int) -> bool:
    """Whether a process is a daemon's; those that have ended meanwhile are, too."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return True
    names = (b"slurmctld", b"slurmd", b"sshd", b"munged", b"slurmscriptd")
    return not words or any(name in words.split(b" ")[0] or name in words[:40] for name in names)


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": _SYSTEM},
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    made = Hosts(Path(sys.argv[1]))
    try:
        made.up()
        print("up", flush=True)  # noqa: T201
        sys.stdin.read()
    finally:
        made.down()
