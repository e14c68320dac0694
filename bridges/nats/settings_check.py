"""What is wrong with the settings of NATS as far as only the table of subjects and the requests can tell."""

from bridges.requests import REQUESTS
from bridges.subjects import Delivery, is_closed_to_answers
from deployments.settings.orchestration import NatsSettings


def check_settings(settings: NatsSettings) -> None:
    """Raise `ValueError` where a setting could not have an effect; the message names it and its value."""
    turns = [row.name for row in REQUESTS if Delivery.QUEUE_GROUP in row.subject.delivery]
    for name in settings.limits:
        if name not in turns:
            raise ValueError(
                f"nats.limits has {name!r}; one of {', '.join(sorted(turns))} was expected (live sessions wait for no "
                "turn: audio.max_sessions limits them)"
            )
    for subject in settings.answer_subjects:
        if is_closed_to_answers(subject):
            raise ValueError(
                f"nats.answer_subjects has {subject!r}, where nothing is answered: requests arrive there, or replicas "
                "speak among themselves; a subject of your clients such as 'my.answers.>' was expected"
            )
