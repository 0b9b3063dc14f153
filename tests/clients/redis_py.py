#!/usr/bin/env python3
"""redis-py's own test suite, against a Redis and against the same Redis through the proxy.

Every test that passes on Redis has to pass through the proxy, but for those that redis_py_exceptions.txt lists, each
with its reason. Fails on a test that is not listed and fails, and on a listed one that passes. What fails is run a
second time alone before it counts: some of these tests race with themselves on a busy machine.

Needs redis-server, a built proxy, and pip with a registry; keeps what it installs under target/.

    cargo build && tests/clients/redis_py.py [--protocol 2|3] [--binary PROXY] [-k EXPRESSION]

"""

import argparse
import contextlib
import fnmatch
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

# The newest release whose source distribution holds its tests and that was tried with Redis 7.0.
VERSION = "6.4.0"
# Pinned, so that a suite that fails tells of the proxy and not of pytest.
TOOLS = """
    pytest==9.0.2 pytest-asyncio==1.3.0 pytest-timeout==2.4.0 mock==5.2.0 packaging numpy redis-entraid==1.0.0
""".split()

# Left out: cluster, sentinel, TLS and modules, which the suite tests against servers of their own, and the files that
# need no server.
FILES = """
    test_commands test_pipeline test_pubsub test_scripting test_function test_lock test_encoding test_monitor
    test_connection test_connection_pool test_multiprocessing test_cache test_credentials test_retry
    test_asyncio/test_commands test_asyncio/test_pipeline test_asyncio/test_pubsub test_asyncio/test_scripting
    test_asyncio/test_lock test_asyncio/test_encoding test_asyncio/test_monitor test_asyncio/test_connection
    test_asyncio/test_connection_pool test_asyncio/test_credentials test_asyncio/test_cwe_404 test_asyncio/test_retry
""".split()
MARKS = "not onlycluster and not redismod and not ssl and not cp_integration and not graph"

# A test that hangs fails alone: the suite's own way to end some of them ends pytest. On a busy machine 5 s are no hang.
PLUGIN = """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.timeout(60, method="signal"), append=False)
"""

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "target" / "redis-py"
EXCEPTIONS = Path(__file__).with_name("redis_py_exceptions.txt")
# A suite that ran fewer tests than this was not found, or gave up: it proves nothing.
PASSED_MIN = 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=["2", "3"], action="append", help="default: both, one after the other")
    parser.add_argument("-k", metavar="EXPRESSION", help="only the tests that pytest selects by this")
    built = ROOT / "target" / "debug" / "fca-proxy"
    parser.add_argument("--binary", type=Path, default=built, help="default: %(default)s")
    options = parser.parse_args()
    # The servers end with this program, however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    binary = options.binary.resolve()
    if not binary.exists():
        sys.exit(f"{binary} is missing: cargo build")
    suite = install()
    protocols = options.protocol or ["2", "3"]
    faults = [fault for protocol in protocols for fault in compare(suite, binary, protocol, options.k)]
    for fault in faults:
        print(fault)
    print(f"redis-py {VERSION}: {'no' if not faults else len(faults)} faults")
    sys.exit(1 if faults else 0)


