"""The peers that a process tree talked to, without those that it is itself and those that serve the machine."""

import os
import re
import socket
from collections.abc import Iterable, Mapping, Set

from mlflow_plugin.observation.policy import is_temporary

_EVERY_ADDRESS = ("0.0.0.0", "::", "")
_SERVES_THE_MACHINE = re.compile(
    r"/(?:nscd|sss|systemd|dbus|avahi-daemon|pulse|pipewire|nvidia[^/]*|\.X11-unix|\.ICE-unix|gnupg|keyring|ssh-[^/]*)/"
    r"|/(?:log|syslog|bus|gssproxy\.sock|wayland-\d+|system_bus_socket|agent\.\d+|lldpd\.socket)$"
)
"""Sockets that name users and hosts, and take messages, sound and pictures: no data is read from them."""


def network_peers(
    connected: Set[tuple[str, str]], served: Set[tuple[str, str]], names: Mapping[str, str], skip: Iterable[str]
) -> frozenset[str]:
    """Return the peers in the network as `host:port`.

    Args:
        connected: Host and port of each connection.
        served: Host and port that the tree itself serves; the port is 0 where the system chose one that is not known.
        names: Address of a host -> the name that led to it.
        skip: Peers that do not count.
    """
    ports, unknown = {port for _, port in served}, any(port == "0" for _, port in served)
    skipped, peers = set(skip), set()
    for host, port in connected:
        if (port in ports and _is_served(host, port, served)) or (unknown and is_loopback(host)):
            continue
        peer, plain = f"{names.get(host, host)}:{port}", f"{host}:{port}"
        if peer not in skipped and plain not in skipped:
            peers.add(peer)
    return frozenset(peers)


def local_peers(paths: Iterable[str]) -> frozenset[str]:
    """Return the sockets in the file system that were connected to, without those of the system and of a tree's own."""
    return frozenset(
        f"socket {path}"
        for path in paths
        if not _SERVES_THE_MACHINE.search(path) and (os.path.exists(path) or not is_temporary(path))
    )


def is_loopback(host: str) -> bool:
    """Tell whether an address is one by which a machine names itself."""
    return host in ("localhost", "::1") or host.startswith(("127.", "::ffff:127."))


def _is_served(host: str, port: str, served: Set[tuple[str, str]]) -> bool:
    """Tell whether the tree serves a port of this host, by this address or by all addresses of the machine."""
    own = {address for address, one in served if one == port}
    if host in own:
        return True
    if host == "localhost":
        return any(map(is_loopback, own)) or not own.isdisjoint(_EVERY_ADDRESS)
    return not own.isdisjoint(_EVERY_ADDRESS) and (is_loopback(host) or _is_of_this_machine(host))


def _is_of_this_machine(host: str) -> bool:
    """Tell whether a socket can have this address, which nothing is sent to."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind((host, 0))
    except OSError:
        return False
    return True
