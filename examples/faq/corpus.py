"""The FAQ corpus in memory, and the rule by which two spellings are one entry.

Guarantees: `normal_form` and `twin` follow the proxy's documented rule, so what is counted here is
what the proxy must count; no two entries of the corpus are the same question under that rule.
Leaves out how the corpus came to be, which is `make_corpus.py`'s, and hashing, which only the
proxy needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

PATH = Path(__file__).with_name("corpus.jsonl")


@dataclass(frozen=True)
class Entry:
    """One question, the ways in which customers type it, and what the agent answers."""

    id: str
    topic: str
    language: str
    # The id of the entry that asks the same in other words. A cache by normal form does not know
    # that, so a paraphrase is an entry like any other.
    paraphrase_of: str | None
    question: str
    # All of them are one entry for the proxy; the first is the question as it was written.
    spellings: tuple[str, ...]
    # The JSON text that is cached, byte for byte.
    answer: str


def load(path: Path = PATH) -> list[Entry]:
    """The corpus, in the order of the file."""
    with path.open(encoding="utf-8") as lines:
        return [parse(line) for line in lines]


def parse(line: str) -> Entry:
    """One line of the corpus."""
    record = json.loads(line)
    return Entry(
        id=record["id"],
        topic=record["topic"],
        language=record["language"],
        paraphrase_of=record["paraphrase_of"],
        question=record["question"],
        spellings=tuple(record["spellings"]),
        answer=json.dumps(record["answer"], ensure_ascii=False),
    )


def normal_form(text: str) -> str:
    """What the proxy hashes: lower case, and one space for each run of white space."""
    return " ".join(text.lower().split())


def twin(normal: str) -> str | None:
    """The other of the two forms, with and without a question mark, that are one entry."""
    if normal.endswith("?"):
        return normal.rstrip("?").rstrip() or None
    return f"{normal}?" if normal else None


def same_entry(first: str, second: str) -> bool:
    """Whether either text, once it is cached, answers the other."""
    first, second = normal_form(first), normal_form(second)
    return first == second or (twin(first) == second and twin(second) == first)
