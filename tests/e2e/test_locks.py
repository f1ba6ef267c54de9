"""Locks against the locks corpus: planted faults found with their address, waiters and edges; healthy twins silent, their holders known."""
import re

from planted import Planted, each, of, planted

STUCK = planted("locks", "stuck-go1.*")
GONE = planted("locks", "gone-go1.*")
STANDARD = planted("locks", "standard-go1.*")
CORES = planted("locks", "locks-go1.*") + STUCK + GONE + STANDARD


@each(CORES)
def test_case(core: Planted) -> None:
    core.judge(core.analyze())


def test_locks_command_prints_table_and_graph() -> None:
    cycle = of(CORES, "dwarf.cycle2")[0]
    out = cycle.print("locks")
    assert "cycle of 2" in out and "pending defer" in out, cycle
    report = cycle.report("locks")
    assert len(report["wait_graph"]["cycles"]) == 1
    assert all(lock["holders"] and lock["waiters"] for lock in report["locks"])


def test_locks_are_named_as_go_code_names_them() -> None:
    """By the type of the variable that leads there; the report and the list use one name."""
    for orphan in of(CORES, "dwarf.orphan_panic"):
        finding = next(f for f in orphan.analyze().json["findings"] if f["kind"] == "go.mutex.orphaned")
        assert finding["subject"]["symbol"] == "main.theLedger.mu", orphan
        lock, = orphan.report("locks")["locks"]
        assert lock["where"] == "main.theLedger.mu", orphan


def test_who_waits_for_leaked_workers_is_part_of_their_story() -> None:
    for core in of(STUCK, "stripped.leak_group"):
        ids = core.truth().ids
        finding, = (f for f in core.analyze().json["findings"] if not f["kind"].startswith("crash."))
        assert finding["count"] == 2 and finding["goroutines"] == [ids["worker1"], ids["worker2"], ids["gatherer"]]
        whats = [e["what"] for e in finding["evidence"]]
        assert any(re.fullmatch(rf"goroutine {ids['gatherer']} waits for goroutine ({ids['worker1']}|{ids['worker2']}) to call Done, "
                                r"in main\.\(\*gang\)\.gather \(stuck\.go:\d+\)", what) for what in whats), whats


def test_a_holder_that_waits_for_ever_is_told_with_the_lock_alone() -> None:
    for name, reason in ("stripped.holder_parked", "select (no cases)"), ("stripped.holder_nil", "chan receive (nil chan)"):
        for core in of(STUCK, name):
            finding, = (f for f in core.analyze().json["findings"] if not f["kind"].startswith("crash."))
            holder = f"goroutine {core.truth().ids['holder']}"
            assert finding["title"].startswith(f"{holder} holds a lock and waits for ever") and reason in finding["why"]
            assert f"held by {holder} in main.hold" in finding["where"] and finding["severity"] == "warning"


def test_a_hang_without_a_defect_says_on_whom_the_others_wait() -> None:
    """In WHY of analyze; where several hold up others, all of them, as `locks` lists them."""
    for build in "dwarf", "stripped":
        for core in of(CORES, f"{build}.holder_syscall"):
            text = " ".join(core.print("analyze").split())
            assert re.search(rf"WHY 3 others wait for goroutine {core.truth().ids['holder']} \(sync.Mutex (main.theLedger.mu|0x[0-9a-f]+), main\S+ will release it\): "
                             r"syscall in main.holdSyscall", text), core
            assert "who blocks most" not in text, core
    for core in of(CORES, "dwarf.rw_many_readers"):
        text = core.print("analyze")
        assert re.search(r"WHY +2 others wait for goroutine \d+ and at least 19 more \(sync.RWMutex main.theBook.rw\): sleep in", text), core
        assert re.search(r"who blocks most\n +goroutine \d+, and 19 more like it +main.slowReader", text), core
    for core in of(CORES, "dwarf.orphan_panic"):
        assert "who blocks most" not in core.print("analyze") and "others wait for" not in core.print("analyze"), core


def test_everybody_asleep_is_told_where_main_waits() -> None:
    for core in of(STUCK, "stripped.asleep"):
        finding, = core.analyze().json["findings"]
        assert finding["where"].startswith("main.awaitNews (stuck.go:") and finding["where"].endswith("goroutine 1")
        assert finding["why"].startswith("goroutine 1 waits (chan receive), and so does 1 other goroutine")
        quick = core.report("crash")
        assert quick["crash"]["goroutine"] == 1
        assert [(f["where"], f["why"]) for f in quick["findings"]] == [(finding["where"], finding["why"])]


