"""An FAQ reply with the cache around the LLM call: get, on a miss build and set.

Guarantees: the customer gets an answer whether the proxy and its Redis are there or not.
Leaves out the LLM, which `ask_llm` stands for.
"""

import argparse
import json
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def connect(host: str, port: int) -> redis.Redis:
    """A stock client, pointed at the proxy."""
    # One more try at once, for a connection that was closed while idle; the client's default waits
    # and tries again for longer than an LLM call takes.
    retry = Retry(NoBackoff(), 1)
    return redis.Redis(host=host, port=port, retry=retry, socket_connect_timeout=0.5, socket_timeout=1.0)


def answer(cache: redis.Redis, question: str) -> dict:
    """The answer to a question in any spelling; the LLM is asked once an hour for each question."""
    cached = try_cache(cache, "FCA.GET", "faq", question)
    if cached is not None:
        return json.loads(cached)
    reply = ask_llm(question)
    try_cache(cache, "FCA.SET", "faq", question, json.dumps(reply), "EX", 3600)
    return reply


def try_cache(cache: redis.Redis, *command: str | int) -> bytes | None:
    """The cache's reply; None as well when there is no cache."""
    try:
        return cache.execute_command(*command)
    except redis.RedisError:  # The proxy is away. While only its Redis is, the reply is None anyway.
        return None


def ask_llm(question: str) -> dict:
    """Stands for the slow and costly call."""
    time.sleep(1.5)
    return {"answer": f"Here is what our help pages say about: {' '.join(question.split())}", "confidence": 0.93}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6380)
    options = parser.parse_args()
    cache = connect(options.host, options.port)
    for question in ("How do I block my card?", "how do i  block my card", "HOW DO I BLOCK MY CARD?"):
        began = time.perf_counter()
        reply = answer(cache, question)
        print(f"{(time.perf_counter() - began) * 1000:8.1f} ms  {question:26} {reply['answer']}")
