"""uintptrs that keep a call's frame pointer and sp, beside such as keep the addresses of two local variables."""
import pathlib

from support import go_core, report


def findings(mode: str, folder: pathlib.Path) -> list[dict]:
    r = report("analyze", *go_core("saved_context", mode, folder))
    return [f for f in r["findings"] if f["severity"] != "info"]


def test_frame_pointer_and_sp_of_a_call_are_no_variables(tmp_path: pathlib.Path) -> None:
    assert findings("context", tmp_path) == []


def test_two_local_variables_are_told(tmp_path: pathlib.Path) -> None:
    (finding,) = findings("variables", tmp_path)
    assert (finding["kind"], finding["severity"], finding["strength"]) == ("go.frame-pointer.dangling", "warning", "likely")
    assert "main.variables" in finding["title"]
