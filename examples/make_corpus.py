"""Writes `faq/corpus.jsonl` from the hand-written questions and answers in `faq/topics/*.md`.

A topic file holds one `# Title`, help-page passages (`> Title: text`), and questions (`## …`), each
with its paraphrases (`~ …`), its answer, and numbered steps where there are any. This script adds
what an agent that answers from retrieved passages returns around the text (sources, confidence,
follow-ups, usage), and the spellings in which customers type a question.
Guarantees: the same topics and seed give the same bytes (`--check` compares), every spelling of an
entry is one entry for the proxy, and no two entries are.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faq.corpus import PATH, normal_form, same_entry, twin

TOPICS = Path(__file__).parent / "faq" / "topics"
SEED = 20261121
HELP_PAGES = "https://help.alderfinch.example"

# How many of a topic's passages an answer quotes; it spreads the sizes from 300 to 2,300 bytes.
PASSAGES_QUOTED = (0, 1, 1, 2, 2, 3, 4)
SPELLINGS_MIN, SPELLINGS_MAX = 5, 8


@dataclass
class Passage:
    """A piece of a help page, as retrieval finds it."""

    title: str
    text: str


@dataclass
class Question:
    """A question as written in a topic file, with its paraphrases and its answer."""

    text: str
    paraphrases: list[str] = field(default_factory=list)
    answer: str = ""
    steps: list[str] = field(default_factory=list)


@dataclass
class Topic:
    """One topic file."""

    name: str
    language: str
    title: str
    passages: list[Passage]
    questions: list[Question]


def main() -> int:
    """Writes the corpus, or with `--check` says whether the file is what would be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only, exit 1 on a difference")
    check = parser.parse_args().check

    corpus = text()
    if not check:
        PATH.write_text(corpus, encoding="utf-8", newline="\n")
        print(f"{PATH}: {corpus.count(chr(10))} entries, {len(corpus.encode())} bytes")
        return 0
    if PATH.read_text(encoding="utf-8") == corpus:
        print(f"{PATH}: up to date")
        return 0
    print(f"{PATH}: differs from faq/topics; run make_corpus.py", file=sys.stderr)
    return 1


def text() -> str:
    """The whole corpus, one JSON object a line."""
    rng = random.Random(SEED)
    topics = [read(path) for path in sorted(TOPICS.glob("*.md"))]
    records = [record for topic in topics for record in entries(topic, rng)]
    require_distinct([record["question"] for record in records])
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read(path: Path) -> Topic:
    """A topic file, or SystemExit with the line that is not understood."""
    # `lang-de.md` is a topic in German, any other file is in English.
    prefix, _, language = path.stem.partition("-")
    topic = Topic(path.stem, language if prefix == "lang" else "en", "", [], [])
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        mark, _, rest = line.partition(" ")
        if not line:
            continue
        if mark == "#":
            topic.title = rest
        elif mark == ">":
            title, _, body = rest.partition(": ")
            topic.passages.append(Passage(title.strip(), body))
        elif mark == "##":
            topic.questions.append(Question(rest))
        elif not topic.questions:
            raise SystemExit(f"{path}:{number}: text before the first question")
        elif mark == "~":
            topic.questions[-1].paraphrases.append(rest)
        elif re.fullmatch(r"\d+\.", mark):
            topic.questions[-1].steps.append(rest)
        elif topic.questions[-1].answer:
            raise SystemExit(f"{path}:{number}: a second answer to one question")
        else:
            topic.questions[-1].answer = line
    return topic


def entries(topic: Topic, rng: random.Random) -> Iterator[dict[str, Any]]:
    """The topic's questions, each followed by its paraphrases as entries of their own."""
    for number, question in enumerate(topic.questions, start=1):
        reply = answer(topic, question, rng)
        original = f"{topic.name}-{number:02}"
        for index, asked in enumerate([question.text, *question.paraphrases]):
            yield {
                "id": f"{original}-{'abcdefgh'[index - 1]}" if index else original,
                "topic": topic.title,
                "language": topic.language,
                "paraphrase_of": original if index else None,
                "question": asked,
                "spellings": spellings(asked, rng),
                "answer": reply,
            }


def answer(topic: Topic, question: Question, rng: random.Random) -> dict[str, Any]:
    """What the agent returns: the text, what it rests on, and how sure it is."""
    quoted = rng.choice(PASSAGES_QUOTED)
    sources = []
    for index, passage in enumerate(nearest(topic.passages, question)[: max(quoted, 1)]):
        source = {"title": passage.title, "url": f"{HELP_PAGES}/{topic.language}/{topic.name}#{slug(passage.title)}"}
        sources.append(source | {"passage": passage.text} if index < quoted else source)
    reply: dict[str, Any] = {"answer": question.answer}
    if question.steps:
        reply["steps"] = question.steps
    others = [other.text for other in topic.questions if other is not question]
    words = sum(len(source.get("passage", "").split()) for source in sources)
    return reply | {
        "sources": sources,
        "confidence": round(rng.uniform(0.81, 0.99), 2),
        "language": topic.language,
        "follow_ups": rng.sample(others, k=min(len(others), rng.randint(0, 3))),
        "usage": {"input_tokens": 900 + 2 * words, "output_tokens": 3 * len(question.answer.split())},
    }


def nearest(passages: list[Passage], question: Question) -> list[Passage]:
    """The passages that share most words with question and answer first, as a retriever orders them."""
    wanted = words_of(f"{question.text} {question.answer}")
    return sorted(passages, key=lambda passage: -len(wanted & words_of(f"{passage.title} {passage.text}")))


def words_of(text: str) -> set[str]:
    """The words that carry meaning: those of more than three letters."""
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}


def slug(title: str) -> str:
    """The anchor of a heading on a help page."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def spellings(question: str, rng: random.Random) -> list[str]:
    """The question as written, and some of the ways in which people type it."""
    bare = question.rstrip("?")
    gap = rng.randrange(max(question.count(" "), 1))
    found = [
        question.lower(),
        bare,
        bare.lower(),
        question.upper(),
        bare.title(),
        f"  {question}",
        f"{question} \n",
        f"{bare.lower()} ",
        spaced(question, gap, "  "),
        spaced(bare.lower(), gap, "   "),
        spaced(question, gap, "\t"),
        spaced(question, gap, "\u00a0"),
        spaced(question.lower(), gap, " \u00a0"),
        spaced(bare, gap, "\u202f"),
        spaced(question, gap, "\u3000"),
    ]
    # Upper case loses the Turkish dotless i and the German sharp s: such a text is another entry
    # for the proxy, as it is for Python's lower(), and so no spelling of this one.
    kept = [text for text in dict.fromkeys(found) if text != question and same_entry(text, question)]
    return [question, *rng.sample(kept, k=min(len(kept), rng.randint(SPELLINGS_MIN, SPELLINGS_MAX) - 1))]


def spaced(text: str, gap: int, space: str) -> str:
    """The text with its space number `gap` replaced."""
    words = text.split(" ")
    return " ".join(words[: gap + 1]) + (space + " ".join(words[gap + 1 :]) if words[gap + 1 :] else "")


def require_distinct(questions: list[str]) -> None:
    """SystemExit when two entries are one question for the proxy."""
    seen: dict[str, str] = {}
    for question in questions:
        normal = normal_form(question)
        for form in (normal, twin(normal)):
            if form in seen:
                raise SystemExit(f"one question for the proxy: {seen[form]!r} and {question!r}")
        seen[normal] = question


if __name__ == "__main__":
    sys.exit(main())
