"""Cores whose memory lies. More seeds, under a sanitizer: mutate.py."""
import pathlib

import pytest
from mutate import damage, run_all
from support import cases


@pytest.mark.parametrize("seed", range(12))
def test_damaged_memory(seed: int, tmp_path: pathlib.Path) -> None:
    pool = cases(mode="waits", build="dwarf") + cases(mode="csegv") + cases(mode="panicnested") + cases(mode="heap", build="stripped")
    case = pool[seed * 7 % len(pool)]
    damaged = tmp_path / "core"
    damage(case.core, damaged, seed)
    run_all(damaged, case.exe)
