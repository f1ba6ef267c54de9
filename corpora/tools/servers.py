#!/usr/bin/env python3
"""servers.py CACHE --incident BIN [NAME...]: real, healthy Go servers under load, cored and analysed; no finding may come of it.

Builds each server from its module (plain and with -ldflags="-s -w"), starts it on loopback with its data in a temporary
folder, loads it with a few threads, takes cores by gcore (of the living process) and by SIGABRT (GOTRACEBACK=crash, a new
process each time), runs `incident analyze` on each and prints one row per core. Executables stay in CACHE, cores do not:
a core with a finding of warning or above is kept, sparse, under --keep. Exit code 1 when there was one.

Not obvious: `go install pkg@version` refuses a module with replace directives (etcd), so every server is built as a
dependency of an empty module, which ignores them. gcore writes its file dense: it is copied sparsely before it is read.
Needs go, gcore (gdb) and the module proxy; kernel.core_pattern must be a plain file name.
"""
import argparse
import base64
import http.client
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HOST = "127.0.0.1"
LOADERS = 16  # threads
WARM_UP = 2.0  # seconds of load before a core is taken
PATIENCE = 60.0  # seconds: for a server to listen, for a death to be written
BUILDS = {"plain": "", "-s -w": "-s -w"}


def free_port():
    with socket.socket() as s:
        s.bind((HOST, 0))
        return s.getsockname()[1]


def get(port, *paths, body=None):
    """One keep-alive connection, each path once; body makes it a POST of JSON."""
    c = http.client.HTTPConnection(HOST, port, timeout=5)
    for path in paths:
        c.request("POST" if body else "GET", path, body=body, headers={"Content-Type": "application/json"} if body else {})
        c.getresponse().read()
    c.close()


# Every server: its package (and version, where the newest no longer builds), arguments(dir, ports) and one round
# of load(ports, n), repeated by every loader.


def nats_load(p, n):
    with socket.create_connection((HOST, p[0]), timeout=5) as s:
        s.recv(65536)
        s.sendall(b'CONNECT {"verbose":false}\r\nSUB load.* 1\r\n')
        for i in range(200):
            s.sendall(b"PUB load.%d 64\r\n%s\r\n" % (n % 7, b"x" * 64))
        s.sendall(b"PING\r\n")
        got = b""
        while b"PONG" not in got[-4096:]:
            more = s.recv(65536)
            if not more:
                return
            got += more
    get(p[1], "/varz", "/connz?subs=1", "/jsz")


def etcd_load(p, n):
    def b64(text):
        return base64.b64encode(text.encode()).decode()
    key = b64(f"load/{n % 500}")
    get(p[0], "/v3/kv/put", body=json.dumps({"key": key, "value": b64("v" * 200)}))
    get(p[0], "/v3/kv/range", body=json.dumps({"key": b64("load/"), "range_end": b64("load0"), "limit": 50}))
    get(p[0], "/v3/lease/grant", body=json.dumps({"TTL": 30}))
    get(p[0], "/metrics")


def dns_load(p, n):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        for i in range(100):
            s.sendto(b"%c%c\1\0\0\1\0\0\0\0\0\0\4load\7example\0\0\1\0\1" % (n % 256, i), (HOST, p[0]))
            s.recv(4096)
    get(p[1], "/health")


def etcd_args(d, p):
    client, peer = f"http://{HOST}:{p[0]}", f"http://{HOST}:{p[1]}"
    return ["--name", "one", "--data-dir", f"{d}/data", "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}"]


def written(path, text):
    pathlib.Path(path).write_text(text)
    return str(path)


