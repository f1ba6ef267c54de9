"""triage on real cores: every one accounted for, whatever it does to its reader; kill and resume; shards; collect as a handler."""
from __future__ import annotations

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time

import jsonschema
import pytest
from support import BIN, CORPORA, ROOT, incident, report

SUMMARY_SCHEMA = json.loads((ROOT / "docs" / "incident-triage-1.schema.json").read_text())


def part(name: str) -> dict:
    return {"definitions": SUMMARY_SCHEMA["definitions"], "$ref": f"#/definitions/{name}"}


MODES = ("nilderef", "orphan", "overflow", "fatalmap", "healthy")


def bundled(count: int) -> list[pathlib.Path]:
    found = [c for mode in MODES for c in sorted(CORPORA.glob(f"go1.*/*.{mode}/core"))]
    assert len(found) >= 20
    return found[:count]


def fake(folder: pathlib.Path, extra: str) -> pathlib.Path:
    """An analyser that does to some cores what a hostile core might do to a real one."""
    script = folder / "analyser"
    script.write_text(f"#!/bin/bash\ncase $2 in\n{extra}\nesac\nexec {BIN} \"$@\"\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


@pytest.fixture
def cores(tmp_path: pathlib.Path) -> pathlib.Path:
    """Thirty cores: real ones by link, cut ones, junk, and three whose reader is made to suffer."""
    folder = tmp_path / "cores"
    (folder / "deep" / "er").mkdir(parents=True)
    for i, core in enumerate(bundled(20)):
        place = folder / ("deep/er" if i % 3 else ".") / f"core.svc{i}.1000.{'0' * 32}.{1000 + i}.{1753660800 + i}000000"
        os.symlink(core, place)
    source = bundled(1)[0]
    for i, size in enumerate((0, 17, 64, 5000, 300_000)):
        with open(source, "rb") as f:
            (folder / f"core.cut{i}").write_bytes(f.read(size))
    (folder / "core.junk").write_bytes(b"\x7fELF" + os.urandom(4096))
    for name in ("hang", "eat", "die"):
        with open(source, "rb") as f:
            (folder / f"core.{name}").write_bytes(f.read(400_000) + name.encode())
    (folder / "notes.txt").write_text("no core")
    (folder / "program").write_bytes(pathlib.Path("/bin/true").read_bytes())
    return folder


SUFFER = """  *core.hang) sleep 1000 & sleep 1000;;
  *core.eat) exec python3 -c 'x = [bytearray(1 << 20) for _ in range(4000)]; import time; time.sleep(1000)';;
  *core.die) kill -SEGV $$;;"""


def lines(store: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in store.read_text().splitlines() if line.strip()]


def test_every_core_is_accounted_for(cores: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store, summary = tmp_path / "s.ndjson", tmp_path / "s.json"
    run = incident("triage", cores, "--store", store, "--jobs", 3, "--timeout", "15s", "--memory", "600M", "--analyzer", fake(tmp_path, SUFFER),
                   "--json", summary, timeout=300)
    assert run.code == 1, run.err
    records = {pathlib.Path(r["path"]).name: r for r in lines(store)}
    expected = {p.name for p in cores.rglob("core.*")}
    assert set(records) == expected and len(lines(store)) == len(expected)
    assert records["core.hang"]["outcome"] == "out-of-time"
    assert records["core.eat"]["outcome"] == "out-of-memory", records["core.eat"]
    assert records["core.die"]["outcome"] == "died"
    assert records["core.junk"]["outcome"] == "unusable"
    assert all(r["outcome"] == "analysed" for n, r in records.items() if n.startswith("core.svc"))
    result = json.loads(summary.read_text())
    jsonschema.validate(result, part("summary"))
    for record in records.values():
        jsonschema.validate(record, part("record"))
    total = result["totals"]
    assert total["cores"] == len(expected) == total["analysed"] + sum(total["not_analysed"].values()) + total["copies"]
    named = {p for c in result["clusters"] for v in c["variants"] for p in v["paths"]} | set(result["quiet"]) | {
        n["path"] for n in result["not_analysed"]}
    assert {pathlib.Path(p).name for p in named} == expected
    assert "killed at the time limit" in run.out and "core.hang" in run.out


def test_killed_and_resumed(cores: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store = tmp_path / "s.ndjson"
    started = tmp_path / "started"
    started.mkdir()
    stuck = fake(tmp_path, f"  *) touch {started}/$$; [ $(ls {started} | wc -l) -le 12 ] || exec sleep 1000;;")
    process = subprocess.Popen([BIN, "triage", cores, "--store", store, "--jobs", "2", "--analyzer", stuck], stdout=subprocess.DEVNULL)
    deadline = time.time() + 60
    while time.time() < deadline and (not store.exists() or store.read_text().count("\n") < 8):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {r["digest"] for r in lines(store)}
    assert 8 <= len(before) < 29
    with store.open("a") as f:
        f.write('{"schema":"incident-triage/1","digest":"torn')
    assert incident("triage", cores, "--store", store).code == 2, "an existing store needs --resume"
    run = incident("triage", cores, "--store", store, "--resume", "--jobs", 2, "--format", "json", timeout=300)
    assert run.json["totals"]["known_before"] == len(before)
    whole = [line for line in store.read_text().splitlines() if "torn" not in line]
    keys = [(r["digest"], r["path"]) for r in map(json.loads, whole)]
    assert len(keys) == len(set(keys)) == 29
    assert run.json["totals"]["cores"] == 29


def test_shards_and_merge(cores: pathlib.Path, tmp_path: pathlib.Path) -> None:
    stores = [tmp_path / f"{k}.ndjson" for k in (1, 2, 3)]
    for k, store in enumerate(stores, 1):
        incident("triage", cores, "--shard", f"{k}/3", "--store", store, timeout=300)
    parts = [{r["path"] for r in lines(s)} for s in stores]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 29
    merged = tmp_path / "all.ndjson"
    run = incident("triage", "merge", *stores, "--store", merged, "--format", "json")
    assert run.json["totals"]["cores"] == 29 == len(lines(merged))
    whole = incident("triage", cores, "--format", "json", timeout=300).json
    assert [c["id"] for c in run.json["clusters"]] == [c["id"] for c in whole["clusters"]]


def test_compressed_copies_and_news(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    first, second = [c for c in bundled(60) if "dwarf.nilderef" in str(c)][:2]
    subprocess.run(["zstd", "-q", "-1", first, "-o", folder / "core.1.zst"], check=True)
    subprocess.run(["cp", "--sparse=always", second, folder / "core.2"], check=True)
    subprocess.run(["cp", "--sparse=never", second, folder / "core.3"], check=True)
    run = incident("triage", folder, "--sysroot", first.parent.parent, "--sysroot", second.parent.parent, "--format", "json", "--store", tmp_path / "old")
    assert run.json["totals"]["copies"] == 1 and run.json["totals"]["analysed"] == 2
    assert len(run.json["clusters"]) == 1 and run.json["clusters"][0]["cores"] == 2
    other = next(CORPORA.glob("go1.24/dwarf.orphan/core"))
    run = incident("triage", folder / "core.2", other, "--baseline", tmp_path / "old", "--sysroot", second.parent.parent, "--format", "json")
    assert {c["kind"]: c["new"] for c in run.json["clusters"]} == {"crash.panic": False, "go.mutex.orphaned": True}


def test_links_to_folders_are_followed_where_they_are_named(tmp_path: pathlib.Path) -> None:
    core, = bundled(1)
    (tmp_path / "host").mkdir()
    os.symlink(core, tmp_path / "host" / "core.1")
    (tmp_path / "all").mkdir()
    link = tmp_path / "all" / "host"
    os.symlink(tmp_path / "host", link)

    def triage(*paths: pathlib.Path) -> tuple[int, list[str]]:
        found = incident("triage", *paths, "--sysroot", core.parent.parent, "--format", "json").json
        return len(found["clusters"]), found["complaints"]

    assert triage(link) == (1, [])
    assert triage(tmp_path / "all") == (0, [f"{link}: a link to a folder, not followed: name it to have it searched"])
    assert triage(tmp_path / "all", tmp_path / "host") == (1, []), "it leads to what is searched anyway"
    os.symlink(tmp_path, tmp_path / "all" / "up")
    assert triage(tmp_path) == (1, []), "nor round in circles"


def test_signature_and_runbook() -> None:
    cases = sorted(CORPORA.glob("go1.*/*.nilderef/core"))
    signatures = {json.loads(incident("signature", c, "--format", "json").out)["signature"]["id"] for c in cases}
    assert len(cases) > 20 and len(signatures) == 1, "one fault, twelve Go versions, stripped and not"
    run = incident("signature", cases[0])
    assert "main.(*account).ownerName" in run.out and "the same in every program" in run.out
    run = incident("analyze", cases[0], "--runbook", ROOT / "docs/examples/runbook.toml")
    assert "An uncaught Go panic" in run.out
    run = incident("analyze", cases[0], "--runbook", ROOT / "docs/examples/runbook.toml", "--format", "json")
    assert run.json["findings"][0]["runbook"]["steps"]


def collect(folder: pathlib.Path, pid: int, core: pathlib.Path, *options: str, limit: int | None = None) -> subprocess.CompletedProcess:
    def bound() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with core.open("rb") as source:
        feed = subprocess.Popen(["cat"], stdin=source, stdout=subprocess.PIPE)
        done = subprocess.run([BIN, "collect", f"--dir={folder}", "--min-free", "1M", *options, str(pid), "11", "1753660800", "my svc", "--odd"],
                              stdin=feed.stdout, capture_output=True, timeout=120, preexec_fn=bound)
        feed.stdout.close()
        feed.wait(timeout=30)
    return done


def test_collect_keeps_core_and_executable(tmp_path: pathlib.Path) -> None:
    exe = tmp_path / "sleeper"
    shutil.copy("/bin/sleep", exe)
    child = subprocess.Popen([exe, "100"])
    core = bundled(1)[0]
    done = collect(tmp_path / "d", child.pid, core)
    child.kill()
    child.wait()
    assert done.returncode == 0, done.stderr
    (packed,) = (tmp_path / "d").glob("core.*.zst")
    assert packed.name.startswith("core.my\\x20svc\\x20--odd.")
    assert subprocess.run(["zstd", "-dc", packed], capture_output=True).stdout == core.read_bytes()
    about = json.loads(packed.with_suffix(".json").read_text())
    assert about["cut"] is None and about["pid"] == child.pid
    kept = packed.with_suffix(".exe")
    assert kept.read_bytes() == exe.read_bytes()
    build_id = next(f["build_id"] for f in about["files"] if f["executable"])
    assert (tmp_path / "d" / ".build-id" / build_id[:2] / build_id[2:]).read_bytes() == exe.read_bytes()
    assert report("crash", packed, core.parent.parent / f"exe.{core.parent.name.split('.')[0]}")["crash"]["kind"] == "go-panic"


@pytest.mark.parametrize("how", ["bound", "full"])
def test_collect_lets_go(tmp_path: pathlib.Path, how: str) -> None:
    core = bundled(1)[0]
    assert core.stat().st_size > 30 << 20
    noise = tmp_path / "noise"  # random bytes behind the real core's front: packing does not help
    noise.write_bytes(core.read_bytes()[:1 << 20] + os.urandom(48 << 20))
    begun = time.time()
    if how == "bound":
        done = collect(tmp_path / "d", os.getpid(), noise, "--max-core", "20M")
    else:
        done = collect(tmp_path / "d", os.getpid(), noise, limit=20 << 20)
    assert done.returncode == 3 and time.time() - begun < 60, done.stderr
    (packed,) = (tmp_path / "d").glob("core.*.zst")
    kept = subprocess.run(["zstd", "-dc", packed], capture_output=True)
    assert kept.returncode == 0 and len(kept.stdout) >= 8 << 20, "what was kept is whole frames"
    assert noise.read_bytes().startswith(kept.stdout)
    assert json.loads(packed.with_suffix(".json").read_text())["cut"]
    assert not list((tmp_path / "d").glob("*.partial"))
    assert report("crash", packed)["input"]["core"]["truncated"]


def test_collect_removes_the_oldest(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for i in range(3):
        old = folder / f"core.old{i}.0.{'0' * 32}.{i}.1000000000000000.zst"
        old.write_bytes(os.urandom(300_000))
        os.utime(old, (1_000_000 + i, 1_000_000 + i))
    done = collect(folder, os.getpid(), bundled(1)[0], "--max-total", "900K")
    assert done.returncode == 0, done.stderr
    left = {p.name.split(".")[1] for p in folder.glob("core.*.zst")}
    assert "old0" not in left and "old2" in left or len(left) == 1


def test_clusters_are_causes(tmp_path: pathlib.Path) -> None:
    """Each planted fault of these corpora one cluster, over Go versions, builds and -O levels, stripped or not; no healthy core among them."""
    sys.path.insert(0, str(ROOT / "corpora" / "tools"))
    import clusters 
    folders = [CORPORA / name for name in ("locks-go1.16", "locks-go1.27", "native-glibc-2.36")]
    store, summary = tmp_path / "s.ndjson", tmp_path / "s.json"
    incident("triage", *folders, "--store", store, "--json", summary, "-o", tmp_path / "text", timeout=550)
    sick, healthy, accused = clusters.read(store, summary)
    assert len(sick) > 150 and healthy > 150 and accused == []
    by_cause, by_cluster = {}, {}
    for path, core in sick.items():
        assert by_cause.setdefault(core.cause, core.cluster) == core.cluster, f"apart: {path} {core.text}"
        assert by_cluster.setdefault(core.cluster, core.cause) == core.cause, f"together: {path} {core.text}"


def test_quiet_hangs_say_on_whom_they_hang(tmp_path: pathlib.Path) -> None:
    summary = tmp_path / "s.json"
    cores = [core for mode in ("holder_syscall", "orphan_panic", "rw_many_readers") for core in CORPORA.glob(f"locks-go1.26/dwarf.{mode}/core")]
    assert len(cores) == 3
    run = incident("triage", *cores, "--json", summary)
    result = json.loads(summary.read_text())
    jsonschema.validate(result, part("summary"))
    who, readers = result["awaited"]
    assert "rw_many_readers" in readers["path"] and re.fullmatch(
        r"2 others wait for goroutine \d+ and at least 19 more \(sync.RWMutex main.theBook.rw\): sleep in main.slowReader handovers.go:\d+", readers["awaited"])
    assert "holder_syscall" in who["path"] and re.fullmatch(
        r"3 others wait for goroutine \d+ \(sync.Mutex main.theLedger.mu, main\S+ will release it\): syscall in main.holdSyscall holders.go:\d+", who["awaited"])
    assert who["awaited"] in " ".join(run.out.split())
    assert "3 others wait for goroutine" in incident("triage", *cores, "--format", "markdown").out


def test_marks_name_nothing_of_one_run() -> None:
    """What triage compares is the same in a stripped build, and holds no address."""
    for mode in ("slice_len", "freed_slot", "dangle_move", "pool_double", "iface_itab"):
        marks = [f["mark"] for build in ("dwarf", "stripped") for f in report("analyze", CORPORA / "heap-go1.22" / f"{build}.{mode}" / "core")["findings"]
                 if not f["kind"].startswith("crash.")]
        assert len(marks) == 2 and marks[0] == marks[1], mode
        assert marks[0]["holder"] and not re.search(r"(?<!\+)0x", json.dumps(marks[0]))


def test_doctor() -> None:
    run = incident("doctor", "--format", "json", "--pid", os.getpid())
    assert run.code in (0, 1)
    assert {"core_pattern", "disk for cores"} <= {c["name"] for c in run.json["checks"]}
    assert incident("doctor").out and incident("doctor", "--format", "markdown").out.startswith("# Doctor")
