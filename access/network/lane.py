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
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Generic, TypeVar

from rasterloom.access.network.http1 import Connection, Reply
from rasterloom.access.network.wire import STALE, Answer, Origin, Outcome, Question

Who = TypeVar("Who")
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError)


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
        self._idle: dict[Origin, list[Connection]] = {}
        self._origins: dict[Connection, Origin] = {}
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)

    @property
    def busy(self) -> int:
        """Requests under way."""
        return len(self._asked)

    def close(self) -> None:
        """Leave the connections to others that wait for a request, and close the rest."""
        self._selector.close()
        self._bell.close()
        self._rope.close()
        for connection in self._asked:
            connection.close()
        for origin, idle in self._idle.items():
            for connection in idle:
                origin.keep(connection)

    def ring(self) -> None:
        """Let `wait` come back."""
        with suppress(OSError):  # it has not heard the last hundred, or is closed
            self._rope.send(b"!")

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

    def _connection(self, origin: Origin) -> Connection | None:
        idle = self._idle.setdefault(origin, [])
        if idle:
            return idle.pop()
        connection = origin.taken()
        if connection is not None:
            self._origins[connection] = origin
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _release(self, connection: Connection) -> Connection:
        del self._origins[connection]
        self._selector.unregister(connection.socket)
        return connection

    def wait(self) -> Iterator[tuple[Who, Outcome]]:
        """What comes of requests: waits for an answer, the bell or a deadline."""
        for key, _ in self._selector.select(self._left()):
            connection: Connection | None = key.data
            if connection is None:
                self._bell.recv(1 << 16)
            elif (asked := self._asked.get(connection)) is None:
                self._disturbed(connection)
            elif (done := self._read(connection, asked)) is not None:
                yield done
        while self._left() == 0:
            late = next(iter(self._asked))
            yield self._ended(late, TimeoutError("the answer timed out"))

    def _left(self) -> float | None:
        """Seconds to the first deadline."""
        for asked in self._asked.values():
            return max(0.0, asked.deadline - time.monotonic())
        return None

    def _read(self, connection: Connection, asked: _Asked[Who]) -> tuple[Who, Outcome] | None:
        """None: there is more to come."""
        try:
            asked.reply = reply = connection.arrived(asked.reply)
        except _NOT_YET:
            return None
        except (OSError, HTTPException) as error:
            return self._ended(connection, None if asked.reply is None and isinstance(error, STALE) else error)
        if not reply.begun:
            return None
        question = asked.question
        if not reply.brings(question.end - question.start):
            self._release(connection)
            return self._asked.pop(connection).who, Answer(connection, reply, question.origin)
        return self._part(connection, asked, reply) if reply.done else None

    def _part(self, connection: Connection, asked: _Asked[Who], reply: Reply) -> tuple[Who, Outcome]:
        """All of it is here: nothing waits."""
        del self._asked[connection]
        question = asked.question
        idle = self._idle[question.origin]
        outcome: Outcome
        try:
            with Answer(connection, reply, question.origin, idle) as answer:
                outcome = answer.part(question.start, question.end)
        except HTTPException as error:
            outcome = error
        if not idle or idle[-1] is not connection:
            self._release(connection)
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
