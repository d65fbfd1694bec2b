"""One call's way to the hosts that it may reach: answers its questions for names, and dials what it connects to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from math import inf

from folkmoot.errors import InvalidInput
from folkmoot.outbound.dialling import dial
from folkmoot.sandbox import names
from folkmoot.sandbox.calls import SOURCE, Limits, Network
from folkmoot.sandbox.doors import INSIDE
from folkmoot.sandbox.reach import MOST_PORTS, Host, read_hosts

DIAL_SECONDS = 10.0
MOST_NAMES = 256
MOST_NAMES_ENDLESS = 65_536
MOST_QUESTIONS = 5000
MOST_CONNECTIONS = 2000
_MOST_NOTED = 20
_PIECE = 65536
_RESET = struct.pack("ii", 1, 0)  # closing resets: what was refused or cut off is not taken for an end
_FIRST_INSIDE = int.from_bytes(socket.inet_aton(INSIDE)) + 1


@dataclass(slots=True)
class _Left:
    """What a call may still do."""

    sent: float
    received: float
    questions: float
    connections: float


class TooMuch(Exception):
    """A call has used up what it may send or receive."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A call's network as it is asked of the guard, and as the relay reads it."""

    hosts: tuple[Host, ...]
    server: tuple[str, int] | None

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports that something is to answer at."""
        ports = {port for host in self.hosts for port in host.ports}
        return tuple(sorted(ports | {self.server[1]} if self.server is not None else ports))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses that are named themselves, and have to be there inside beside loopback."""
        named = {host.address for host in self.hosts if host.address is not None}
        return tuple(sorted(address for address in named if not address.startswith("127.")))


def plan(network: Network) -> Plan | None:
    """Return what a network comes to; None for no network.

    Raises:
        InvalidInput: a host cannot be read.
    """
    if not network.hosts and network.server is None:
        return None
    server = None
    if network.server is not None:
        host, _, port = network.server.rpartition(":")
        if not host or not port.isdigit():
            raise InvalidInput(f"server: {network.server!r} is no address with a port.")
        server = (host.removeprefix("[").removesuffix("]"), int(port))
    made = Plan(read_hosts(network.hosts), server)
    if len(made.ports) > MOST_PORTS:
        raise InvalidInput(f"allowed_hosts: more than {MOST_PORTS} ports are named, that of this server among them.")
    return made


