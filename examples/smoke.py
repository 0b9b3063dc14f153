"""Runs the examples against a proxy that is already there, and fails when a number is off.

What must come out is computed from the stream itself: one customer at a time misses each question
once and hits every repetition, in any spelling; many customers at once may miss a question together,
but not once its answer is stored (while it is being stored anew, a miss is forgiven). The proxy has
to count the same.
Guarantees: ends with 0 only when every check was made and held; a part is skipped only when told to.
Leaves out starting a proxy, and any namespace of its configuration: it counts on being the only
client while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import redis

import faq_reply
import make_corpus
from faq.corpus import PATH, Entry, load, same_entry
from replay import (
    Ask,
    CachedAgent,
    Run,
    connect,
    counted,
    counters,
    distinct_questions,
    draw_stream,
    replay,
    require_proxy,
)

NAMESPACE = "faq-smoke"
TTL_SECONDS = 120
# A call that finds nobody listening is refused at once; far below any of the clients' patience.
AWAY_SECONDS_MAX = 0.5
ENTRIES_MIN = 300


class Checks:
    """What was claimed, and whether it held."""

    def __init__(self) -> None:
        self.made = 0
        self.failed = 0

    def equal(self, claim: str, found: object, expected: object) -> None:
        """The claim holds when both are equal."""
        self.holds(claim, found == expected, found if found == expected else f"{found}, expected {expected}")

    def holds(self, claim: str, held: bool, found: object) -> None:
        """The claim holds when it was found to."""
        self.made += 1
        self.failed += not held
        print(f"{'ok  ' if held else 'FAIL'} {claim}: {found}")


def check_corpus(checks: Checks, entries: list[Entry]) -> None:
    """The corpus is what the script writes, and its spellings are what they claim to be."""
    written = PATH.read_text(encoding="utf-8")
    checks.equal("the corpus is what make_corpus.py writes", written == make_corpus.text(), True)
    checks.holds(f"the corpus has at least {ENTRIES_MIN} entries", len(entries) >= ENTRIES_MIN, len(entries))
    strays = [text for entry in entries for text in entry.spellings if not same_entry(text, entry.question)]
    checks.equal("spellings that are another question", strays, [])


def check_one_customer(checks: Checks, cache: redis.Redis, entries: list[Entry]) -> None:
    """Without concurrency every number is known before."""
    stream = draw_stream(entries, requests=1200, seed=7, zipf=1.0, llm_seconds=0)
    distinct = distinct_questions(stream)
    run, counts = replayed(cache, stream, customers=1)
    checks.equal("one customer: hits", run.hits, len(stream) - distinct)
    checks.equal("one customer: wrong answers", run.wrong, 0)
    expected = {"gets": len(stream), "hits": len(stream) - distinct, "misses": distinct, "sets_stored": distinct}
    checks.equal("one customer: FCA.STATS", {name: counts.get(name) for name in expected}, expected)


def check_many_customers(checks: Checks, cache: redis.Redis, entries: list[Entry]) -> None:
    """Who misses a question together with others builds it too; who comes later must hit."""
    stream = draw_stream(entries, requests=1200, seed=8, zipf=1.0, llm_seconds=0.02)
    most = len(stream) - distinct_questions(stream)
    run, counts = replayed(cache, stream, customers=16)
    checks.holds("many customers: hits", 0 < run.hits <= most, f"{run.hits} of at most {most}")
    checks.equal("many customers: answers built and not stored", run.llm_calls - run.stored, 0)
    checks.equal("many customers: misses of a stored answer", run.late_misses, 0)
    checks.equal("many customers: wrong answers", run.wrong, 0)
    expected = {"gets": len(stream), "hits": run.hits, "sets_stored": run.stored}
    checks.equal("many customers: FCA.STATS", {name: counts.get(name) for name in expected}, expected)


def replayed(cache: redis.Redis, stream: list[Ask], customers: int) -> tuple[Run, dict[str, int]]:
    """One run on an empty namespace, and what the proxy counted of it."""
    cache.execute_command("FCA.FLUSH", NAMESPACE)
    before = counters(cache, NAMESPACE)
    run = replay(stream, customers, CachedAgent(cache, NAMESPACE, TTL_SECONDS).serve)
    return run, counted(before, counters(cache, NAMESPACE))


def check_entries(checks: Checks, cache: redis.Redis, entries: list[Entry]) -> None:
    """What lies in the store: an entry with a TTL, under the key that FCA.KEY names, and nothing after a flush."""
    entry = entries[0]
    cache.execute_command("FCA.SET", NAMESPACE, entry.question, entry.answer, "EX", TTL_SECONDS)
    key = cache.execute_command("FCA.KEY", NAMESPACE, entry.question)
    checks.equal("a plain GET of the entry's key", cache.get(key) == entry.answer, True)
    ttl = cache.ttl(key)
    checks.holds("its TTL", 0 < ttl <= TTL_SECONDS, ttl)
    cache.execute_command("FCA.FLUSH", NAMESPACE)
    checks.equal("after FCA.FLUSH", cache.execute_command("FCA.GET", NAMESPACE, entry.question), None)


def check_faq_reply(checks: Checks, host: str, port: int) -> None:
    """The FAQ reply asks the LLM once for a question in three spellings, and works without a proxy."""
    calls: list[str] = []

    def counting_llm(question: str) -> dict:
        calls.append(question)
        return {"answer": "By the app.", "confidence": 0.9}

    slow_llm, faq_reply.ask_llm = faq_reply.ask_llm, counting_llm
    try:
        cache = faq_reply.connect(host, port)
        # A question that nobody has cached, as this namespace may be in use.
        question = f"How do I block card {uuid.uuid4()}?"
        replies = [faq_reply.answer(cache, text) for text in (question, question.upper(), question[:-1] + "  ")]
        checks.equal("FAQ reply: LLM calls for one question in three spellings", len(calls), 1)
        checks.equal("FAQ reply: different answers among the three", [r for r in replies if r != replies[0]], [])
        cache.execute_command("FCA.DEL", "faq", question)

        seconds, reply = timed(lambda: faq_reply.answer(faq_reply.connect("127.0.0.1", closed_port()), question))
        checks.equal("FAQ reply without a proxy", reply["answer"], "By the app.")
        checks.holds("FAQ reply without a proxy, in time", seconds < AWAY_SECONDS_MAX, f"{seconds * 1000:.1f} ms")
    finally:
        faq_reply.ask_llm = slow_llm


async def check_recommendations(checks: Checks, cache: redis.Redis, host: str, port: int) -> None:
    """The endpoint keeps its replies by parameters in any order, and works without a proxy."""
    import httpx

    import recommendations_api as api

    api.BUILD_SECONDS = 0.01
    api.NAMESPACE = NAMESPACE

    async def ask(app: Any, query: str) -> tuple[int, str | None, bytes]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bank.example") as client:
            reply = await client.get(f"/recommendations?{query}")
        return reply.status_code, reply.headers.get("X-Cache"), reply.content

    app = api.create_app(host, port)
    first = await ask(app, "segment=student&goals=travel&goals=save&budget=150")
    second = await ask(app, "budget=150&goals=save&goals=travel&segment=student")
    other = await ask(app, "segment=student&goals=travel&goals=save&budget=5")
    checks.equal(
        "endpoint: first, reordered, other parameters",
        [r[:2] for r in (first, second, other)],
        [(200, "miss"), (200, "hit"), (200, "miss")],
    )
    checks.equal("endpoint: a hit is the stored body", second[2] == first[2], True)
    params = '{ "limit":3, "budget":150, "goals":["save","travel"], "segment":"student" }'
    kept = cache.execute_command("FCA.GET", NAMESPACE, params, "PARAMS")
    checks.equal("endpoint: another program finds the entry", kept == first[2].decode(), True)
    invalid = await ask(app, "segment=student&goals=travel&customer=4711")
    checks.equal("endpoint: an unknown parameter", invalid[0], 422)
    away = await ask(api.create_app("127.0.0.1", closed_port()), "segment=student&goals=travel")
    checks.equal("endpoint without a proxy", away[:2], (200, "miss"))
    cache.execute_command("FCA.FLUSH", NAMESPACE)


def timed(action: Callable[[], dict]) -> tuple[float, dict]:
    """How long an action took, and what it returned."""
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """All checks; 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="where the proxy listens (%(default)s)")
    parser.add_argument("--port", type=int, default=6380, help="(%(default)s)")
    parser.add_argument("--skip-api", action="store_true", help="leave out the endpoint, which needs fastapi and httpx")
    options = parser.parse_args()

    cache = connect(options.host, options.port)
    require_proxy(cache, options.host, options.port)
    if not cache.execute_command("FCA.AVAILABLE"):
        print("FAIL the proxy's upstream is unreachable", file=sys.stderr)
        return 1

    checks, entries = Checks(), load()
    check_corpus(checks, entries)
    check_one_customer(checks, cache, entries)
    check_many_customers(checks, cache, entries)
    check_entries(checks, cache, entries)
    check_faq_reply(checks, options.host, options.port)
    if options.skip_api:
        print("skipped: the endpoint (--skip-api)")
    else:
        asyncio.run(check_recommendations(checks, cache, options.host, options.port))
    print(f"{checks.made} checks, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
