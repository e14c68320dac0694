"""Whose limits hold for whom, and which settings of them make no sense."""

import math
import pickle
import time
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.settings.orchestration import NatsSettings
from deployments.settings.users import UserLimits, fits, limits_of


def users(**by_name: dict[str, Any]) -> dict[str, UserLimits]:
    return {
        name.replace("any", "*").replace("guests", "guest-*"): UserLimits.model_validate(given)
        for name, given in by_name.items()
    }


def test_nobody_is_limited_as_shipped() -> None:
    assert NatsSettings().users == {}
    assert limits_of({}, "alice") == UserLimits()


def test_what_is_said_more_closely_goes_over_what_is_said_of_everybody() -> None:
    given = users(
        any={"requests_per_minute": 10, "collections": ["public"], "ingest": False},
        guests={"requests_per_minute": 2},
        alice={"collections": None, "ingest": True},
    )
    assert limits_of(given, "bob") == UserLimits(requests_per_minute=10, collections=("public",), ingest=False)
    assert limits_of(given, "guest-7") == UserLimits(requests_per_minute=2, collections=("public",), ingest=False)
    assert limits_of(given, "alice") == UserLimits(requests_per_minute=10), "null lifts a limit"


def test_what_is_given_is_still_known_where_settings_reach_another_process() -> None:
    settings = NatsSettings(users=users(any={"open_requests": 3}, alice={"ingest": True}))
    arrived = pickle.loads(pickle.dumps(settings))
    assert limits_of(arrived.users, "alice") == UserLimits(open_requests=3)


def test_somebody_whom_nobody_named_is_one_of_everybody_alone() -> None:
    given = {"*": UserLimits(open_requests=3), "*st": UserLimits(open_requests=1)}
    assert limits_of(given, "").open_requests == 3
    assert limits_of(given, "guest").open_requests == 1


def test_the_pattern_with_more_letters_is_the_closer_one_and_an_id_closer_than_any() -> None:
    given = {
        "alice": UserLimits(open_requests=1),
        "alice*": UserLimits(open_requests=4),
        "a*": UserLimits(open_requests=2),
        "*": UserLimits(open_requests=5),
        "al*": UserLimits(open_requests=3),
    }
    assert [limits_of(given, user).open_requests for user in ("alice", "anna", "albert", "bob")] == [1, 2, 3, 5]
    assert limits_of(dict(reversed(given.items())), "albert").open_requests == 3, "in whatever order they are written"


@pytest.mark.parametrize(
    ("name", "pattern", "is_fitting"),
    [
        ("guest-1", "guest-*", True),
        ("guest-", "guest-*", True),
        ("guest", "guest-*", False),
        ("a.b[c]", "a.b[c]", True),
        ("axb", "a.b", False),
        ("a\nb", "a*b", True),
        ("anything", "*", True),
        ("Guest-1", "guest-*", False),
        ("a-b-eu", "*-*-eu", True),
        ("a-eu", "*-*-eu", False),
        ("a", "a*a", False),
        ("aa", "a*a", True),
        ("aba", "ab*ba", False),
        ("a.c.b", "a*b*c", False),
        ("axbxbxc", "a*b*b*c", True),
        ("axbxc", "a*b*b*c", False),
        ("", "**", True),
    ],
)
def test_a_star_stands_for_any_characters_and_all_else_for_itself(name: str, pattern: str, is_fitting: bool) -> None:
    assert fits(name, pattern) is is_fitting


@pytest.mark.parametrize("pattern", ["*-*-eu", "*-*-*-eu", "*-*-*-*-*-eu"])
def test_a_long_name_takes_no_longer_than_it_takes_to_read_it(pattern: str) -> None:
    begun = time.process_time()
    assert not fits("-" * 5_000, pattern)
    assert time.process_time() - begun < 0.1


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"users": {"": {}}}, "users"),
        ({"users": {"alice": {"requests_per_minute": 0}}}, "users.alice.requests_per_minute"),
        ({"users": {"alice": {"requests_a_minute": 5}}}, "users.alice.requests_a_minute"),
        ({"users": {"alice": {"collections": [""]}}}, "users.alice.collections"),
        ({"sizes": {"question_characters": 0}}, "sizes.question_characters"),
        ({"max_wait_s": math.inf}, "max_wait_s"),
        ({"limits": {"chat-message": {"wait_s": math.inf}}}, "limits.chat-message.wait_s"),
        ({"users": {"alice": {"requests_per_minute": math.inf}}}, "users.alice.requests_per_minute"),
    ],
)
def test_a_setting_that_makes_no_sense_fails_with_its_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as raised:
        NatsSettings.model_validate(given)
    (error,) = raised.value.errors()
    assert ".".join(map(str, error["loc"])) == named


@pytest.mark.parametrize(
    ("given", "setting", "value"),
    [
        ({"users": {" alice": {"open_requests": 1}}}, "users", "' alice'"),
        ({"users": {"alice\n": {"open_requests": 1}}}, "users", r"'alice\n'"),
        ({"users": {"*": {"collections": ["public "]}}}, "users.*.collections", "'public '"),
        ({"users": {"*": {"voices": [" "]}}}, "users.*.voices", "' '"),
        ({"users": {"*": {"request_burst": 3}}}, "users.*.request_burst", "3"),
        ({"users": {"alice": {"request_burst": 4}, "bob": {"requests_per_minute": 5}}}, "alice.request_burst", "4"),
        (
            {"users": {"*": {"requests_per_minute": 5}, "alice": {"requests_per_minute": None, "request_burst": 6}}},
            "alice.request_burst",
            "6",
        ),
        ({"user_header": "My Header"}, "user_header", "'My Header'"),
        ({"user_header": "Hearth-User:"}, "user_header", "'Hearth-User:'"),
        ({"user_header": " Hearth-User"}, "user_header", "' Hearth-User'"),
        ({"user_header": "Benützer"}, "user_header", "'Benützer'"),
    ],
)
def test_a_setting_that_could_have_no_effect_is_refused_with_its_value(
    given: dict[str, Any], setting: str, value: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        NatsSettings.model_validate(given)
    assert setting in str(raised.value)
    assert value in str(raised.value)


@pytest.mark.parametrize(
    "given",
    [
        {"*": {"request_burst": 3, "requests_per_minute": 6}},
        {"*": {"request_burst": 3}, "guest-*": {"requests_per_minute": 6}},
        {"*": {"requests_per_minute": 6}, "alice": {"request_burst": 3}},
        {"guest-*": {"request_burst": 3}, "guest-1": {"requests_per_minute": 6}},
        {"alice@example.com": {"open_requests": 3}, "Ann Lee": {"open_requests": 3}},
    ],
)
def test_a_burst_may_have_its_rate_from_another_entry_and_ids_are_any_text(given: dict[str, Any]) -> None:
    assert set(NatsSettings.model_validate({"users": given}).users) == set(given)
