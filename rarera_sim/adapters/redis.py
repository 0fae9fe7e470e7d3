"""Redis as doorbell and board: pub/sub for notifications, one hash for the newest events, one script for both.

Nothing here is the truth and nothing here needs to last: a lost notification, an evicted hash, a failover to an older
copy or a restart with empty memory costs delay, never an event. A subscriber looks at the log now and then by itself
(`Subscription(period=...)`), and `Publisher.latest` asks the log where the hash is behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from rarera_sim.core.bus import EVERYTHING, Notification, Ring, notification
from rarera_sim.core.errors import BadInput, InvalidEvent, Refused, Unreachable
from rarera_sim.core.event import Recorded, decode
from rarera_sim.core.publisher import Glance

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise ImportError("Redis needs the package redis: pip install 'rarera-sim[redis]'") from error

_logger = logging.getLogger(__name__)

_UPTO = "\0upto"  # a field beside the events', whose types are never empty
_POSITION_BYTES = 8
_BATCH = 1_000  # events a script call, as Redis does nothing else meanwhile
_OPTIONS = {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "client_name", "db"}
_WAKE = 0.2  # seconds until a listener notices that it was stopped

# Numbers are compared as numbers, exact to 2^53, and written as the text they came as.
_ANNOUNCE = """
local first, last = tonumber(ARGV[1]), tonumber(ARGV[2])
local upto = tonumber(redis.call('HGET', KEYS[1], ARGV[4]) or '-1')
if upto < first - 1 and (upto < 0 or ARGV[5] == '1') then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[3])
  upto = first - 1
end
if upto < first - 1 then return upto end
local entries = tonumber(ARGV[6])
for i = 7, 6 + 3 * entries, 3 do
  if tonumber(ARGV[i]) > upto then redis.call('HSET', KEYS[1], ARGV[i + 1], ARGV[i + 2]) end
end
for i = 7 + 3 * entries, #ARGV, 3 do
  if tonumber(ARGV[i]) > upto then redis.call('PUBLISH', ARGV[i + 1], ARGV[i + 2]) end
end
if last > upto then
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[2])
  upto = last
