from pathlib import Path

import pytest

from chassis.settings import Connections, SettingsError, load
from contracts.topology import Numbers


def test_a_variable_overrides_a_default_and_keeps_its_type() -> None:
    numbers = load(Numbers, "SUBTIDE_", {"SUBTIDE_ACK_WAIT_S": "2", "SUBTIDE_WINDOW": "7"})
    assert (numbers.ack_wait_s, numbers.window, numbers.retries) == (2.0, 7, 3)


def test_a_wrong_value_is_refused_with_the_name_of_its_variable() -> None:
    with pytest.raises(SettingsError, match="SUBTIDE_WINDOW"):
        load(Numbers, "SUBTIDE_", {"SUBTIDE_WINDOW": "many"})


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(Numbers, "SUBTIDE_", {"SUBTIDE_WINDOW": ""}).window == 4


def test_artifacts_go_to_the_users_folder_unless_told_otherwise() -> None:
    assert load(Connections, "", {}).artifacts_url.startswith("file://")
    assert load(Connections, "", {"ARTIFACTS_URL": "s3://bucket/x"}).artifacts_url == "s3://bucket/x"
    assert Path(load(Connections, "", {}).artifacts_url.removeprefix("file://")).is_absolute()


def test_the_wait_before_a_retry_grows_exponentially() -> None:
    assert [Numbers().retry_delay(tries) for tries in (1, 2, 3)] == [2.0, 8.0, 32.0]
