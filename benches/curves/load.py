"""The load: redis-benchmark where it can do what is asked, and an event loop of our own where it can't.

redis-benchmark keeps every client busy, so its latencies are mostly the queue that its own clients make. A fixed rate
(`at_rate`) shows what a client waits that is one of many who ask now and then.
"""

import collections
import csv
import dataclasses
import gc
import itertools
import select
import socket
import subprocess
import time

# Nothing that is measured takes so long.
RUN_SECONDS_MAX = 60
# Keys that plain reads ask for, all of them there.
KEYS = 1000
# No fewer requests in a run than this, or what one of them costs is lost in what the run costs.
REQUESTS_MIN = 200
# redis-benchmark rests for 50 ms after every 64 clients that it connects: with so many it is not run to learn its rate.
SLOW_CLIENTS_MIN = 5_000


@dataclasses.dataclass
class Run:
    """What one run found; none where it is not about that."""

    # Microseconds of the program's CPU per request.
    cpu_us: float | None = None
    # With all clients busy, and at a fixed rate, in milliseconds.
    p99_ms: float | None = None
    p99_at_rate_ms: float | None = None
    # Requests.
    per_second: float | None = None
    # Of an entry of the near cache: what the process grew by, and what is counted.
    entry_bytes: float | None = None
    counted_bytes: float | None = None
    # Requests that the near cache answered.
    hit_percent: float | None = None


class Benchmark:
    """redis-benchmark against one program with one command; learns from its first run how many requests to send."""

    def __init__(self, program, words, clients, depth=1, keys=KEYS, reply_bytes=64, seconds=0.6):
        self.program, self.clients, self.seconds = program, clients, seconds
        self.command = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(program.port), "--csv"]
        self.command += ["-c", str(clients), "-P", str(depth), "-r", str(keys)]
        self.words = words
        # The first guess, with a large value's memory in mind.
        self.in_flight = clients * depth
        guess = max(min(20 * self.in_flight, 200_000), min(20_000, (64 << 20) // reply_bytes))
        self.requests = max(REQUESTS_MIN, 2 * self.in_flight, guess)
        self.opening_ns = None

    def run(self):
        if self.opening_ns is None:
            # What it takes to open and close the connections, with a request each.
            self.opening_ns, _ = self.measured(self.clients, depth=1)
            if self.clients < SLOW_CLIENTS_MIN:
                _, row = self.measured(self.requests)
                wanted = int(float(row["rps"]) * self.seconds)
                self.requests = max(REQUESTS_MIN, 2 * self.in_flight, wanted)
        used, row = self.measured(self.requests)
        cpu_us = max(0, used - self.opening_ns) / 1000 / (self.requests - min(self.clients, self.requests // 2))
        return Run(cpu_us=cpu_us, p99_ms=float(row["p99_latency_ms"]), per_second=float(row["rps"]))

    def measured(self, requests, depth=None):
        """The program's CPU time and redis-benchmark's figures."""
        command = [*self.command, *(["-P", str(depth)] if depth else []), "-n", str(requests), *self.words]
        before = self.program.cpu_ns_when_quiet()
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
        used = self.program.cpu_ns_when_quiet() - before
        lines = [line for line in done.stdout.splitlines() if line.startswith('"')]
        if done.returncode != 0 or len(lines) != 2:
            raise SystemExit(f"{' '.join(command)}\nfailed:\n{done.stdout[-500:]}{done.stderr[-500:]}")
        return used, next(csv.DictReader(lines))


def at_rate(program, request, reply_bytes, clients, per_second, seconds):
    """Sends requests one after the other over all clients in turn, at a fixed rate.

    A latency is counted from the moment a request was due, so that one that waits behind a slow one is slow as well.
    """
    # Before the connections, so that its number is one that select() takes.
    events = select.epoll()
    connections = [socket.create_connection(("127.0.0.1", program.port), timeout=10) for _ in range(clients)]
    waiting, missing = {}, {}
    for connection in connections:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        events.register(connection.fileno(), select.EPOLLIN)
        waiting[connection.fileno()], missing[connection.fileno()] = collections.deque(), 0
    by_number = {connection.fileno(): connection for connection in connections}
    # What the collector takes would be taken for the program's.
    gc.disable()
    try:
        latencies = []
        wanted, sent, began = int(per_second * seconds), 0, time.monotonic()
        while len(latencies) < wanted:
            now = time.monotonic()
            if now - began > seconds + RUN_SECONDS_MAX:
                raise SystemExit(f"{program.name} has answered {len(latencies)} of {wanted} requests")
            if sent < wanted and now >= began + sent / per_second:
                connection = connections[sent % clients]
                connection.send(request)
                waiting[connection.fileno()].append(began + sent / per_second)
                sent += 1
            due = began + sent / per_second if sent < wanted else now + 1
            # epoll's own timeout has whole milliseconds only. Nor may this spin: what is real-time and never sleeps,
            # the kernel stops for a twentieth of every second.
            select.select([events], [], [], max(0, due - time.monotonic()))
            for number, _ in events.poll(0):
                missing[number] += len(by_number[number].recv(1 << 16))
                now = time.monotonic()
                while missing[number] >= reply_bytes:
                    missing[number] -= reply_bytes
                    latencies.append(now - waiting[number].popleft())
    finally:
        gc.enable()
        events.close()
        for connection in connections:
            connection.close()
    latencies.sort()
    return Run(p99_at_rate_ms=latencies[int(wanted * 0.99)] * 1000)


def in_pieces(program, request, piece_bytes, pause_seconds):
    """Sends one request piece by piece, each likely to be read alone; the program's CPU time until its reply."""
    with connected(program) as connection:
        before = program.cpu_ns_when_quiet()
        for at in range(0, len(request), piece_bytes):
            connection.sendall(request[at : at + piece_bytes])
            time.sleep(pause_seconds)
        reply = connection.recv(1 << 16)
        used = program.cpu_ns_when_quiet() - before
    if not reply.startswith(b"+OK"):
        raise SystemExit(f"{program.name} answered {reply[:80]!r} to a request in pieces")
    return used


def pipelined(program, requests, depth=1000):
    """Sends requests that each have a reply of one line or one bulk string; the number of those that were nil."""
    nils = 0
    with connected(program) as connection, connection.makefile("rb", 1 << 16) as replies:
        requests = iter(requests)
        while batch := list(itertools.islice(requests, depth)):
            connection.sendall(b"".join(batch))
            for _ in batch:
                line = replies.readline()
                if line.startswith(b"-") or not line:
                    raise SystemExit(f"{program.name} answered {line!r}")
                if line == b"$-1\r\n":
                    nils += 1
                elif line.startswith(b"$"):
                    replies.read(int(line[1:]) + 2)
    return nils


def connected(program):
    connection = socket.create_connection(("127.0.0.1", program.port), timeout=RUN_SECONDS_MAX)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def command(*words):
    """A request as clients send it."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
