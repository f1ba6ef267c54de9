"""`incident heap` against the programs' own truth: types, totals, retained sizes, paths in Go's terms, objects, pprof."""
import gzip
import pathlib
import re
import shutil
import subprocess

import pytest
import support

GRAPHS = sorted(support.CORPORA.glob("heap-go1.*/dwarf.graph"))
RANGES = sorted(support.CORPORA.glob("heap-go1.*/dwarf.map_delete_range"))
PROBES = sorted(support.CORPORA.glob("go1.*/dwarf.heap"))


def exe_of(folder: pathlib.Path) -> pathlib.Path:
    return folder.parent / f"exe.{folder.name.split('.')[0]}"


def heap(folder: pathlib.Path, *options: str) -> dict:
    run = support.incident("heap", folder / "core", exe_of(folder), "--format", "json", *options)
    assert run.code == 0, run.err
    return run.json["heap"]


def story(folder: pathlib.Path, *options: str) -> list[tuple[str, str]]:
    """What is said about one object: names and values, in order."""
    run = support.incident("heap", folder / "core", exe_of(folder), "--format", "json", *options)
    assert run.code == 0, run.err
    return [(d["name"], d["value"]) for d in run.json["location"]["details"]]


def names(folders: list[pathlib.Path]) -> list[str]:
    return [f.parent.name for f in folders]


@pytest.mark.skipif(not PROBES, reason="no probe bundle is unpacked")
@pytest.mark.parametrize("folder", PROBES, ids=names(PROBES))
def test_histogram(folder: pathlib.Path) -> None:
    report = heap(folder)
    truth = support.Truth((folder / "truth.txt").read_text())
    totals = report["totals"]
    assert totals["typed_live_bytes"] >= 0.99 * totals["live_bytes"]
    assert sum(t["live"] for t in report["types"]) == totals["live_bytes"]
    assert sum(t["bytes"] for t in report["types"]) == totals["allocated_bytes"]
    assert sum(t["count"] for t in report["types"]) == totals["allocated_objects"]
    by_name = {t["name"]: t for t in report["types"]}
    for line in truth.lines("live"):
        fields = support._fields(line)
        if fields["type"] in ("main.tree", "main.noscan"):
            assert by_name[fields["type"]]["count"] == int(fields["count"]), line
    stats = dict(re.findall(r"^memstats\.(\w+)=(\d+)", truth.text, re.M))
    # What the program counted after its last collection, less what dying freed and allocated.
    assert abs(totals["allocated_bytes"] - int(stats["HeapAlloc"])) <= 0.02 * int(stats["HeapAlloc"])


@pytest.mark.skipif(not RANGES, reason="no heap bundle is unpacked")
@pytest.mark.parametrize("folder", RANGES, ids=names(RANGES))
def test_what_only_an_iterator_on_a_stack_still_walks_has_a_type(folder: pathlib.Path) -> None:
    """A range over a map that has grown since: up to Go 1.23 the old array of buckets belongs to the iterator, which is no variable."""
    totals = heap(folder)["totals"]
    assert totals["typed_live_bytes"] >= 0.99 * totals["live_bytes"]


@pytest.mark.skipif(not GRAPHS, reason="no heap bundle is unpacked")
@pytest.mark.parametrize("folder", GRAPHS, ids=names(GRAPHS))
def test_paths_are_the_programs_own(folder: pathlib.Path) -> None:
    truth = support.Truth((folder / "truth.txt").read_text())
    address = {(f := support._fields(line))["name"]: f["addr"] for line in truth.lines("gnode")}
    paths = re.findall(r'^path name=(\S+) text="(.*)"$', truth.text, re.M)
    assert len(paths) >= 5
    for name, text in paths:
        told = story(folder, "--roots", address[name])
        assert told[0] == ("kept by", text.replace('\\"', '"')), name
        assert told[1] == ("root", "package variable")
        assert f"──▶ {address[name]}  main." in told[-1][1]


