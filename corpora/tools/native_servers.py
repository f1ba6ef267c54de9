#!/usr/bin/env python3
"""native_servers.py DIR --incident BIN [NAME...]: real, healthy C programs under load, cored and analysed; no finding may come of it.

python3, bash, postgres, nginx and redis as Debian packages them (--root DIR: where `dpkg -x` put those that are not installed). Each
runs under load, every process of it is cored alive by gcore, then some of them, one after the other, by SIGABRT; cores stay
in DIR/<program>/<what>/core with the path of their executable in `exe`. A second run analyses what is there (--again: cores anew).
One row per core on stdout: program, what, threads, malloc'ed bytes in use, findings. Exit code 1 when one of them is of warning or above.

Not obvious: postgres refuses to run as root (setpriv to its user); a process that handles SIGABRT itself (redis) prints a report of its own
first. gcore writes its file dense: it is copied sparsely. Needs gcore (gdb); kernel.core_pattern must be a plain file name.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

WARM_UP = 4.0  # seconds of load
PYTHON = r"""
import collections, json, random, re, sqlite3, threading, time, zlib
random.seed(7)
store, caches = {}, [collections.OrderedDict() for _ in range(4)]
def work(i):
    db = sqlite3.connect(":memory:"); db.execute("create table t(a integer primary key, b text)")
    n = 0
    while True:
        n += 1
        key = "k%d" % random.randrange(5000)
        store[key] = [random.random() for _ in range(random.randrange(60))]
        caches[i][key] = json.dumps({"a": store[key], "n": n}); len(caches[i]) > 500 and caches[i].popitem(last=False)
        re.sub(r"(\d)\.(\d+)", r"\2.\1", caches[i][key]); zlib.compress(caches[i][key].encode())
        db.execute("insert or replace into t values(?,?)", (random.randrange(3000), key * 20))
        if n % 97 == 0: db.execute("delete from t where a % 3 = 1"); store.pop(random.choice(list(store)), None)
        if n % 500 == 0: time.sleep(0.01)
