"""A FastAPI endpoint whose parameters are cached as JSON: the PARAMS form of FCA.GET and FCA.SET.

`/recommendations?segment=student&goals=travel&budget=150` builds a list of products, slowly, and
keeps it for ten minutes under its parameters; the order of their names does not matter.
Guarantees: the event loop never waits for the cache, and the endpoint works without it; the reply's
`X-Cache` header says `hit` or `miss`.
Leaves out who asks: entries are shared by all customers, so nothing personal may be a parameter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import redis.asyncio as redis
import uvicorn
from fastapi import FastAPI, Query, Response
from pydantic import BaseModel, Field, field_validator
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

NAMESPACE = "recommendations"
TTL_SECONDS = 600
# What the slow part takes: a model call, a search, or a score over the catalogue.
BUILD_SECONDS = 0.8

Goal = Literal["save", "travel", "invest", "borrow", "insure"]
CATALOGUE: dict[Goal, list[tuple[str, int]]] = {
    "save": [("Instant access savings", 0), ("Fixed-term deposit, 12 months", 50), ("Savings plan", 25)],
    "travel": [("Premium account with travel insurance", 13), ("Currency account in dollars", 3)],
    "invest": [("ETF savings plan", 25), ("Securities account", 0), ("Advice on a fee basis", 200)],
    "borrow": [("Personal loan", 60), ("Car loan", 120), ("Overdraft", 0)],
    "insure": [("Purchase insurance", 4), ("Term life insurance", 18)],
}


class Wishes(BaseModel, extra="forbid"):
    """The parameters of the endpoint. Checked first, so that nobody can fill the cache with anything."""

    segment: Literal["student", "family", "business", "retired"]
    # One or several: `goals=save&goals=travel`.
    goals: list[Goal] = Field(min_length=1)
    # Euros a month.
    budget: int = Field(default=100, ge=0, le=10_000)
    limit: int = Field(default=3, ge=1, le=10)

    @field_validator("goals")
    @classmethod
    def in_one_order(cls, goals: list[Goal]) -> list[Goal]:
        """PARAMS puts the names in order, but the order of a list may mean something; here it does not."""
        return sorted(set(goals))


def create_app(host: str, port: int) -> FastAPI:
    """The application, with its cache at the proxy's address."""
    cache = redis.Redis(
        host=host,
        port=port,
        # One more try at once, for a connection that was closed while idle.
        retry=Retry(NoBackoff(), 1),
        socket_connect_timeout=0.5,
        socket_timeout=1.0,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await cache.aclose()

    app = FastAPI(title="Recommendations", lifespan=lifespan)

    @app.get("/recommendations")
    async def recommendations(wishes: Annotated[Wishes, Query()]) -> Response:
        params = wishes.model_dump_json()
        cached = await try_cache(cache, "FCA.GET", NAMESPACE, params, "PARAMS")
        if cached is not None:
            return json_response(cached, "hit")
        body = json.dumps(await build(wishes)).encode()
        await try_cache(cache, "FCA.SET", NAMESPACE, params, body, "PARAMS", "EX", TTL_SECONDS)
        return json_response(body, "miss")

    return app


async def try_cache(cache: redis.Redis, *command: str | bytes | int) -> bytes | None:
    """The cache's reply; None as well when the proxy is away."""
    try:
        reply: bytes | None = await cache.execute_command(*command)
    except redis.RedisError:
        return None
    return reply


def json_response(body: bytes, cache: Literal["hit", "miss"]) -> Response:
    """The body as it is or was stored: a hit is neither parsed nor written anew."""
    return Response(body, media_type="application/json", headers={"X-Cache": cache})


async def build(wishes: Wishes) -> dict[str, object]:
    """The slow part."""
    await asyncio.sleep(BUILD_SECONDS)
    fitting = [
        {"product": product, "goal": goal, "euros_a_month": price}
        for goal in wishes.goals
        for product, price in CATALOGUE[goal]
        if price <= wishes.budget
    ]
    return {"segment": wishes.segment, "recommendations": fitting[: wishes.limit]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="where the proxy listens (%(default)s)")
    parser.add_argument("--port", type=int, default=6380, help="(%(default)s)")
    parser.add_argument("--listen-port", type=int, default=8000, help="where this serves HTTP (%(default)s)")
    options = parser.parse_args()
    uvicorn.run(create_app(options.host, options.port), host="127.0.0.1", port=options.listen_port)