@pytest.mark.skipif(not GRAPHS, reason="no heap bundle is unpacked")
def test_retained_object_and_words_for_people() -> None:
    folder = GRAPHS[-1]
    truth = support.Truth((folder / "truth.txt").read_text())
    nodes = {(f := support._fields(line))["name"]: f for line in truth.lines("gnode")}
    report = heap(folder, "--retained")
    kept = {r["name"]: r for r in report["retainers"]}
    tree = next(r for name, r in kept.items() if name.startswith("main.theGraph.tree "))
    assert (tree["count"], tree["bytes"]) == (int(nodes["tree.1"]["retained-count"]), int(nodes["tree.1"]["retained-bytes"]))
    assert kept["every main.listNode"]["bytes"] == int(nodes["list.0"]["retained-bytes"])
    told = dict(story(folder, "--object", nodes["list.2"]["addr"]))
    assert told["object"].startswith("main.listNode at ") and told["state"] == "live"
    assert told["+0x0 id"] == "int64  2"
    assert nodes["list.3"]["addr"] in told["+0x8 next"] and "main.listNode" in told["+0x8 next"]
    for options in (["--retained"], ["--roots", nodes["list.2"]["addr"]], ["--object", nodes["list.2"]["addr"]], []):
        for form in ("terminal", "markdown"):
            run = support.incident("heap", folder / "core", exe_of(folder), "--format", form, *options)
            assert run.code == 0 and "main." in run.out


@pytest.mark.skipif(not GRAPHS, reason="no heap bundle is unpacked")
def test_a_long_list_is_a_short_way_for_people() -> None:
    folder = GRAPHS[-1]
    (last,) = re.findall(r"^gnode name=list\.99 addr=(\S+)", (folder / "truth.txt").read_text(), re.M)
    words = ["heap", folder / "core", exe_of(folder), "--roots", last, "--color", "never"]
    short, whole = support.incident(*words).out, support.incident(*words, "--all").out
    assert "main.theGraph.list(.next × 99)" in short and "… 97 more like these (--all)" in short
    assert ".next × " not in whole and whole.count("main.listNode, 48 B\n") >= 100


@pytest.mark.skipif(not GRAPHS, reason="no heap bundle is unpacked")
def test_nothing_there() -> None:
    folder = GRAPHS[-1]
    told = story(folder, "--roots", "0x10", "--object", "0x10")
    assert "no allocated object" in dict(told)["kept by"]
    run = support.incident("heap", folder / "core", "--roots", "nonsense")
    assert run.code == 2


@pytest.mark.skipif(not GRAPHS, reason="no heap bundle is unpacked")
def test_pprof(tmp_path: pathlib.Path) -> None:
    folder = GRAPHS[-1]
    profile = tmp_path / "heap.pb.gz"
    heap(folder, "--pprof", str(profile))
    raw = gzip.decompress(profile.read_bytes())
    assert b"main.listNode" in raw and b"inuse_space" in raw
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go toolchain: go tool pprof was not tried")
    top = subprocess.run([go, "tool", "pprof", "-top", "-sample_index=inuse_objects", str(profile)], capture_output=True, text=True)
    assert top.returncode == 0, top.stderr
    assert re.search(r"^\s*100\s.*main\.listNode$", top.stdout, re.M), top.stdout


@pytest.mark.parametrize("folder", GRAPHS + PROBES, ids=lambda f: f.parent.name)
def test_the_same_with_any_number_of_workers(folder: pathlib.Path) -> None:
    """With several, the heap is marked while types spread; with one, afterwards."""
    for command in ("heap", "analyze"):
        alone, two, five = (support.incident(command, folder / "core", exe_of(folder), "--format", "json", "--jobs", n).out for n in (1, 2, 5))
        assert alone and alone == two == five


CRASHES = sorted(support.CORPORA.glob("heap-go1.*/dwarf.slice*_crash"))
HEALTHY = sorted(support.CORPORA.glob("go1.*/dwarf.healthy"))


@pytest.mark.skipif(not CRASHES, reason="no heap bundle is unpacked")
@pytest.mark.parametrize("folder", CRASHES, ids=[f"{f.parent.name}-{f.name}" for f in CRASHES])
def test_a_frame_that_faulted_keeps_what_the_collector_says_it_keeps(folder: pathlib.Path) -> None:
    """It has no defer, so it is dead; a dead slot of it names a buffer of 1 kB that nothing else does."""
    totals = heap(folder)["totals"]
    assert totals["typed_live_bytes"] >= 0.99 * totals["live_bytes"]


@pytest.mark.skipif(not HEALTHY, reason="no probe bundle is unpacked")
@pytest.mark.parametrize("folder", HEALTHY, ids=names(HEALTHY))
def test_retainers_are_called_as_go_does_and_those_alike_are_one(folder: pathlib.Path) -> None:
    """main.srv is a pointer to what the linker laid out; 50 goroutines are at rest."""
    rows = [row["name"] for row in heap(folder, "--retained")["retainers"]]
    assert any(row.startswith("main.srv.hits (variable ") for row in rows)
    assert not any(row.startswith("package variable at") for row in rows)
    assert any(re.match(r"\d\d × runtime\.g 0x", row) for row in rows)
