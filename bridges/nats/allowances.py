"""What each user may take of this replica, and name: `nats.users`.

A user is known for as long as something is held against them, and at most so many are: whoever comes back later finds
everything as it was before their first request. Each replica counts for itself.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice

from bridges.nats.askers import Asker
from bridges.nats.demands import Demand, Named, NameKind
from bridges.nats.token_bucket import TokenBucket
from deployments.errors import InvalidRequestError, Limit, OverloadedError
from deployments.settings.orchestration import MilvusSettings, NatsSettings
from deployments.settings.users import RequestSizes, UserLimits, entries_of, fits, joined

_MOST_ACCOUNTS = 20_000
_LOOKED_AT = 8
"""Accounts that are looked at whenever a new one is made, those first that were not used for longest."""
_LONGEST_KEY = 128
_NOT_LIMITED = frozenset({"status"})
"""Who is refused asks for it to learn why."""
_MINUTE_S = 60.0
_HOUR_S = 3600.0
_SHOWN = 64


@dataclass(frozen=True, slots=True)
class AllowedNames:
    """What somebody may name.

    Attributes:
        patterns: Names, and patterns with "*", of each kind. A kind that is not in it is not limited.
        user: Who they are; empty where nobody named a user.
    """

    patterns: Mapping[NameKind, tuple[str, ...]] = field(default_factory=dict[NameKind, tuple[str, ...]])
    user: str = ""

    @classmethod
    def of(cls, limits: UserLimits) -> "AllowedNames":
        """Return what the settings say."""
        given: dict[NameKind, tuple[str, ...] | None] = {kind: getattr(limits, kind) for kind in NameKind}
        return cls({kind: patterns for kind, patterns in given.items() if patterns is not None})

    def is_limited(self, kind: NameKind) -> bool:
        """Say whether there may be a name of this kind that they may not name."""
        return kind in self.patterns

    def has(self, kind: NameKind, name: str) -> bool:
        """Say whether a name may be named."""
        patterns = self.patterns.get(kind)
        return patterns is None or any(fits(name, pattern) for pattern in patterns)

    def check(self, named: Named, name: str) -> None:
        """Check a name.

        Args:
            named: Where it is named, and what it names.
            name: The name, or that of the default.

        Raises:
            InvalidRequestError: It is none of those that may be named, whether or not it exists.
        """
        if self.has(named.kind, name):
            return
        expected = ", ".join(self.patterns[named.kind]) or "none"
        raise InvalidRequestError(
            f"{named.field} {name[:_SHOWN]!r} is not one that you may name: expected {expected}", field=named.field
        )


EVERY_NAME = AllowedNames()
"""Of somebody who is not limited."""


@dataclass(slots=True)
class _Account:
    """What one asker has taken.

    Attributes:
        limits: What they may.
        names: What they may name.
        open: Requests that are worked on or wait.
        buckets: What is counted in time, by the name of the setting; what is not limited is not in it.
    """

    limits: UserLimits
    names: AllowedNames
    open: int = 0
    buckets: dict[str, TokenBucket] = field(default_factory=dict[str, TokenBucket])

    @classmethod
    def of(cls, limits: UserLimits, names: AllowedNames) -> "_Account":
        buckets: dict[str, TokenBucket] = {}
        if rate := limits.requests_per_minute:
            buckets["requests_per_minute"] = TokenBucket(rate / _MINUTE_S, limits.request_burst or max(1.0, rate))
        for name, amount, period_s in (
            ("characters_per_minute", limits.characters_per_minute, _MINUTE_S),
            ("sound_s_per_minute", limits.sound_s_per_minute, _MINUTE_S),
            ("ingested_characters_per_hour", limits.ingested_characters_per_hour, _HOUR_S),
        ):
            if amount:
                buckets[name] = TokenBucket(amount / period_s, amount)
        return cls(limits, names, buckets=buckets)

    def is_forgettable(self, now: float) -> bool:
        return not self.open and all(bucket.is_full(now) for bucket in self.buckets.values())


class Allowances:
    """The accounts of all who ask at one replica. Not for several threads.

    Args:
        users: The limits, as `deployments.settings.users.entries_of` reads them. Where there are none, nothing is kept.
        default_collection: The collection of requests that name none.
        clock: The time in seconds.
        most_accounts: Accounts that are kept. Beyond that the one that was not used for longest is forgotten, as long
            as it has no open request.
        name_characters: Of a user id. A longer one is nobody's, and only what holds for everybody holds for it.
    """

    def __init__(
        self,
        users: Mapping[str, UserLimits],
        default_collection: str = "",
        clock: Callable[[], float] = time.monotonic,
        most_accounts: int = _MOST_ACCOUNTS,
        name_characters: int = RequestSizes().name_characters,
    ) -> None:
        self._users = users
        self._default_collection = default_collection
        self._clock = clock
        self._most = most_accounts
        self._name_characters = name_characters
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        # No more of them than there are entries, and sets of patterns that fit one id.
        self._terms: dict[tuple[str, ...], tuple[UserLimits, AllowedNames]] = {}

    @classmethod
    def of(cls, settings: NatsSettings, milvus: MilvusSettings) -> "Allowances":
        """Return what the settings say."""
        return cls(settings.users, milvus.collection, name_characters=settings.sizes.name_characters)

    def __len__(self) -> int:
        return len(self._accounts)

    @property
    def is_limiting(self) -> bool:
        """Whether anybody is limited in anything."""
        return bool(self._users)

    def names(self, asker: Asker) -> AllowedNames:
        """Return what somebody may name."""
        names = self._account(asker).names if self._users else EVERY_NAME
        return replace(names, user=asker.user) if asker.user else names

    def opened(self, asker: Asker, row: str) -> OverloadedError | None:
        """Count a request that has arrived; return what it is refused with where it is one too many.

        `closed` has to be called for it once, refused or not.

        Args:
            asker: Whose it is.
            row: The name of its row.
        """
        if not self._users or row in _NOT_LIMITED:
            return None
        account = self._account(asker)
        most = account.limits.open_requests
        account.open += 1
        if most is not None and account.open > most:
            return OverloadedError(
                f"{most} requests of this {asker.kind} are open already",
                limit=Limit("nats.users.NAME.open_requests", most, account.open),
            )
        return self._request_refused(account, asker)

    def closed(self, asker: Asker, row: str) -> None:
        """Take note that a request has been answered."""
        if self._users and row not in _NOT_LIMITED:
            self._account(asker).open -= 1

    def session_opens(self, asker: Asker, open_sessions: int) -> None:
        """Count the beginning of a live session.

        Args:
            asker: Whose it is.
            open_sessions: How many others of theirs are open.

        Raises:
            OverloadedError: It is one too many, at once or in time.
        """
        if not self._users:
            return
        account = self._account(asker)
        most = account.limits.live_sessions
        if most is not None and open_sessions >= most:
            raise OverloadedError(
                f"{most} sessions of this {asker.kind} are open already",
                limit=Limit("nats.users.NAME.live_sessions", most, open_sessions + 1),
            )
        if refused := self._request_refused(account, asker):
            raise refused

    def take(self, asker: Asker, demand: Demand) -> None:
        """Check what a decoded request asks for, and count it.

        Raises:
            InvalidRequestError: It names or does what they may not, is more than they may ever take at once, or names
                another user than its header.
            OverloadedError: They have taken too much lately.
        """
        asker.check_user(demand.user)
        if not self._users:
            return
        account = self._account(asker)
        self.check_names(asker, demand)
        for is_asked, is_allowed, what in (
            (demand.ingests, account.limits.ingest, "put documents in"),
            (demand.deletes, account.limits.delete, "take documents out"),
        ):
            if is_asked and not is_allowed:
                raise InvalidRequestError(f"this {asker.kind} may not {what}")
        if demand.has_sound:
            self.check_sound(asker)
        self._take(account, asker, "characters_per_minute", demand.characters, demand.text_field)
        self._take(account, asker, "ingested_characters_per_hour", demand.ingested_characters, "text")

    def check_names(self, asker: Asker, demand: Demand) -> None:
        """Check what a request names.

        Raises:
            InvalidRequestError: It is something that they may not.
        """
        names = self.names(asker)
        for named in demand.names:
            self._check_name(names, named)

    def check_sound(self, asker: Asker) -> None:
        """Check whether more sound is taken from somebody.

        Raises:
            OverloadedError: They have sent too much lately.
        """
        if not self._users:
            return
        bucket = self._account(asker).buckets.get("sound_s_per_minute")
        if bucket and (wait_s := bucket.wait(self._clock())):
            raise _too_much(asker, "sound_s_per_minute", bucket, wait_s)

    def heard(self, asker: Asker, seconds: float) -> None:
        """Count sound that was taken."""
        if self._users and (bucket := self._account(asker).buckets.get("sound_s_per_minute")):
            bucket.spend(seconds, self._clock())

    def _check_name(self, names: AllowedNames, named: Named) -> None:
        name = named.name
        if not name and named.kind is NameKind.VOICE:
            # Who may not choose is spoken to all the same. The default collection, though, may hold what is not theirs.
            return
        if not name and named.kind is NameKind.COLLECTION:
            name = self._default_collection
        names.check(named, name)

    def _request_refused(self, account: _Account, asker: Asker) -> OverloadedError | None:
        bucket = account.buckets.get("requests_per_minute")
        if bucket and (wait_s := bucket.take(1, self._clock())):
            return _too_much(asker, "requests_per_minute", bucket, wait_s)
        return None

    def _take(self, account: _Account, asker: Asker, name: str, amount: int, of_field: str) -> None:
        bucket = account.buckets.get(name)
        if bucket is None or not amount:
            return
        if amount > bucket.burst:
            raise InvalidRequestError(
                f"{of_field}: {amount} characters are more than the {_told(name, bucket)} of this {asker.kind}",
                field=of_field,
                limit=Limit(f"nats.users.NAME.{name}", bucket.burst, amount),
            )
        if wait_s := bucket.take(amount, self._clock()):
            raise _too_much(asker, name, bucket, wait_s)

    def _account(self, asker: Asker) -> _Account:
        key = asker.key if len(asker.key) <= _LONGEST_KEY else sha256(asker.key.encode()).hexdigest()
        if account := self._accounts.get(key):
            self._accounts.move_to_end(key)
            return account
        self._forget()
        account = self._accounts[key] = _Account.of(*self._terms_of(asker.user))
        return account

    def _terms_of(self, user: str) -> tuple[UserLimits, AllowedNames]:
        """Return what holds for a user: the same values for all for whom the same is written."""
        entries = entries_of(self._users, user if len(user) <= self._name_characters else "")
        if entries not in self._terms:
            limits = joined(self._users, entries)
            self._terms[entries] = limits, AllowedNames.of(limits)
        return self._terms[entries]

    def _forget(self) -> None:
        """Make room for an account, and forget some that need not be known any more."""
        now = self._clock()
        oldest = list(islice(self._accounts.items(), _LOOKED_AT))
        for key, account in oldest:
            if account.is_forgettable(now):
                del self._accounts[key]
        if len(self._accounts) >= self._most:
            idle = next((key for key, account in self._accounts.items() if not account.open), None)
            if idle is not None:
                del self._accounts[idle]


UNLIMITED = Allowances({})
"""Nobody is limited in anything."""


def _too_much(asker: Asker, name: str, bucket: TokenBucket, wait_s: float) -> OverloadedError:
    return OverloadedError(
        f"this {asker.kind} has used up its {_told(name, bucket)}",
        retry_after_s=wait_s,
        limit=Limit(f"nats.users.NAME.{name}", bucket.burst),
    )


def _told(name: str, bucket: TokenBucket) -> str:
    """Return a limit as its user reads it, such as "60 requests per minute"."""
    what, _, period = name.rpartition("_per_")
    amount = bucket.per_s * (_HOUR_S if period == "hour" else _MINUTE_S)
    unit = "seconds of sound" if what == "sound_s" else what.replace("_", " ")
    return f"{amount:.15g} {unit} per {period}"
