"""Replays a day of FAQ questions against the proxy, with a simulated slow LLM behind it.

The same stream (a seeded Zipf distribution over the corpus, each question in one of its spellings)
is served twice by the same number of concurrent customers: every question to the LLM, then with
FCA.GET, on a miss the LLM, then FCA.SET. Prints what the cache saved.
Guarantees: a seed names one stream; every reply is compared with the right answer; only entries of
`--namespace` are touched, and they are flushed before and after.
Leaves out a real LLM, and pauses between a customer's questions: each asks again at once.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from faq.corpus import Entry, load

# Patience with the proxy itself. It answers nil within its own time budget (250 ms by default)
# when its Redis hangs, so anything beyond this means that the proxy is away.
PROXY_TIMEOUT_SECONDS = 2.0
# A call takes between 0.6 and 1.4 times the mean.
LLM_SPREAD = 0.4


@dataclass(frozen=True)
class Ask:
    """One question of the stream."""

    entry: Entry
    spelling: str
    # How long the LLM would need for it; drawn with the stream, so both runs have the same.
    llm_seconds: float


@dataclass
class Outcome:
    """How one question went, with times from `time.perf_counter`."""

    ask: Ask
    began: float
    # When the customer had the reply; storing it afterwards is no part of the latency.
    ended: float
    hit: bool
    # The reply was the answer that the corpus has for this question.
    right: bool
    # When FCA.GET was answered, on a miss.
    looked_up: float | None = None
    # From when to when this customer's FCA.SET was under way, after a miss.
    set_began: float | None = None
    set_ended: float | None = None
    # FCA.SET was acknowledged.
    stored: bool = False

    def writes_during(self, lookup: Outcome) -> bool:
        """Whether this customer's FCA.SET was under way at any time of another's miss."""
        if self.set_began is None or self.set_ended is None or lookup.looked_up is None:
            return False
        return self.set_began < lookup.looked_up and lookup.began < self.set_ended


@dataclass
class Run:
    """All outcomes of one pass over the stream."""

    seconds: float
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def hits(self) -> int:
        """Replies that came from the cache."""
        return sum(outcome.hit for outcome in self.outcomes)

    @property
    def llm_calls(self) -> int:
        """Replies that had to be built."""
        return len(self.outcomes) - self.hits

    @property
    def stored(self) -> int:
        """Answers whose FCA.SET was acknowledged."""
        return sum(outcome.stored for outcome in self.outcomes)

    @property
    def wrong(self) -> int:
        """Replies that were not the answer to the question; anything but zero is a fault."""
        return sum(not outcome.right for outcome in self.outcomes)

    @property
    def late_misses(self) -> int:
        """Misses of an answer that was stored before, and that nobody was storing anew; a fault while its TTL runs."""
        by_question: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            by_question.setdefault(outcome.ask.entry.id, []).append(outcome)
        return sum(late_misses(outcomes) for outcomes in by_question.values())

    def latency(self, percent: float) -> float:
        """The latency in seconds that `percent` of the questions stayed within."""
        ordered = sorted(outcome.ended - outcome.began for outcome in self.outcomes)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def late_misses(outcomes: Sequence[Outcome]) -> int:
    """As `Run.late_misses`, of one question."""
    stored = [outcome.set_ended for outcome in outcomes if outcome.stored and outcome.set_ended is not None]
    if not stored:
        return 0
    late = [outcome for outcome in outcomes if not outcome.hit and outcome.began > min(stored)]
    return sum(not any(other.writes_during(outcome) for other in outcomes) for outcome in late)


def draw_stream(entries: Sequence[Entry], requests: int, seed: int, zipf: float, llm_seconds: float) -> list[Ask]:
    """`requests` questions: the k-th most popular entry has a weight of 1/k^zipf."""
    rng = random.Random(seed)
    by_popularity = list(entries)
    rng.shuffle(by_popularity)
    weights = [1 / rank**zipf for rank in range(1, len(by_popularity) + 1)]
    return [
        Ask(entry, rng.choice(entry.spellings), llm_seconds * rng.uniform(1 - LLM_SPREAD, 1 + LLM_SPREAD))
        for entry in rng.choices(by_popularity, weights, k=requests)
    ]


def distinct_questions(stream: Sequence[Ask]) -> int:
    """How many entries a stream asks for: the fewest LLM calls that can answer it."""
    return len({ask.entry.id for ask in stream})


def distinct_spellings(stream: Sequence[Ask]) -> int:
    """How many texts a stream holds: the fewest LLM calls if each text were an entry of its own."""
    return len({ask.spelling for ask in stream})


def ask_llm(ask: Ask) -> str:
    """The simulated LLM: slow, and never wrong."""
    time.sleep(ask.llm_seconds)
    return ask.entry.answer


def serve_without_cache(ask: Ask) -> Outcome:
    """Every question is a call."""
    began = time.perf_counter()
    reply = ask_llm(ask)
    return Outcome(ask, began, time.perf_counter(), hit=False, right=reply == ask.entry.answer)


@dataclass
class CachedAgent:
    """Get, on a miss build and set; the agent as it stands in front of the proxy."""

    cache: redis.Redis
    namespace: str
    ttl_seconds: int

    def serve(self, ask: Ask) -> Outcome:
        """Answers one question, with the proxy there or not."""
        began = time.perf_counter()
        cached = self.try_cache("FCA.GET", self.namespace, ask.spelling)
        if cached is not None:
            return Outcome(ask, began, time.perf_counter(), hit=True, right=cached == ask.entry.answer)
        looked_up = time.perf_counter()
        reply = ask_llm(ask)
        outcome = Outcome(ask, began, time.perf_counter(), hit=False, right=reply == ask.entry.answer)
        outcome.looked_up = looked_up
        outcome.set_began = outcome.ended
        kept = self.try_cache("FCA.SET", self.namespace, ask.spelling, reply, "EX", self.ttl_seconds)
        outcome.set_ended, outcome.stored = time.perf_counter(), kept is not None
        return outcome

    def try_cache(self, *command: str | int) -> str | None:
        """The cache's reply; None as well when the proxy itself is away."""
        try:
            reply: str | None = self.cache.execute_command(*command)
        except redis.RedisError:
            return None
        return reply


