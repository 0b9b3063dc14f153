"""The programs that are measured: started on free loopback ports, asked what they have used, ended.

Each is one process. What it used is the time that the kernel's scheduler accounted to all of its threads, user and
system; none of them ends a thread while it serves.
"""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
import urllib.request

# A program that does not listen by then has failed.
START_SECONDS_MAX = 10
# The link of the near cache comes up after the proxy listens.
NEAR_SECONDS_MAX = 5
# A program counts as quiet when it has used nothing for so long; one that never is, is read anyway.
QUIET_SECONDS = 0.02
QUIET_SECONDS_MAX = 1.0


class Placement:
    """Who runs on which core: load on one and servers on another, or everybody everywhere.

    `real_time` gives all of them SCHED_RR, so that other programs on the machine do not come between; that needs root.
    """

    def __init__(self, real_time):
        cores = sorted(os.sched_getaffinity(0))
        self.all, self.load, self.servers = set(cores), set(cores[:1]), set(cores[1:2]) or set(cores)
        self.real_time = real_time

    def enter(self, cores):
        """Makes this process, and what it starts from now on, run there."""
        os.sched_setaffinity(0, cores)
        if self.real_time:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Program:
    """A running program that listens on `port`."""

    def __init__(self, name, command, port, cores, placement, folder):
        self.name, self.port = name, port
        self.log = pathlib.Path(folder) / f"{name}-{port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                preexec_fn=lambda: placement.enter(cores),
            )
        self.pid = self.process.pid
        until = time.monotonic() + START_SECONDS_MAX
        while not listens(port):
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise SystemExit(f"{name} does not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def cpu_ns(self):
        """What all its threads have used since they began."""
        tasks = pathlib.Path(f"/proc/{self.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())

    def cpu_ns_when_quiet(self):
        """The same, once it has done what it was asked."""
        until, used = time.monotonic() + QUIET_SECONDS_MAX, self.cpu_ns()
        while time.monotonic() < until:
            time.sleep(QUIET_SECONDS)
            before, used = used, self.cpu_ns()
            # Timers tick on: a tenth of a millisecond is no work.
            if used - before < 100_000:
                break
        return used

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE).group(1)) * 1024

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Proxy(Program):
    """fca-proxy before a Redis."""

    def __init__(self, binary, redis, placement, folder, workers=1, near_bytes="64MiB", cores=None):
        port, self.admin_port = free_ports(2)
        config = pathlib.Path(folder) / f"fca-proxy-{port}.toml"
        config.write_text(
            f'listen = "127.0.0.1:{port}"\n'
            f'admin_listen = "127.0.0.1:{self.admin_port}"\n'
            f"workers = {workers}\n"
            f'upstream = {{ url = "redis://127.0.0.1:{redis.port}", timeout = "30s" }}\n'
            'log = { level = "warn" }\n'
            'defaults = { ttl = "1h" }\n'
            f"limits = {{ clients_max = {CLIENTS_MAX} }}\n"
            f'near_cache = {{ memory = "{near_bytes}", value_bytes_max = "2MiB", ttl_max = "1h" }}\n'
        )
        command = [binary, "--config", str(config)]
        super().__init__("fca-proxy", command, port, cores or placement.servers, placement, folder)

    def metric(self, name):
        """The value of a metric, of all its labels together; none if there is no such metric."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5) as page:
            values = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page.read().decode(), re.MULTILINE)
        return sum(map(float, values)) if values else None

    def near_is_up(self):
        """Whether the near cache serves, given a moment to come up."""
        until = time.monotonic() + NEAR_SECONDS_MAX
        while not (up := self.metric("fca_proxy_near_cache_up")) and time.monotonic() < until:
            time.sleep(0.05)
        return up == 1


# What a proxy and a Redis are told: somewhat more than the largest number of clients that is measured.
CLIENTS_MAX = 12_000


def start_redis(placement, folder, cores=None):
    (port,) = free_ports(1)
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command += ["--maxclients", str(CLIENTS_MAX), "--tcp-backlog", "4096", "--dir", str(folder)]
    return Program("redis-server", command, port, cores or placement.servers, placement, folder)


def start_twemproxy(redis, placement, folder):
    """A twemproxy before a Redis; none where it is not installed."""
    if not shutil.which("nutcracker"):
        return None
    port, admin_port = free_ports(2)
    config = pathlib.Path(folder) / f"twemproxy-{port}.yml"
    config.write_text(
        f"bench:\n  listen: 127.0.0.1:{port}\n  redis: true\n  timeout: 30000\n  backlog: 4096\n"
        f"  client_connections: {CLIENTS_MAX}\n  hash: fnv1a_64\n  distribution: ketama\n"
        f"  servers:\n   - 127.0.0.1:{redis.port}:1\n"
    )
    command = ["nutcracker", "-c", str(config), "-s", str(admin_port), "-o", str(config.with_suffix(".log"))]
    return Program("twemproxy", command, port, placement.servers, placement, folder)


@contextlib.contextmanager
def stopping(*programs):
    """Ends them, however what stands inside ends."""
    try:
        yield
    finally:
        for program in filter(None, programs):
            program.stop()


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def free_ports(count):
    """Ports that nobody listens on; somebody may come in between, and then the program does not start."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def versions(binary, twemproxy):
    """What is measured and on what, in one sentence."""
    cpu = re.search(r"^model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    system = os.uname()
    redis = re.search(r"v=(\S+)", said(["redis-server", "--version"])).group(1)
    parts = [
        f"{os.cpu_count()} cores of {cpu.group(1) if cpu else system.machine}",
        f"{system.sysname} {system.release}",
        said([binary, "--version"]).strip(),
        f"Redis {redis}",
    ]
    if twemproxy:
        named = re.search(r"nutcracker-(\S+)", said(["nutcracker", "--version"]))
        parts.append(f"twemproxy {named.group(1) if named else '?'}")
    return ", ".join(parts)


def said(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr
