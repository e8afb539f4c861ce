"""Asking a tracking server again when its answer broke off.

MLflow repeats a request that got no answer. urllib3 ends its part with the head of the answer, so a server that dies
while it sends the rest ends the script, although the request could be repeated as well as any other.
"""

from functools import wraps
from typing import Any


def ask_again_when_cut() -> None:
    """From now on a request of MLflow's whose answer breaks off is sent again, as often as MLflow repeats requests.

    Calling it again is harmless. What is streamed is left to whoever reads it.
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