def install():
    """The folder of the suite, with what it needs installed beside it."""
    HOME.mkdir(parents=True, exist_ok=True)
    suite = HOME / f"redis-{VERSION}"
    # The last thing that pip leaves behind: without it an installation was broken off.
    installed = HOME / "installed"
    if not installed.exists() or installed.read_text().split() != TOOLS:
        subprocess.run([sys.executable, "-m", "venv", HOME / "venv"], check=True)
        subprocess.run([python(), "-m", "pip", "install", "--quiet", *TOOLS], check=True)
        installed.write_text("\n".join(TOOLS))
    if not suite.exists():
        download = [python(), "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*download, "--dest", HOME, f"redis=={VERSION}"], check=True)
        with tarfile.open(HOME / f"redis-{VERSION}.tar.gz") as archive:
            archive.extractall(HOME)
    (HOME / "patience.py").write_text(PLUGIN)
    return suite


def python():
    return HOME / "venv" / "bin" / "python"


def compare(suite, binary, protocol, expression):
    """What is wrong over this protocol, a line for each fault."""
    with server() as port:
        direct = run(suite, port, protocol, [*select(expression), *paths()])
    with server() as port, proxy(binary, port) as proxied_port:
        proxied = run(suite, proxied_port, protocol, [*select(expression), *paths()])
    differing = {test for test, outcome in direct.items() if outcome == "passed" and proxied.get(test) != "passed"}
    if differing:
        with server() as port, proxy(binary, port) as proxied_port:
            again = run(suite, proxied_port, protocol, sorted(differing))
        differing -= {test for test, outcome in again.items() if outcome == "passed"}
    for name, outcomes in [("redis", direct), ("proxy", proxied)]:
        counts = {kind: list(outcomes.values()).count(kind) for kind in ("passed", "failed", "skipped")}
        print(f"RESP{protocol} {name}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    exceptions = listed(protocol)
    matches = lambda test, pattern: fnmatch.fnmatchcase(test, re.sub(r"\[(?!\*)", "[[]", pattern))
    faults = [
        f"RESP{protocol} passes on Redis, fails through the proxy: {test}"
        for test in sorted(differing)
        if not any(matches(test, pattern) for pattern in exceptions)
    ]
    if expression is None:
        faults += [
            f"RESP{protocol} is listed as an exception, but passes or is gone: {pattern}"
            for pattern in exceptions
            if not any(matches(test, pattern) for test in differing)
        ]
        passed = list(proxied.values()).count("passed")
        if passed < PASSED_MIN:
            faults.append(f"RESP{protocol}: only {passed} tests passed through the proxy")
    return faults


def select(expression):
    return [] if expression is None else ["-k", expression]


def paths():
    return [f"tests/{name}.py" for name in FILES]


def run(suite, port, protocol, arguments):
    """The outcome of each test, by its node id: passed, failed or skipped."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = [python(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1"]
        command += ["-o", "addopts=", "--no-header", "--tb=short", "-p", "patience", "-W", "ignore", "-m", MARKS]
        command += [f"--redis-url=redis://127.0.0.1:{port}/0", f"--protocol={protocol}", f"--junitxml={report}"]
        # No such server: what wants modules is skipped.
        command += ["--redis-mod-url=redis://127.0.0.1:1"]
        environment = {**os.environ, "PYTHONPATH": f"{suite}:{HOME}"}
        log = HOME / f"run-{protocol}-{port}.log"
        with log.open("w") as output:
            subprocess.run([*command, *arguments], cwd=suite, env=environment, stdout=output, stderr=subprocess.STDOUT)
        if not report.exists():
            sys.exit(f"pytest wrote no report:\n{log.read_text()[-4000:]}")
        print(f"(the whole output: {log})", file=sys.stderr)
        outcomes = {}
        for case in ElementTree.parse(report).iter("testcase"):
            outcome = "failed" if case.find("failure") is not None or case.find("error") is not None else "passed"
            outcome = "skipped" if case.find("skipped") is not None else outcome
            test = node_id(case)
            # A test whose teardown fails is reported twice.
            if outcomes.get(test) != "failed":
                outcomes[test] = outcome
        return outcomes


def node_id(case):
    file = case.get("file")
    module = file.removesuffix(".py").replace("/", ".")
    classes = case.get("classname").removeprefix(module).strip(".")
    return "::".join(part for part in (file, classes.replace(".", "::"), case.get("name")) if part)


def listed(protocol):
    """The tests that may fail over this protocol: a line names one, `2:` or `3:` before it limits it to a protocol."""
    patterns = []
    for line in EXCEPTIONS.read_text().splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        pattern, _, reason = line.partition(" # ")
        if not reason:
            sys.exit(f"{EXCEPTIONS.name}: no reason given: {line}")
        limit, colon, rest = pattern.strip().partition(":")
        limited = limit in ("2", "3") and colon
        if not limited or limit == protocol:
            patterns.append(rest if limited else pattern.strip())
    return patterns


@contextlib.contextmanager
def server():
    """The port of a fresh Redis."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", directory]
        # Some tests ask for it.
        command += ["--enable-debug-command", "yes"]
        with process(command, {}) as child:
            wait_for(child, port)
            yield port


@contextlib.contextmanager
def proxy(binary, upstream_port):
    """The port of a fresh proxy in front of the Redis at this port."""
    port = free_port()
    command = [str(binary), "--listen", f"127.0.0.1:{port}", "--admin-listen", "127.0.0.1:0", "--workers", "2"]
    command += ["--upstream", f"redis://127.0.0.1:{upstream_port}"]
    # A busy machine is no outage.
    patience = {"FCA_PROXY_UPSTREAM__TIMEOUT": "10s", "FCA_PROXY_UPSTREAM__DEAD_AFTER": "10s"}
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        # Some tests ask for DEBUG, which is not for every client.
        config.write('[upstream]\nadmin_commands = ["debug"]\n')
        config.flush()
        with process([*command, "--config", config.name], patience) as child:
            wait_for(child, port)
            yield port


@contextlib.contextmanager
def process(command, environment):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # Deaf to the proxy's settings in the environment of whoever runs this.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FCA_PROXY_")}
    child = subprocess.Popen(command, env={**inherited, **environment}, **quiet)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def wait_for(child, port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if child.poll() is not None:
            sys.exit(f"{child.args[0]} ended with {child.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(16).startswith(b"+PONG"):
                return
        time.sleep(0.05)
    sys.exit(f"{child.args[0]} does not answer")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
