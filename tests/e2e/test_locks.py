"""Locks against the locks corpus: planted faults found with their address, waiters and edges; healthy twins silent, their holders known."""
from planted import Planted, each, of, planted

CORES = planted("locks", "locks-go1.*")


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