def test_a_panic_while_a_panic_is_printed_is_told_where_the_method_failed() -> None:
    for core in of(STUCK, "stripped.panic_print"):
        finding, = core.analyze().json["findings"]
        assert finding["where"].startswith("main.(*brokenError).Error (stuck.go:") and "was 0x0" in finding["why"]
        assert "Error" in finding["remedy"] or "String" in finding["remedy"]


def test_an_inlined_frame_shows_the_slots_and_code_of_the_function_that_holds_it() -> None:
    for core in of(STUCK, "stripped.self_once"):
        snapshots = core.analyze().json["findings"][0]["snapshots"]
        inlined = next(s for s in snapshots if s["function"] == "main.(*onceInside).get" and s["inlined"])
        assert inlined["slots"] and inlined["code"] and any("main.(*onceInside).fill" in note for note in inlined["notes"]), inlined["notes"]


def test_a_once_that_asks_for_itself_is_an_error_in_every_build() -> None:
    cores = [core for core in GONE if core.mode in ("self_once", "once_circle")]
    assert cores
    for core in cores:
        finding, = (f for f in core.analyze().json["findings"] if not f["kind"].startswith("crash."))
        assert (finding["kind"], finding["severity"]) == ("go.mutex.self-deadlock", "error"), core
        assert finding["why"].startswith("its own older frame still has the deferred sync.(*Mutex).Unlock"), core


@each([core for core in GONE if core.mode == "self_some_paths"])
def test_who_may_hold_what_it_waits_for_is_a_remark(core: Planted) -> None:
    """Its caller has deferred the release, and it gives the lock back itself on some ways out: nothing is sure."""
    finding, = (f for f in core.analyze().json["findings"] if not f["kind"].startswith("crash."))
    waiter = core.truth().ids["self"]
    assert (finding["kind"], finding["severity"]) == ("go.mutex.orphaned", "info")
    assert f"goroutine {waiter} waits for it, and has its release deferred already: it may hold it itself" in str(finding)
    assert "looked at everything and found no defect, but 1 remark" in core.print("analyze")


@each([core for core in GONE if core.mode == "main_goexit"])
def test_main_that_has_left_is_said(core: Planted) -> None:
    for command in "analyze", "goroutines":
        assert "goroutine 1, main's, has ended" in core.print(command)


@each([core for core in GONE if core.mode == "finalizer_waits"])
def test_a_finalizer_of_the_program_is_the_programs_code(core: Planted) -> None:
    rows = core.report("goroutines")["goroutines"]
    finalizer, = (g for g in rows if g["id"] == core.truth().ids["finalizer"])
    assert not finalizer["system"] and finalizer["wait_reason"] == "chan receive"
    assert "has ended" not in core.print("goroutines")


@each([core for core in GONE if core.mode == "watchdog"])
def test_a_watchdogs_signal_is_no_crash_of_its_own(core: Planted) -> None:
    """kill(getpid()) reaches whichever thread there is: what hung is told, not where that one stood."""
    report = core.analyze().json
    assert report["crash"]["kind"] == "requested" and report["crash"]["signal"]["name"] == "SIGABRT"
    assert [f["kind"] for f in report["findings"] if f["severity"] != "info"] == ["go.mutex.orphaned"]
    requested, = (f for f in report["findings"] if f["kind"] == "crash.requested")
    assert requested["title"] == "the program sent itself SIGABRT"


@each([core for core in STANDARD if core.mode in ("group_self", "group_if_failed")])
def test_a_group_that_its_member_waits_for(core: Planted) -> None:
    """The Done that it owes on every way out accuses it; one that it makes on some ways only does not."""
    waiter = core.truth().ids["self"]
    group, = (lock for lock in core.report("locks")["locks"] if lock["type"] == "sync.WaitGroup")
    assert waiter in [holder["goroutine"] for holder in group["holders"]], core
    for finding in (f for f in core.analyze().json["findings"] if not f["kind"].startswith("crash.")):
        assert finding["title"].startswith(f"goroutine {waiter} waits for a WaitGroup whose Done it owes itself"), core
        assert finding["why"].startswith("counter 1, and its own deferred main.(*errand).run.func1"), core
        assert [frame["function"] for frame in finding["snapshots"]] == ["main.(*errand).wait", "main.(*errand).run"], core


@each([core for core in STANDARD if core.mode.startswith("nil_select")])
def test_a_select_of_nil_channels(core: Planted) -> None:
    """Fields that nobody made are a fault; where a call gave the channels, contexts without an end may have."""
    finding, = (f for f in core.analyze().json["findings"] if not f["kind"].startswith("crash."))
    assert finding["title"] == f"Goroutine {core.truth().ids['runner']} is blocked forever in a select of nil channels"
    assert finding["severity"] == ("info" if core.mode == "nil_select_contexts" else "warning")
    assert any("on purpose" in words for words in finding["innocent"]) == (core.mode == "nil_select_contexts")
