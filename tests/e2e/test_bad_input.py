"""Input that nobody wants gives a clear message or a report with gaps, with the contract's exit code. Never a crash."""
import os
import pathlib

import pytest
from support import Case, cases, incident


@pytest.fixture(scope="module")
def small() -> Case:
    return cases(mode="nilderef", build="dwarf")[-1]


@pytest.mark.parametrize("name,content,says", [
    ("text", b"this is not a core\n" * 20, "text file"),
    ("empty", b"", "empty"),
    ("header-only", b"\x7fELF\x02\x01\x01" + bytes(9), ""),
    ("minidump", b"MDMP\x93\xa7" + bytes(100), "minidump"),
])
def test_no_core_at_all(tmp_path: pathlib.Path, name: str, content: bytes, says: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    run = incident("analyze", file)
    assert run.code == 2
    assert str(file) in run.err and says in run.err
    assert run.out == ""


def test_why_one_of_two_operands_cannot_be_read(tmp_path: pathlib.Path, small: Case) -> None:
    (tmp_path / "loop").symlink_to("loop")  # what a core that is its owner's alone gets, root does not get
    for what, says in ((tmp_path, "Is a directory"), (tmp_path / "absent", "No such file"), (tmp_path / "loop", "symbolic links")):
        for operands in ((what, small.exe), (small.core, what)):
            run = incident("analyze", *operands)
            assert run.code == 2
            assert f"cannot read {what}" in run.err and says in run.err


def test_directory_missing_and_executable(tmp_path: pathlib.Path, small: Case) -> None:
    for what, says in ((tmp_path, "directory"), (tmp_path / "absent", "No such file"), (small.exe, "executable")):
        run = incident("analyze", what)
        assert run.code == 2 and says in run.err, (what, run.err)


def test_core_of_another_machine(tmp_path: pathlib.Path) -> None:
    header = bytearray(64)
    header[:7] = b"\x7fELF\x02\x01\x01"
    header[16:20] = bytes((4, 0, 183, 0))  # ET_CORE, EM_AARCH64
    header[20] = 1
    header[52:54] = (64).to_bytes(2, "little")
    file = tmp_path / "core.arm64"
    file.write_bytes(header)
    run = incident("analyze", file)
    assert run.code == 2 and "aarch64" in run.err.lower()


@pytest.mark.parametrize("percent", range(0, 100, 2))
def test_truncated(small: Case, tmp_path: pathlib.Path, percent: int) -> None:
    size = small.core.stat().st_size
    cut = tmp_path / "core"
    data = small.core.open("rb")
    keep = size * percent // 100
    with cut.open("wb") as out:
        while (at := out.tell()) < keep:  # sparse in, sparse out
            chunk = data.read(min(1 << 20, keep - at))
            if any(chunk):
                out.write(chunk)
            else:
                out.seek(len(chunk), os.SEEK_CUR)
                out.truncate()
        out.truncate(keep)
    run = incident("analyze", cut, small.exe, "--format", "json")
    if run.code == 2:
        assert str(cut) in run.err
        return
    assert run.code in (1, 3)
    report = run.json
    assert report["input"]["core"]["truncated"]["at"] == keep
    assert any(str(keep) in gap["what"] for gap in report["gaps"])


def test_usage() -> None:
    assert incident("analyze").code == 2
    assert incident("no-such-command").code == 2
    assert incident("analyze", "--lang", "zh", "x").code == 2
    assert incident("--version").code == 0
    assert incident("--help").code == 0