end
return upto
"""


class RedisBus:
    """`EventBus` and `Board` on a Redis server.

    Parameters
    ----------
    url
        `redis://[[USER]:PASSWORD@]HOST:PORT/DB`, `rediss://` for TLS (with `?ssl_ca_certs=FILE` for a private
        authority) or `unix://PATH`. The user needs `+evalsha +script|load +publish +subscribe +psubscribe +hset +hget
        +hmget +del +ping`, the key `PREFIX:latest`, and the channels `PREFIX:event.*`.
    prefix
        Keeps several logs on one server apart; empty for channels that are called exactly `event.<type>`.
    timeout
        Seconds to wait for the server. Once it did not answer, it is left alone for as long, so that a hanging
        server does not slow every append.

    Raises
    ------
    BadInput
        The URL is not usable. Neither this nor any other error says the password.
    Refused, Unreachable
        On use: the server will not have this user, or did not answer.
    """

    def __init__(self, url: str, *, prefix: str = "", timeout: float = 1.0) -> None:
        if not timeout > 0:
            raise BadInput(f"timeout must be > 0 s, got {timeout!r}")
        try:
            if not parse_qs(urlsplit(url).query).keys() <= _OPTIONS:
                raise ValueError
            # One retry: the first call after a restart of the server finds a pooled connection that is dead.
            self._client = redis.Redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 1),
                health_check_interval=10,
            )
        except (ValueError, TypeError):
            raise BadInput(
                "Redis URL is not usable; write redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix://PATH, "
                f"each with USER:PASSWORD@ if need be, and ?OPTION=VALUE for {', '.join(sorted(_OPTIONS))}"
            ) from None
        self._where = _place(url, self._client.connection_pool.connection_kwargs)
        self._prefix = f"{prefix}:" if prefix else ""
        self._key = f"{prefix or 'rarera'}:latest"
        self._timeout = timeout
        self._down_until = 0.0
        self._script = self._client.register_script(_ANNOUNCE)
        self._listeners: set[_Listener] = set()

    def __repr__(self) -> str:
        return f"RedisBus({self._where!r})"

    # EventBus

    def publish(self, notifications: Sequence[Notification]) -> None:
        if notifications:
            with self._reaching(), self._client.pipeline(transaction=False) as pipeline:
                for each in notifications:
                    pipeline.publish(self._prefix + each.topic, _packed(each))
                pipeline.execute()

    def listen(self, topics: Iterable[str], ring: Ring) -> Callable[[], None]:
        """As `EventBus.listen`; `ring` is called from a thread of its own, and should only set a flag.

        Returns when the server has confirmed the topics. If it is not there the listener goes on trying: what it
        misses meanwhile is in the log.
        """
        listener = _Listener(self._client, self._where, self._prefix, tuple(topics), ring)
        listener.start()
        listener.settled.wait(2 * self._timeout)
        if listener.refused:
            raise Refused(listener.refused)
        self._listeners.add(listener)

        def stop() -> None:
            self._listeners.discard(listener)
            listener.stop()

        return stop

    # Board

    def announce(self, recorded: Sequence[Recorded], *, afresh: bool = False) -> int:
        upto = 0
        with self._reaching():
            for start in range(0, len(recorded), _BATCH):
                batch = recorded[start : start + _BATCH]
                upto = int(self._script(keys=[self._key], args=self._arguments(batch, afresh)))
                if upto < batch[-1].position:
                    break
        return upto

    def upto(self) -> int:
        with self._reaching():
            return int(self._client.hget(self._key, _UPTO) or 0)

    def latest(self, event_type: str, processor: str) -> Glance:
        with self._reaching():
            upto, kept = self._client.hmget(self._key, [_UPTO, _field(event_type, processor)])
        return Glance(int(upto or 0), _unpacked(kept) if isinstance(kept, bytes) else None)

    def clear(self) -> None:
        """Forget all events, for instance because a subject of theirs was erased; the log answers meanwhile."""
        with self._reaching():
            self._client.delete(self._key)

    def close(self) -> None:
        for listener in tuple(self._listeners):
            listener.stop()
        self._listeners.clear()
        self._client.close()

    def _arguments(self, recorded: Sequence[Recorded], afresh: bool) -> list[bytes | str | int]:
        newest = {_field(each.event.type, each.event.processor): each for each in recorded}
        first, last = recorded[0].position, recorded[-1].position
        arguments: list[bytes | str | int] = [first, last, first - 1, _UPTO, int(afresh), len(newest)]
        for field, each in newest.items():
            arguments += (each.position, field, each.position.to_bytes(_POSITION_BYTES, "big") + each.event.frame)
        for each in recorded:
            said = notification(each)
            arguments += (each.position, self._prefix + said.topic, _packed(said))
        return arguments

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        if time.monotonic() < self._down_until:
            raise Unreachable(f"Redis at {self._where} did not answer a moment ago")
        try:
            yield
        except redis.RedisError as error:
            if refusal := _refusal(error):
                raise Refused(f"Redis at {self._where} {refusal}") from None
            self._down_until = time.monotonic() + self._timeout
            # The server's text may repeat what it was sent, and nothing of an event belongs into an error.
            raise Unreachable(f"Redis at {self._where} did not answer: {type(error).__name__}") from None


class _Listener(threading.Thread):
    """Holds one connection that is subscribed to some topics, for as long as it takes."""

    def __init__(self, client: redis.Redis, where: str, prefix: str, topics: tuple[str, ...], ring: Ring) -> None:
        super().__init__(name=f"listening to {where}", daemon=True)
        self.settled = threading.Event()  # confirmed, refused, or tried in vain for the first time
        self.refused = ""
        self._client = client
        self._where = where
        self._prefix = prefix
        self._topics = topics
        self._ring = ring
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()
        if threading.current_thread() is not self:
            self.join()

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except redis.RedisError as error:
                refusal = _refusal(error)
                if refusal and not self.settled.is_set():
                    self.refused = f"Redis at {self._where} {refusal}"
                    self._stopped.set()
                else:
                    _logger.warning("Redis at %s is gone (%s); trying again", self._where, type(error).__name__)
                self.settled.set()
                self._stopped.wait(_WAKE)

    def _listen(self) -> None:
        patterns = [_escaped(self._prefix) + topic for topic in self._topics if topic == EVERYTHING]
        channels = [self._prefix + topic for topic in self._topics if topic != EVERYTHING]
        with self._client.pubsub() as pubsub:  # type: ignore[no-untyped-call]
            if patterns:
                pubsub.psubscribe(*patterns)
            if channels:
                pubsub.subscribe(*channels)
            confirmed = 0
            while not self._stopped.is_set():
                message = pubsub.get_message(timeout=_WAKE)
                if message is None:
                    continue
                if message["type"] in ("message", "pmessage"):
                    self._hear(message["channel"], message["data"])
                elif message["type"] in ("subscribe", "psubscribe"):
                    confirmed += 1
                    if confirmed >= len(patterns) + len(channels):
                        self.settled.set()

    def _hear(self, channel: bytes, data: bytes) -> None:
        try:
            position, event_id, created, content = orjson.loads(data)
            topic = channel.decode().removeprefix(self._prefix)
            said = Notification(topic, position, bytes.fromhex(event_id), created, content)
        except (ValueError, TypeError):
            _logger.warning("Redis at %s delivered what is no notification", self._where)
            return
        try:
            self._ring(said)
        except Exception:
            # One subscriber's mistake, on a thread that nobody joins: said aloud, and the next ring still comes.
            _logger.exception("a listener to %s failed at position %d", said.topic, said.position)


def _packed(said: Notification) -> bytes:
    return orjson.dumps((said.position, said.id.hex(), said.time, said.content))


def _unpacked(kept: bytes) -> Recorded | None:
    """The event in the hash, or None, as for none at all, if it is not what was put there."""
    try:
        return Recorded(int.from_bytes(kept[:_POSITION_BYTES], "big"), decode(kept[_POSITION_BYTES:]))
    except InvalidEvent:
        return None


def _field(event_type: str, processor: str) -> str:
    return f"{event_type}\0{processor}"


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[]^\\" else letter for letter in text)


def _refusal(error: redis.RedisError) -> str:
    """Why the server will not have this user, "" if it is about something else."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return "refuses this user: wrong name or password, or a command, key or channel that its ACL does not allow"
    return ""


def _place(url: str, parsed: dict[str, Any]) -> str:
    """The URL without user, password or options."""
    if path := parsed.get("path"):
        return f"unix://{path}"
    host, port, number = parsed.get("host", "localhost"), parsed.get("port", 6379), parsed.get("db", 0)
    return f"{url.partition(':')[0]}://{host}:{port}/{number}"