SERVERS = {
    "nats-server": ("github.com/nats-io/nats-server/v2",
                    lambda d, p: ["-a", HOST, "-p", str(p[0]), "-m", str(p[1]), "-js", "-sd", f"{d}/js"], nats_load),
    "node_exporter": ("github.com/prometheus/node_exporter",
                      lambda d, p: [f"--web.listen-address={HOST}:{p[0]}"],
                      lambda p, n: get(p[0], "/", "/metrics")),
    "etcd": ("go.etcd.io/etcd/server/v3", etcd_args, etcd_load),
    "caddy": ("github.com/caddyserver/caddy/v2/cmd/caddy",
              lambda d, p: ["run", "--adapter", "caddyfile", "--config", written(f"{d}/Caddyfile", f"""{{
    admin {HOST}:{p[1]}
    auto_https off
}}
http://{HOST}:{p[0]} {{
    encode gzip
    templates
    handle /files/* {{
        root * {d}
        file_server browse
    }}
    reverse_proxy /config/* {HOST}:{p[1]} {{
        header_up Host {HOST}:{p[1]}
    }}
    respond "hello {{http.request.uri}}"
}}
""")],
              lambda p, n: get(p[0], f"/{n}", "/files/", "/files/Caddyfile", "/config/")),
    "godoc": ("golang.org/x/tools/cmd/godoc@v0.24.0", lambda d, p: [f"-http={HOST}:{p[0]}"],
              lambda p, n: get(p[0], "/pkg/", "/pkg/net/http/", "/src/net/http/server.go")),
    "coredns": ("github.com/coredns/coredns",
                lambda d, p: ["-conf", written(f"{d}/Corefile", f".:{p[0]} {{\n bind {HOST}\n whoami\n health {HOST}:{p[1]}\n}}\n")],
                dns_load),
}


def build(name, package, version, label, cache, go):
    """-> (executable, module version, Go version)"""
    folder = cache / re.sub(r"\W+", "-", f"{go}-{version}").strip("-") / label.replace(" ", "")
    exe = folder / name
    env = dict(os.environ, CGO_ENABLED="0")
    if not exe.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as d:
            for command in (["mod", "init", "servers"], ["get", f"{package}@{version}"],
                            ["build", f"-ldflags={BUILDS[label]}", "-o", str(exe), package]):
                r = subprocess.run([go, *command], cwd=d, env=env, capture_output=True, text=True)
                if r.returncode:
                    raise RuntimeError(f"go {command[0]} {package}: {r.stderr[-600:]}")
    said = subprocess.run([go, "version", "-m", str(exe)], env=env, capture_output=True, text=True).stdout
    module = next((m for m in re.findall(r"^\t(?:mod|dep)\t(\S+)\t(v\S+)", said, re.M)
                   if package == m[0] or package.startswith(m[0] + "/")), ("?", "?"))
    return exe, module[1], said.split("\n")[0].rsplit(" ", 1)[-1]


class Running:
    """A server under load; everything it wrote goes with it."""

    def __init__(self, exe, arguments, load, folder):
        self.folder = pathlib.Path(folder)
        self.ports = [free_port(), free_port()]
        self.load, self.rounds, self.failed, self.stop = load, 0, 0, threading.Event()
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([str(exe), *arguments(str(self.folder), self.ports)], cwd=self.folder,
                                        env=dict(os.environ, GOTRACEBACK="crash", HOME=str(self.folder)),
                                        stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection((HOST, self.ports[0]), timeout=1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.close()
                    raise RuntimeError("does not start: " + (self.folder / "log").read_text(errors="replace")[-600:]) from None
                time.sleep(0.1)
        self.threads = [threading.Thread(target=self.loader, args=(i,), daemon=True) for i in range(LOADERS)]
        for t in self.threads:
            t.start()

    def loader(self, n):
        while not self.stop.is_set():
            try:
                self.load(self.ports, n)
                self.rounds += 1
            except (OSError, http.client.HTTPException):
                self.failed += 1  # of course, once it dies
                time.sleep(0.05)
            n += LOADERS

    def gcore(self, to):
        subprocess.run(["gcore", "-o", str(self.folder / "raw"), str(self.process.pid)], check=True, capture_output=True)
        raw = next(self.folder.glob("raw.*"))
        subprocess.run(["cp", "--sparse=always", str(raw), str(to)], check=True)
        raw.unlink()

    def abort(self, to):
        self.process.send_signal(signal.SIGABRT)
        self.process.wait(PATIENCE)
        core = next(self.folder.glob("core*"), None)
        if core is None:
            raise RuntimeError("SIGABRT left no core")
        shutil.move(core, to)

    def close(self):
        self.stop.set()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


def analyse(incident, core, exe):
    """-> ((goroutines, locks, who wait on them), findings, sick, gaps, exit code, seconds)"""
    report = core.with_suffix(".json")
    start = time.monotonic()
    r = subprocess.run([str(incident), "analyze", str(core), str(exe), "--format", "json", "-o", str(report)],
                       capture_output=True, text=True)
    seconds = time.monotonic() - start
    try:
        said = json.loads(report.read_text())
    except (OSError, ValueError):
        return (None,) * 3, r.stderr.strip()[-200:] or "no report", True, None, r.returncode, seconds
    found = said["findings"] or []
    sick = [f for f in found if f["severity"] != "info"]
    for f in sick:
        print("   ", json.dumps({k: f.get(k) for k in ("kind", "severity", "strength", "title", "where", "why")}), file=sys.stderr)
    words = {}
    for f in found:
        key = f"{f['kind']}:{f['severity']}"
        words[key] = words.get(key, 0) + 1
    text = ", ".join(k if n == 1 else f"{n} {k}" for k, n in sorted(words.items())) or "none"
    locks = said["locks"] or []
    counts = len(said["goroutines"] or []), len(locks), sum(len(k["waiters"] or []) for k in locks)
    return counts, text, bool(sick), len(said["gaps"] or []), r.returncode, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cache", type=pathlib.Path)
    parser.add_argument("names", nargs="*", help=f"default: all of {' '.join(SERVERS)}")
    parser.add_argument("--incident", default="build/incident")
    parser.add_argument("--go", default="go")
    parser.add_argument("--version", default="latest", help="module version, NAME=VERSION,... or one for all")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for cores with a finding of warning or above")
    parser.add_argument("--table", type=pathlib.Path, help="rows are appended here too")
    o = parser.parse_args()
    versions = dict(v.split("=") for v in o.version.split(",") if "=" in v)
    common = o.version if not versions else "latest"
    bad = 0

    def row(*cells):
        line = "| " + " | ".join(str(c) for c in cells) + " |"
        print(line, flush=True)
        if o.table:
            with o.table.open("a") as f:
                f.write(line + "\n")

    row("program", "version", "go", "build", "core by", "goroutines", "locks", "waiters", "findings", "gaps", "exit", "seconds", "load rounds")
    row(*["---"] * 13)
    for name in o.names or SERVERS:
        package, arguments, load = SERVERS[name]
        package, _, pinned = package.partition("@")
        for label in BUILDS:
            try:
                exe, version, go = build(name, package, versions.get(name, pinned or common), label, o.cache.resolve(), o.go)
            except RuntimeError as e:
                print(f"{name}: {e}", file=sys.stderr)
                break
            for how in ("gcore", "SIGABRT"):
                for n in range(o.times):
                    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as d:
                        core = pathlib.Path(d) / "taken"
                        try:
                            server = Running(exe, arguments, load, d)
                        except RuntimeError as e:
                            print(f"{name}: {e}", file=sys.stderr)
                            continue
                        try:
                            time.sleep(WARM_UP)
                            done, failed = server.rounds, server.failed
                            getattr(server, "gcore" if how == "gcore" else "abort")(core)
                        except (RuntimeError, subprocess.SubprocessError) as e:
                            print(f"{name} {how}: {e}", file=sys.stderr)
                            continue
                        finally:
                            server.close()
                        counts, text, sick, gaps, code, seconds = analyse(o.incident, core, exe)
                        row(name, version, go, label, how, *counts, text, gaps, code, f"{seconds:.2f}", f"{done} ({failed} failed)")
                        if sick:
                            bad += 1
                            if o.keep:
                                o.keep.mkdir(parents=True, exist_ok=True)
                                stem = f"{name}.{label.replace(' ', '')}.{how}.{n}"
                                subprocess.run(["zstd", "-q", "-f", "-T1", str(core), "-o", str(o.keep / f"{stem}.core.zst")], check=False)
                                shutil.copy(exe, o.keep / f"{stem}.exe")
                                shutil.copy(core.with_suffix(".json"), o.keep / f"{stem}.json")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
