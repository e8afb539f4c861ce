"""Record with whom a Python process speaks: other machines, and servers behind sockets in the file system."""

import os

import _mlflow_phases_records as records

_fsdecode = os.fsdecode


def connected(sock, address):
    if records.observer.native:
        return
    if sock.family == 1:
        _tell_socket("u", address)
    elif sock.type & 15 == 1:
        _tell_peer(sock, address)


def sent(sock, address=None):
    if records.observer.native or sock.type & 15 != 2 or not isinstance(address, tuple):
        return
    if address[1] not in (53, 123, 514, 5353):
        _tell_peer(sock, address)


def _tell_peer(sock, address):
    if not isinstance(address, tuple) or sock.family not in (2, 10, 30):
        return
    host, port = address[:2]
    host = records.observer.last_host.get(port, host) if _is_address(host) else host
    records.observer.tell("P", f"{host} {port} ")


def _tell_socket(kind, address):
    if isinstance(address, (str, bytes)) and address[:1] not in ("", b"", "\0", b"\0"):
        records.observer.tell(kind, "", records.absolute(address))


def _is_address(host):
    return isinstance(host, str) and (":" in host or host.replace(".", "").isdigit())


def looked_up(host, port, *_):
    if not records.observer.native and host and not _is_address(host):
        records.observer.last_host[port if isinstance(port, int) else -1] = _fsdecode(host)


def bound(sock, address):
    if not records.observer.native and isinstance(address, tuple):
        records.observer.tell("B", f"{address[0]} {address[1]} ")
    elif not records.observer.native and sock.family == 1:
        _tell_socket("b", address)
