from deployments.backoff import Pauses


def test_each_pause_is_up_to_twice_the_one_before_and_none_longer_than_the_longest() -> None:
    pauses = Pauses(0.5, 3.0)
    for most in (0.5, 1.0, 2.0, 3.0, 3.0):
        assert most / 2 <= pauses.next() <= most


def test_a_pause_is_as_long_as_a_server_asks_for() -> None:
    pauses = Pauses(0.5, 3.0)
    assert pauses.next(at_least_s=60.0) == 60.0
    assert pauses.next() <= 1.0, "what the server asked for once does not stay"
