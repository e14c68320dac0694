from bridges.nats.presence import Listeners, Watch


def replies(watch: Watch, messages: int) -> list[str]:
    return [watch.next_reply() for _ in range(messages)]


def test_the_first_and_every_eighth_message_asks_for_the_server_s_word() -> None:
    assert replies(Watch("inbox"), 17) == ["inbox.1", *[""] * 7, "inbox.2", *[""] * 7, "inbox.3"]


def test_a_listener_that_was_there_and_is_gone_has_left() -> None:
    watch = Watch("inbox")
    replies(watch, 9)
    watch.refused(2)
    assert watch.left


def test_a_stream_that_nobody_ever_heard_was_not_left() -> None:
    watch = Watch("inbox")
    replies(watch, 9)
    watch.refused(1)
    watch.refused(2)
    assert not watch.left
    assert replies(watch, 20) == [""] * 20, "nothing more is asked"


def test_before_the_connection_is_there_nothing_is_asked() -> None:
    with Listeners().watch() as watch:
        assert replies(watch, 9) == [""] * 9