for i in range(4): threading.Thread(target=work, args=(i,), daemon=True).start()
time.sleep(3600)
"""
BASH = r"""
declare -A seen; declare -a list; n=0
f() { local x=$1 y; y=${x//a/b}; seen[$y]=$((n % 977)); }
while :; do n=$((n + 1)); f "key$((RANDOM % 3000))a"; list[$((n % 500))]="value $n ${seen[key1b]}"
  [[ "x$n" =~ ^x([0-9]+)7$ ]] && unset "list[$((RANDOM % 500))]" "seen[key$((RANDOM % 3000))b]"
  case $n in *000) IFS=, read -r a b c <<< "$n,two,three";; esac; done
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nobody listens on {port}")


class Program:
    """One program: start(), load for a while, processes() to core."""

    def __init__(self, name, root):
        self.name, self.root, self.children, self.stop = name, root, [], threading.Event()
        self.home = pathlib.Path(tempfile.mkdtemp(prefix=f"native-{name}-"))
        self.home.chmod(0o777)

    def find(self, *paths):
        for base in (self.root, pathlib.Path("/")):
            for p in paths:
                for found in sorted(base.glob(p.lstrip("/"))):
                    return str(found)
        raise SystemExit(f"{self.name} is not installed: {paths}")

    def run(self, *argv, **more):
        libs = [str(p) for p in (self.root / "usr/lib").glob("*-linux-gnu")] if self.root != pathlib.Path("/") else []
        env = {**os.environ, "LD_LIBRARY_PATH": ":".join(libs)} if libs else dict(os.environ)
        unlimited = lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
        child = subprocess.Popen([str(a) for a in argv], cwd=self.home, env=env, preexec_fn=unlimited, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
        self.children.append(child)
        return child

    def loader(self, f):
        def loop():
            while not self.stop.is_set():
                try:
                    f()
                except OSError:
                    time.sleep(0.05)
        threading.Thread(target=loop, daemon=True).start()

    def start(self):
        getattr(self, "start_" + self.name)()

    def start_python3(self):
        self.main = self.run(self.find("/usr/bin/python3.*[0-9]", "/usr/bin/python3"), "-c", PYTHON)

    def start_bash(self):
        self.main = self.run(self.find("/bin/bash", "/usr/bin/bash"), "-c", BASH)

    def start_nginx(self):
        port = free_port()
        (self.home / "www").mkdir()
        for i in range(50):
            (self.home / "www" / f"f{i}").write_text("x" * 997 * i)
        (self.home / "conf").write_text(f"daemon off; worker_processes 2; pid {self.home}/pid; error_log {self.home}/err; events {{ worker_connections 64; }}\nhttp {{ access_log off; gzip on; gzip_types *;"
                                        f" client_body_temp_path {self.home}/b; proxy_temp_path {self.home}/p; fastcgi_temp_path {self.home}/f; uwsgi_temp_path {self.home}/u; scgi_temp_path {self.home}/s;"
                                        f" server {{ listen 127.0.0.1:{port}; root {self.home}/www; }} }}\n")
        self.main = self.run(self.find("/usr/sbin/nginx"), "-p", self.home, "-c", self.home / "conf")
        wait_port(port)
        count = iter(range(10**9))

        def get():
            try:
                urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/f{next(count) % 60}", headers={"Accept-Encoding": "gzip"}), timeout=5).read()
            except urllib.error.HTTPError:
                pass
        for _ in range(4):
            self.loader(get)

    def start_redis(self):
        port = free_port()
        self.main = self.run(self.find("/usr/bin/redis-server"), "--port", port, "--save", "", "--dir", self.home, "--io-threads", 2)
        wait_port(port)
        self.run(self.find("/usr/bin/redis-benchmark"), "-p", port, "-n", 100000000, "-c", 20, "-r", 10000, "-t", "set,lpush,lpop,sadd,hset,spop,zadd,zpopmin", "-d", 100)

    def start_postgres(self):
        at = pathlib.Path(self.find("/usr/lib/postgresql/*/bin/postgres")).parent
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        port = free_port()
        quiet = dict(check=True, cwd=self.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run([*user, at / "initdb", "-D", self.home / "db", "-A", "trust", "-U", "postgres"], **quiet)
        self.main = self.run(*user, at / "postgres", "-D", self.home / "db", "-p", port, "-h", "127.0.0.1", "-k", self.home)
        wait_port(port)
        time.sleep(1)
        where = ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
        subprocess.run([at / "pgbench", *where, "-i", "-s", "2", "postgres"], **quiet)
        self.run(at / "pgbench", *where, "-c", 4, "-j", 2, "-T", 3600, "postgres")
        script = self.home / "heavy.sql"
        script.write_text("select md5(string_agg(a.abalance::text, ',' order by a.aid)), count(distinct b.bid) from pgbench_accounts a join pgbench_branches b using (bid) where a.aid % 7 = (random()*6)::int;\n")
        self.run(at / "pgbench", *where, "-c", 1, "-n", "-f", script, "-T", 3600, "postgres")

    def processes(self):
        """(what, pid), the main process last."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit() and self.parent(entry) == self.main.pid:
                title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found.append(("".join(c if c.isalnum() else "-" for c in title.split(":", 1)[-1].strip())[:32].strip("-") or "child", int(entry.name)))
        seen = {}
        for what, pid in sorted(found, key=lambda x: x[1]):
            seen.setdefault(what.split("-idle")[0].split("-127")[0], (what, pid))
        return [*seen.items(), ("main", ("main", self.main.pid))]

    @staticmethod
    def parent(entry):
        try:
            return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            return 0

    def close(self):
        self.stop.set()
        for child in reversed(self.children):
            child.kill()
            child.wait()
        shutil.rmtree(self.home, ignore_errors=True)


def keep(core, folder, exe):
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--sparse=always", core, folder / "core"], check=True)
    os.unlink(core)
    (folder / "exe").write_text(exe)


def take(name, root, out):
    program = Program(name, root)
    try:
        program.start()
        time.sleep(WARM_UP)
        for label, (_, pid) in program.processes():
            exe = os.readlink(f"/proc/{pid}/exe")
            with tempfile.TemporaryDirectory(dir=out) as t:
                subprocess.run(["gcore", "-o", f"{t}/c", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                if (made := pathlib.Path(t) / f"c.{pid}").exists():
                    keep(made, out / name / f"{label}-gcore", exe)
        picked = [p for p in program.processes()]
        picked = [picked[len(picked) // 2 - 1], picked[-1]] if len(picked) > 2 else picked[-1:]
        for label, (_, pid) in picked:
            exe, cwd = os.readlink(f"/proc/{pid}/exe"), pathlib.Path(os.readlink(f"/proc/{pid}/cwd"))
            os.kill(pid, signal.SIGABRT)
            for _ in range(200):
                time.sleep(0.1)
                made = [p for p in (cwd / "core", cwd / f"core.{pid}") if p.exists()]
                if made and not pathlib.Path(f"/proc/{pid}/maps").exists() or made and not pathlib.Path(f"/proc/{pid}/maps").read_text():
                    keep(made[0], out / name / f"{label}-abort", exe)
                    break
    finally:
        program.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("names", nargs="*", default=["python3", "bash", "postgres", "nginx", "redis"])
    p.add_argument("--incident", default="build/incident")
    p.add_argument("--root", type=pathlib.Path, default=pathlib.Path("/"))
    p.add_argument("--again", action="store_true")
    p.add_argument("-v", action="store_true", help="every finding, of info too")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    bad = 0
    print("| program | core | threads | findings of warning or above | of info |\n|---|---|---|---|---|")
    for name in a.names:
        if a.again or not (a.out / name).exists():
            shutil.rmtree(a.out / name, ignore_errors=True)
            take(name, a.root, a.out)
        for core in sorted((a.out / name).glob("*/core")):
            done = subprocess.run([a.incident, "analyze", core, (core.parent / "exe").read_text(), "--format", "json"], capture_output=True, timeout=300)
            report = json.loads(done.stdout)
            found = [f for f in report["findings"] if not f["kind"].startswith("crash.")]
            alarms = [f for f in found if f["severity"] != "info"]
            bad += len(alarms)
            print(f"| {name} | {core.parent.name} | {len(report['threads'] or [])} | {', '.join(f['kind'] for f in alarms) or 'none'} | {len(found) - len(alarms)} |", flush=True)
            for f in found if a.v else alarms:
                print(f"    {f['severity']} {f['strength']} {f['kind']}: {f['title']} | {f['why']}", file=sys.stderr)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
