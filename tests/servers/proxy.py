"""A TCP proxy before a server: late answers, and a line that is cut and restored."""

import selectors
import socket
import threading
import time
from contextlib import suppress


class Proxy:
    """Hand connections on to a port of this machine, each answer late by so many seconds. `cut` drops every
    connection and refuses new ones until `restore`.
    """

    def __init__(self, port: int, delay_seconds: float = 0.0) -> None:
        self._port, self._delay = port, delay_seconds
        self._lock, self._open, self._up = threading.Lock(), set[socket.socket](), True
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                if not self._up:
                    _drop(client)
                    continue
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._port))
        except OSError:
            _drop(client)
            return
        with self._lock:
            self._open |= {client, server}
        with suppress(OSError, ValueError), selectors.DefaultSelector() as watched:
            late = {server: self._delay}
            for one in (client, server):
                watched.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in watched.select():
                    source = client if key.fileobj is client else server
                    content = source.recv(65536)
                    time.sleep(late.get(source, 0.0) if content else 0.0)
                    if not content:
                        return self._end(client, server)
                    (server if source is client else client).sendall(content)
        self._end(client, server)

    def _end(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._open -= set(sockets)
        for one in sockets:
            one.close()

    def cut(self) -> None:
        """From now on nothing gets through."""
        self._up = False
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        self._up = True

    def close(self) -> None:
        self._listener.close()
        self.cut()


def _drop(client: socket.socket) -> None:
    # Linger of zero: the other side sees a reset, as from a machine that refuses.
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
