"""Many ranged requests under way at once in one thread: each costs a send, a receive, and a share of the wait for all of them.

Only what is ordinary runs here: a range of a host that is known, over a connection that is open. Whatever else comes of it leaves as
what it is, an answer of which the head was read or the error of the connection, and `Transfer` goes on with it in a thread that may
wait. So nothing here knows of redirects, retries, proxies, names of hosts or handshakes.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Generic, TypeVar

from rasterloom.access.network.dial import CONNECT_TIMEOUT, Opening
from rasterloom.access.network.http1 import Connection, Reply
from rasterloom.access.network.wire import LARGE, STALE, Answer, Origin, Outcome, Part, Question

Who = TypeVar("Who")
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError)
_PIECES = 64
"""Of one answer that are received before others have their turn; over TLS a piece is 16 KiB."""


@dataclass(slots=True)
class _Asked(Generic[Who]):
    """A request under way."""

    who: Who
    question: Question
    deadline: float
    reply: Reply | None = None


class Lane(Generic[Who]):
    """The requests of one thread, over connections that are its own until it is closed. Others may call `ring` alone."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._selector = selectors.DefaultSelector()
        self._asked: dict[Connection, _Asked[Who]] = {}
        """In the order of their deadlines."""
        self._opening: dict[Opening, _Asked[Who]] = {}
        """What is asked over each when it is open; in the order of their deadlines."""
        self._idle: dict[Origin, list[Connection]] = {}
        self._origins: dict[Connection, Origin] = {}
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)

    @property
    def busy(self) -> int:
        """Requests under way."""
        return len(self._asked) + len(self._opening)

    def close(self) -> None:
        """Leave the connections to others that wait for a request, and close the rest."""
        self._selector.close()
        self._bell.close()
        self._rope.close()
        for unfinished in (*self._asked, *self._opening):
            unfinished.close()
        for origin, idle in self._idle.items():
            for connection in idle:
                origin.keep(connection)

    def ring(self) -> None:
        """Let `wait` come back."""
        with suppress(OSError):  # it has not heard the last hundred, or is closed
            self._rope.send(b"!")

    def has(self, origin: Origin) -> bool:
        """Whether a connection waits there, as far as any thread can say."""
        return bool(self._idle.get(origin) or origin.idle)

    def take(self, connection: Connection, origin: Origin) -> None:
        """A connection that was opened for the lane."""
        self._register(connection, origin)
        self._idle.setdefault(origin, []).append(connection)

    def ask(self, question: Question, who: Who) -> bool:
        """False where no open connection takes it."""
        while (connection := self._connection(question.origin)) is not None:
            deadline = time.monotonic() + self._timeout
            try:
                connection.send(question.request, deadline)
            except OSError:  # the server closed it while it waited
                self._release(connection).close()
                continue
            self._asked[connection] = _Asked(who, question, deadline)
            return True
        return False

    def ask_over(self, opening: Opening, question: Question, who: Who) -> None:
        """As `ask`, over a connection that opens meanwhile; where it does not, nothing was asked, and the outcome is None."""
        self._opening[opening] = _Asked(who, question, time.monotonic() + min(self._timeout, CONNECT_TIMEOUT))
        self._selector.register(opening.socket, selectors.EVENT_WRITE, opening)

    def _opened(self, opening: Opening) -> tuple[Who, Outcome] | None:
        """It went on. None: nothing came of it yet."""
        self._selector.unregister(opening.socket)
        try:
            waits = opening.proceed()
        except OSError:
            return self._opening.pop(opening).who, None
        if waits:
            self._selector.register(opening.socket, waits, opening)
            return None
        asked = self._opening.pop(opening)
        self.take(Connection(opening.socket), asked.question.origin)
        return None if self.ask(asked.question, asked.who) else (asked.who, None)

    def _connection(self, origin: Origin) -> Connection | None:
        idle = self._idle.setdefault(origin, [])
        if idle:
            return idle.pop()
        connection = origin.taken()
        if connection is not None:
            self._register(connection, origin)
        return connection

    def _register(self, connection: Connection, origin: Origin) -> None:
        self._origins[connection] = origin
        connection.socket.setblocking(False)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)

    def _release(self, connection: Connection) -> Connection:
        del self._origins[connection]
        self._selector.unregister(connection.socket)
        return connection

    def wait(self) -> Iterator[tuple[Who, Outcome]]:
        """What comes of requests: waits for an answer, the bell or a deadline."""
        for key, _ in self._selector.select(self._left()):
            data: Connection | Opening | None = key.data
            if data is None:
                self._bell.recv(1 << 16)
                continue
            if isinstance(data, Opening):
                done = self._opened(data)
            elif (asked := self._asked.get(data)) is not None:
                done = self._read(data, asked)
            else:
                done = self._disturbed(data)
            if done is not None:
                yield done
        yield from self._late()

    def _late(self) -> Iterator[tuple[Who, Outcome]]:
        while (left := _seconds_to(self._asked)) is not None and not left:
            yield self._ended(next(iter(self._asked)), TimeoutError("the answer timed out"))
        while (left := _seconds_to(self._opening)) is not None and not left:
            late = next(iter(self._opening))
            self._selector.unregister(late.socket)
            late.close()
            yield self._opening.pop(late).who, None

    def _left(self) -> float | None:
        """Seconds to the first deadline."""
        return min((left for left in (_seconds_to(self._asked), _seconds_to(self._opening)) if left is not None), default=None)

    def _read(self, connection: Connection, asked: _Asked[Who]) -> tuple[Who, Outcome] | None:
        """None: there is more to come."""
        try:
            reply = self._received(connection, asked)
        except (OSError, HTTPException) as error:
            return self._ended(connection, None if asked.reply is None and isinstance(error, STALE) else error)
        if reply is None or not reply.begun:
            return None
        question = asked.question
        if not reply.brings(question.end - question.start):
            self._release(connection)
            return self._asked.pop(connection).who, Answer(connection, reply, question.origin)
        return self._part(connection, asked, reply) if reply.done else None

    @staticmethod
    def _received(connection: Connection, asked: _Asked[Who]) -> Reply | None:
        """The answer as far as it is here; a large range is received where it stays. None: nothing was here."""
        question = asked.question
        for _ in range(_PIECES):
            try:
                asked.reply = reply = connection.arrived(asked.reply)
            except _NOT_YET:
                break
            if reply.rest is None and reply.begun and not reply.done and reply.brings(question.end - question.start):
                if (reply.length or 0) <= LARGE:
                    break
                reply.make_room(question.origin.bodies)
            if reply.rest is None or reply.done:
                break
        return asked.reply

    def _part(self, connection: Connection, asked: _Asked[Who], reply: Reply) -> tuple[Who, Outcome]:
        """All of it is here: nothing waits."""
        del self._asked[connection]
        question = asked.question
        outcome: Outcome
        try:
            outcome = Answer(connection, reply, question.origin).part(question.start, question.end)
        except HTTPException as error:
            outcome = error
        if reply.reusable and isinstance(outcome, Part):
            self._idle[question.origin].append(connection)
        else:
            self._release(connection).close()
        return asked.who, outcome

    def _ended(self, connection: Connection, outcome: Outcome) -> tuple[Who, Outcome]:
        self._release(connection).close()
        return self._asked.pop(connection).who, outcome

    def _disturbed(self, connection: Connection) -> None:
        """One that waits for a request was closed by the server, or was sent what nobody asked for."""
        try:
            connection.arrived(None)
        except _NOT_YET:  # of the encryption itself
            return
        except (OSError, HTTPException):
            pass
        self._idle[self._origins[connection]].remove(connection)
        self._release(connection).close()


def _seconds_to(asked: Mapping[Any, _Asked[Any]]) -> float | None:
    """The first of their deadlines."""
    for first in asked.values():
        return max(0.0, first.deadline - time.monotonic())
    return None
