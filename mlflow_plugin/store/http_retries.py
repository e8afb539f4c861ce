"""Repeat a request to a tracking server whose answer broke off.

MLflow repeats a request that got no answer. urllib3's part ends with the head of the answer, so a server that dies
while it sends the rest would end the script. No setting of either covers that, hence this patch of MLflow's HTTP
adapter.
"""

from functools import wraps
from typing import Any


def ask_again_when_cut() -> None:
    """Repeat MLflow's requests whose answer breaks off, as often as MLflow repeats requests.

    Calling it again is harmless. Streamed answers are left to their reader.
    """
    from mlflow.utils import request_utils
    from requests.exceptions import ChunkedEncodingError
    from requests.utils import rewind_body

    adapter: Any = getattr(request_utils, "TCPKeepAliveHTTPAdapter", None)
    if adapter is None or hasattr(adapter.send, "asks_again"):
        return
    send_once = adapter.send

    @wraps(send_once)
    def send(self: Any, request: Any, stream: bool = False, **options: Any) -> Any:
        for left in reversed(range((self.max_retries.total or 0) + 1)):
            response = send_once(self, request, stream=stream, **options)
            if stream:
                return response
            try:
                response.content  # noqa: B018 - reading it here is the point
                return response
            except ChunkedEncodingError:
                if not left:
                    raise
                if getattr(request, "_body_position", None) is not None:
                    rewind_body(request)
        raise AssertionError("unreachable")

    send.asks_again = True  # type: ignore[attr-defined]
    adapter.send = send
