#!/usr/bin/env python3
"""Writes src/command/table.rs from what a running Redis says of itself.

    redis-server --port 7999 --save "" --appendonly no &
    python3 tests/tools/command_table.py 7999 > src/command/table.rs

The server has to be Redis 7.0. Its COMMAND reply is asked for in RESP2; the facts that are kept of each command are its
name, arity, flags, ACL categories, first key, last key, step, and whether it has subcommands. The rows are sorted by
name, so that two runs give the same file. tests/commands.rs compares the file with a live server.
"""

import socket
import sys

HEADER = '''\
//! What Redis 7.0 says of its commands: written by tests/tools/command_table.py, not by hand.
//!
//! One row per command, sorted by name: name, arity, flags, ACL categories, first key, last key, step. The words are
//! those of the server's own COMMAND reply. Leaves out key specifications, tips and the subcommands themselves, and
//! says nothing of what the proxy does with a command: that is `kind.rs`.

use super::facts::{Facts, container, row};

/// The commands of Redis 7.0.
pub(super) const FACTS: [Facts; COUNT] = [
'''


class Reply:
    """The replies of one connection, decoded to Python's own types."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.read()

    def read(self):
        line = self.file.readline().rstrip(b"\r\n").decode()
        kind, rest = line[0], line[1:]
        if kind == "+":
            return rest
        if kind == ":":
            return int(rest)
        if kind == "$":
            return self.file.read(int(rest) + 2)[:-2].decode()
        if kind == "*":
            return [self.read() for _ in range(int(rest))]
        sys.exit(f"unexpected reply: {line}")


def version(reply):
    for line in reply.ask("INFO server").splitlines():
        if line.startswith("redis_version:"):
            return line.split(":")[1]
    sys.exit("no redis_version in INFO")


def line(entry):
    name, arity, flags, first, last, step, categories, _, _, subcommands = entry
    flags = " ".join(flags)
    categories = " ".join(category.removeprefix("@") for category in categories)
    if subcommands:
        assert (first, last, step) == (0, 0, 0), name
        return f'    container("{name.upper()}", {arity}, "{flags}", "{categories}"),'
    return f'    row("{name.upper()}", {arity}, "{flags}", "{categories}", {first}, {last}, {step}),'


def main():
    reply = Reply(int(sys.argv[1]))
    found = version(reply)
    if not found.startswith("7.0."):
        sys.exit(f"Redis 7.0 is needed, this is {found}")
    entries = sorted(reply.ask("COMMAND"))
    print(HEADER.replace("COUNT", str(len(entries))), end="")
    for entry in entries:
        print(line(entry))
    print("];")


main()
