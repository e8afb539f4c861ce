import random
from collections.abc import Callable

import pytest
from urllib3.util.retry import Retry

from mlflow_plugin.store.random_isolation import reserve_random_state

# Made as a client makes it that talked to a store before the script's random numbers were looked after.
BEFORE = pytest.importorskip("botocore.retries.standard").ExponentialBackoff(random=random.random)


def pauses_of_urllib3() -> float:
    retry = Retry(total=3, backoff_factor=0.001, backoff_jitter=1.0)
    for _ in range(2):
        retry = retry.increment(method="GET", url="/", error=OSError("refused"))
    return retry.get_backoff_time()


def pauses_of_botocore() -> float:
    retryhandler = pytest.importorskip("botocore.retryhandler")
    return float(retryhandler.create_exponential_delay_function("rand", 2)(attempts=1))


def pauses_of_boto3() -> float:
    standard = pytest.importorskip("botocore.retries.standard")
    request = {"ResponseMetadata": {}}
    context = standard.RetryContext(attempt_number=1, parsed_response=request, http_response=None)
    return float(standard.ExponentialBackoff().delay_amount(context))


def pauses_of_a_client_that_was_there_before() -> float:
    standard = pytest.importorskip("botocore.retries.standard")
    context = standard.RetryContext(attempt_number=1, parsed_response={"ResponseMetadata": {}}, http_response=None)
    return float(BEFORE.delay_amount(context))


@pytest.mark.parametrize(
    "pause", [pauses_of_a_client_that_was_there_before, pauses_of_urllib3, pauses_of_botocore, pauses_of_boto3]
)
def test_retries_of_requests_leave_the_scripts_random_numbers_alone(
    pause: Callable[[], float],
) -> None:
    reserve_random_state("s3://bucket")
    random.seed(1)
    undisturbed = random.getstate()
    first, second = pause(), pause()
    assert random.getstate() == undisturbed
    assert first != second  # the jitter is still there
