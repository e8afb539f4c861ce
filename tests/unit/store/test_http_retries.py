"""A tracking server that dies in the middle of an answer, from outside: a socket that answers as told."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from mlflow.utils.request_utils import _get_http_response_with_retries as send
from requests.exceptions import ChunkedEncodingError

from mlflow_plugin.store.http_retries import ask_again_when_cut

CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@pytest.fixture
def server() -> Iterator[Callable[[list[bytes]], tuple[str, list[bytes]]]]:
    """A function that starts a server with these answers, one a connection; its address, and what it is sent."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answering(answers: list[bytes]) -> tuple[str, list[bytes]]:
        received: list[bytes] = []

        def serve() -> None:
            for answer in answers:
                with listener.accept()[0] as connection:
                    head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
                    while len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0):
                        body += connection.recv(65536)
                    received.append(body)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/", received

    yield answering
    listener.close()


def post(address: str, retries: int, body: bytes = b'{"x": 1}', stream: bool = False) -> bytes:
    response = send("POST", address, retries, 0, 0, frozenset({500}), data=body, stream=stream, timeout=10)
    return bytes(response.content)


def test_a_request_whose_answer_breaks_off_is_sent_again_whole(server) -> None:
    address, received = server([CUT, CUT, WHOLE])
    ask_again_when_cut()
    ask_again_when_cut()
    assert post(address, retries=3) == b"{}"
    assert received == [b'{"x": 1}'] * 3


def test_a_server_whose_answers_always_break_off_is_given_up_as_mlflow_gives_up_others(server) -> None:
    address, received = server([CUT] * 3)
    ask_again_when_cut()
    with pytest.raises(ChunkedEncodingError):
        post(address, retries=2)
    assert len(received) == 3


def test_a_file_is_sent_again_from_its_beginning(server, tmp_path) -> None:
    address, received = server([CUT, WHOLE])
    ask_again_when_cut()
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "rb") as file:
        assert post(address, retries=1, body=file) == b"{}"
    assert received == [b"content"] * 2


def test_what_is_streamed_is_left_to_its_reader(server) -> None:
    address, received = server([CUT, WHOLE])
    ask_again_when_cut()
    with pytest.raises(ChunkedEncodingError):
        post(address, retries=1, stream=True)
    assert len(received) == 1
