"""A goroutine whose code left Go's stack for one of its own, as WebAssembly runtimes do."""
import pathlib

import pytest
from support import GO, build_go, incident, kernel_core, report

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.skipif(GO is None, reason="go is not installed")


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    folder = tmp_path_factory.mktemp("own_stack")
    program = build_go(HERE / "own_stack.go", folder / "program")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOTRACEBACK", "crash")
        return kernel_core(program, "", folder), program


def test_what_only_its_go_stack_knows_is_not_lost(core: tuple[pathlib.Path, pathlib.Path]) -> None:
    r = report("analyze", *core)
    assert [f["title"] for f in r["findings"] if f["severity"] != "info"] == []
    assert [g["what"] for g in r["gaps"]] == ["the roots on 1 stack"]
    (waiter,) = [g for g in r["goroutines"] if g["wait_reason"] == "chan receive" and g["id"] != 1]
    assert any("wait" in f["function"] for f in waiter["frames"])


def test_a_type_parameter_is_told_by_what_is_behind_it(core: tuple[pathlib.Path, pathlib.Path]) -> None:
    r = report("analyze", *core)
    (waiter,) = [g["id"] for g in r["goroutines"] if g["wait_reason"] == "chan receive" and g["id"] != 1]
    text = incident("goroutine", core[0], waiter, core[1]).out
    assert "*main.box[go.shape.int]" in text and ".param" not in text, text