def replay(stream: Sequence[Ask], customers: int, serve: Callable[[Ask], Outcome]) -> Run:
    """Serves the stream in order by `customers` threads, each taking the next question when it is free."""
    waiting = iter(stream)
    turn = threading.Lock()
    outcomes: list[Outcome] = []

    def customer() -> None:
        while True:
            with turn:
                ask = next(waiting, None)
            if ask is None:
                return
            outcomes.append(serve(ask))

    # Daemons, so that Ctrl-C ends the program and not only the wait for them.
    threads = [threading.Thread(target=customer, daemon=True) for _ in range(customers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if len(outcomes) != len(stream):
        raise SystemExit(f"{len(stream) - len(outcomes)} customers failed; see above")
    return Run(seconds, outcomes)


def connect(host: str, port: int) -> redis.Redis:
    """A client for the proxy: any Redis client is one."""
    return redis.Redis(
        host=host,
        port=port,
        decode_responses=True,
        socket_connect_timeout=PROXY_TIMEOUT_SECONDS,
        socket_timeout=PROXY_TIMEOUT_SECONDS,
        # One more try at once, for a connection that the proxy's restart has closed. The default
        # waits and tries again several times, which is longer than an LLM call.
        retry=Retry(NoBackoff(), 1),
    )


def require_proxy(cache: redis.Redis, host: str, port: int) -> None:
    """SystemExit with what to do when no proxy answers; a warning when its Redis is away."""
    start = "start one with `cargo run --release`, or name it with --host and --port"
    try:
        if not cache.execute_command("FCA.AVAILABLE"):
            print("warning: the proxy's Redis is unreachable, so every question will be a miss", file=sys.stderr)
    except redis.ResponseError as error:
        raise SystemExit(f"{host}:{port} is not fca-proxy ({error}); {start}") from None
    except redis.RedisError:
        raise SystemExit(f"no fca-proxy at {host}:{port}; {start}") from None


def counters(cache: redis.Redis, namespace: str) -> dict[str, int]:
    """The proxy's own counts. Namespaces that its configuration does not name are counted together."""
    reply = cache.execute_command("FCA.STATS", namespace)
    # A map in RESP3, names and values in turn in RESP2.
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name: count for name, count in pairs if isinstance(count, int)}


def counted(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What was counted between two readings."""
    return {name: count - before.get(name, 0) for name, count in after.items()}


def report(stream: Sequence[Ask], plain: Run | None, cached: Run, price: float) -> str:
    """The table of both runs, and what the cache saved."""
    asked = len(stream)
    rows: list[tuple[str, Callable[[Run], str]]] = [
        ("requests", lambda run: f"{len(run.outcomes)}"),
        ("answered from the cache", lambda run: f"{run.hits}" if run is cached else "-"),
        ("hit ratio", lambda run: f"{run.hits / asked:.1%}" if run is cached else "-"),
        ("LLM calls", lambda run: f"{run.llm_calls}"),
        ("spent on LLM calls", lambda run: f"${run.llm_calls * price:.2f}"),
        ("latency p50", lambda run: for_people(run.latency(50))),
        ("latency p95", lambda run: for_people(run.latency(95))),
        ("latency p99", lambda run: for_people(run.latency(99))),
        ("time taken", lambda run: f"{run.seconds:.1f} s"),
    ]
    runs = [run for run in (plain, cached) if run is not None]
    titles = ["without cache", "with fca-proxy"] if plain else ["with fca-proxy"]
    lines = [f"{'':26}" + "".join(f"{title:>16}" for title in titles)]
    lines += [f"{name:26}" + "".join(f"{show(run):>16}" for run in runs) for name, show in rows]

    twice = cached.llm_calls - distinct_questions(stream)
    by_question, by_spelling = (1 - count(stream) / asked for count in (distinct_questions, distinct_spellings))
    lines += [
        "",
        f"saved: {cached.hits} LLM calls, ${cached.hits * price:.2f}",
        f"best hit ratio that this stream allows: {by_question:.1%} by question, {by_spelling:.1%} by exact spelling",
        f"LLM calls beyond one for each question: {twice} (customers who missed it together, or an outage)",
        f"wrong answers: {cached.wrong}, misses of an answer that was stored: {cached.late_misses}",
    ]
    return "\n".join(lines)


def for_people(seconds: float) -> str:
    """A latency for people."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="where the proxy listens (%(default)s)")
    parser.add_argument("--port", type=int, default=6380, help="(%(default)s)")
    parser.add_argument("--requests", type=positive, default=1500, help="length of the stream (%(default)s)")
    parser.add_argument("--customers", type=positive, default=40, help="how many ask at a time (%(default)s)")
    parser.add_argument("--llm-seconds", type=float, default=0.4, help="mean time of an LLM call (%(default)s)")
    parser.add_argument("--llm-price", type=float, default=0.012, help="dollars for an LLM call (%(default)s)")
    parser.add_argument("--zipf", type=float, default=1.0, help="how unequal questions are, 0 is not (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="names the stream (%(default)s)")
    parser.add_argument("--namespace", default="faq-replay", help="is flushed before and after (%(default)s)")
    parser.add_argument("--ttl", type=positive, default=600, help="seconds that an answer is kept (%(default)s)")
    parser.add_argument("--skip-uncached", action="store_true", help="leave out the run without the cache")
    return parser.parse_args()


def positive(text: str) -> int:
    """A number from 1 on, for argparse."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def main() -> int:
    """Both runs and their table; 1 when a reply was wrong."""
    options = arguments()
    cache = connect(options.host, options.port)
    require_proxy(cache, options.host, options.port)

    entries = load()
    stream = draw_stream(entries, options.requests, options.seed, options.zipf, options.llm_seconds)
    print(
        f"{len(stream)} questions from {options.customers} customers at a time: {distinct_questions(stream)} "
        f"different ones of the {len(entries)} in the corpus, typed in {distinct_spellings(stream)} ways"
    )
    print(
        f"simulated LLM: {options.llm_seconds:g} s a call on average, scaled down (real ones take 2 to 10 s), "
        f"${options.llm_price:g} a call\n"
    )

    plain = None if options.skip_uncached else replay(stream, options.customers, serve_without_cache)
    agent = CachedAgent(cache, options.namespace, options.ttl)
    try:
        cache.execute_command("FCA.FLUSH", options.namespace)
        before = counters(cache, options.namespace)
        cached = replay(stream, options.customers, agent.serve)
        counts = counted(before, counters(cache, options.namespace))
        cache.execute_command("FCA.FLUSH", options.namespace)
    except redis.RedisError as error:
        raise SystemExit(f"the proxy went away or refused: {error}") from None

    print(report(stream, plain, cached, options.llm_price))
    shown = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    print(f"FCA.STATS {options.namespace}, as the proxy counted: {shown or 'nothing'}")
    return 1 if cached.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
