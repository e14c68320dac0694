"""What the users of live sessions may take: `nats.users`, for those who are listened to."""

from collections import OrderedDict
from collections.abc import Callable, Iterable

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.session import LiveSession
from bridges.nats.allowances import Allowances
from bridges.nats.askers import Arrival, Asker, Askers
from bridges.nats.demands import demand_of
from bridges.operations.clock import now
from deployments.errors import HearthError

_AWAY_S = 30.0
_MOST_TURNED_AWAY = 10_000


class SessionLimits:
    """The limits of the sessions of one replica.

    Args:
        allowances: What each user may take.
        askers: Finds out whose a session is.
        sessions: Returns the sessions that are open.
    """

    def __init__(self, allowances: Allowances, askers: Askers, sessions: Callable[[], Iterable[LiveSession]]) -> None:
        self._allowances = allowances
        self._askers = askers
        self._sessions = sessions
        self._turned_away: OrderedDict[str, float] = OrderedDict()

    def is_turned_away(self, session_id: str) -> bool:
        """Say whether a session was refused lately: what still comes for it is not looked at."""
        until = self._turned_away.get(session_id)
        return until is not None and now() < until

    def turn_away(self, session_id: str, error: HearthError) -> None:
        """Refuse a session until its next "start", or for as long as its error says, but half a minute at least."""
        self._turned_away[session_id] = now() + max(_AWAY_S, error.retry_after_s or 0.0)
        self._turned_away.move_to_end(session_id)
        if len(self._turned_away) > _MOST_TURNED_AWAY:
            self._turned_away.popitem(last=False)

    def starts(self, session_id: str, step: messages_pb2.STTStreamMessage, message: Arrival) -> Asker:
        """Count a "start"; return whose session it is: a user's that is named, else its own.

        Raises:
            InvalidRequestError: It names what its user may not, or another user than its header.
            OverloadedError: Its user has too many sessions, or has taken too much lately.
        """
        asker = self._askers.of_session(session_id, message, step.user_id)
        asker.check_user(step.user_id)
        self._check_opening(asker, session_id)
        self._allowances.take(asker, demand_of(step))
        self._turned_away.pop(session_id, None)
        return asker

    def opens_late(self, session_id: str) -> None:
        """Count a session that a chunk opens.

        Raises:
            OverloadedError: It was opened too often lately.
        """
        self._check_opening(_itself(session_id), session_id)

    def check_sound(self, session: LiveSession) -> None:
        """Check whether more sound is taken in a session.

        Raises:
            OverloadedError: Its user has sent too much lately.
        """
        self._allowances.check_sound(self._asker(session))

    def heard(self, session: LiveSession, sound_bytes: int) -> None:
        """Count sound that was taken, as its client wrote it."""
        self._allowances.heard(self._asker(session), sound_bytes / session.reader.bytes_per_second)

    def _check_opening(self, asker: Asker, session_id: str) -> None:
        if not self._allowances.is_limiting:
            return
        others = (session for session in self._sessions() if session.id != session_id and not session.is_closed)
        self._allowances.session_opens(asker, sum(self._asker(session) == asker for session in others))

    def _asker(self, session: LiveSession) -> Asker:
        """Return whose a session is; of one that another replica began, only what its terms say is known."""
        if session.asker is None:
            user = session.terms.user_id
            session.asker = Asker("user", user) if user else _itself(session.id)
        return session.asker


def _itself(session_id: str) -> Asker:
    return Asker("session", session_id)