class Relay:
    """Relays for one call until it is cancelled; what the code may not reach, it cannot."""

    def __init__(self, network: Plan, limits: Limits, private: Sequence[Host], *, endless: bool = False) -> None:
        """Relay nothing yet.

        Args:
            network: whom the code may reach.
            limits: `connections` at once, and bytes `sent` and `received` in all.
            private: hosts that may be reached though their addresses are not public.
            endless: count nothing but connections at once, for what runs as long as the server does.
        """
        self._network = network
        self._private = private
        counted = _Left(limits.sent, limits.received, MOST_QUESTIONS, MOST_CONNECTIONS)
        self._left = _Left(inf, inf, inf, inf) if endless else counted
        self._most_names = MOST_NAMES_ENDLESS if endless else MOST_NAMES
        self._free = asyncio.Semaphore(limits.connections)
        self._names = {host.address: host.name for host in network.hosts if host.address is not None}
        self._addresses: dict[str, str] = {}
        made_up = (socket.inet_ntoa(number.to_bytes(4)) for number in count(_FIRST_INSIDE))
        self._next = (address for address in made_up if address not in self._names)
        self._refused: dict[str, None] = {}

    @property
    def refused(self) -> tuple[str, ...]:
        """What the code was not let do, one line each."""
        return tuple(self._refused)

    async def serve(self, way: socket.socket) -> None:
        """Take the sockets that come over `way` and answer them; they are closed when this is cancelled."""
        sockets = await _receive(way)
        loop = asyncio.get_running_loop()
        if not sockets:
            return
        try:
            for one in sockets:
                one.setblocking(False)
            loop.add_reader(sockets[0], self._answer, sockets[0])
            async with asyncio.TaskGroup() as tasks:
                for listener in sockets[1:]:
                    tasks.create_task(self._accept(listener, tasks))
        finally:
            loop.remove_reader(sockets[0])
            for one in sockets:
                one.close()

    def _answer(self, sock: socket.socket) -> None:
        self._left.questions -= 1
        if self._left.questions == 0:
            self._note("it asked for too many names")
            asyncio.get_running_loop().remove_reader(sock)
            return
        with suppress(OSError):  # whoever asked may be gone
            question, asker = sock.recvfrom(512)
            answer = names.answer(question, self._address_of)
            if answer is not None:
                sock.sendto(answer, asker)

    def _address_of(self, name: str) -> str | None:
        """Return the address that a name has inside, which is made up when it is first asked for."""
        if name not in self._addresses:
            if not any(host.fits(name) for host in self._network.hosts) or len(self._addresses) >= self._most_names:
                self._note(f"{name} is not among the hosts that it may reach")
                return None
            address = next(self._next)
            self._addresses[name] = address
            self._names[address] = name
        return self._addresses[name]

    async def _accept(self, listener: socket.socket, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while self._left.connections > 0:
            connection, _ = await loop.sock_accept(listener)
            self._left.connections -= 1
            try:
                await self._free.acquire()
            except asyncio.CancelledError:
                connection.close()
                raise
            tasks.create_task(self._serve(connection))
        self._note("it made too many connections")
        listener.close()

    async def _serve(self, connection: socket.socket) -> None:
        writers: list[asyncio.StreamWriter] = []
        try:
            address, port = connection.getsockname()[:2]
            reader, writer = await asyncio.open_connection(sock=connection)
            writers.append(writer)
            far_reader, far_writer = await self._dial(address, port)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, far_writer, "sent"))
                both.create_task(self._copy(far_reader, writer, "received"))
        except* (OSError, InvalidInput, TooMuch) as failed:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            for error in failed.exceptions:
                if not isinstance(error, ConnectionError):
                    self._note(str(error))
        finally:
            for one in writers:
                one.transport.abort()
            connection.close()
            self._free.release()

    async def _dial(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to whom an address and port inside stand for.

        Raises:
            InvalidInput: for nobody whom the code may reach, or there is no connection.
        """
        name, private, source = self._names.get(address), False, None
        if self._network.server is not None and address == "127.0.0.1" and port == self._network.server[1]:
            name, private = self._network.server[0], True
            source = SOURCE if name.startswith("127.") else None
        elif name is None or not _named(name, port, self._network.hosts):
            raise InvalidInput(f"{name or address}:{port} is not among the hosts that it may reach")
        else:
            private = _named(name, port, self._private)
        try:
            return await dial(name, port, allow_private=private, timeout=DIAL_SECONDS, source=source)
        except TimeoutError as error:
            raise InvalidInput(f"{name}:{port} did not answer in {DIAL_SECONDS:g} seconds") from error
        except OSError as error:
            raise InvalidInput(f"{name}:{port} could not be reached: {error}") from error

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, which: str) -> None:
        while piece := await reader.read(_PIECE):
            left = getattr(self._left, which) - len(piece)
            setattr(self._left, which, left)
            if left < 0:
                raise TooMuch(f"it {which} more bytes than it may")
            writer.write(piece)
            await writer.drain()
        writer.write_eof()

    def _note(self, line: str) -> None:
        if len(self._refused) < _MOST_NOTED:
            self._refused[line] = None


def _named(name: str, port: int, hosts: Sequence[Host]) -> bool:
    return any(host.fits(name) and port in host.ports for host in hosts)


async def _receive(way: socket.socket) -> list[socket.socket]:
    """Return the sockets that the inside of the walls hands out; none if it has ended before."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(way, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(way)
    _, passed, _, _ = socket.recv_fds(way, 1, MOST_PORTS + 2)
    return [socket.socket(fileno=descriptor) for descriptor in passed]
