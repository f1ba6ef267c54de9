# make demo | test | build | bench | install PREFIX=… | lint | asan-test | fuzz
# Each target sets up what it needs first (scripts/setup.sh: Debian packages, by sudo when not root).
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
DEMO_BUNDLE ?= go1.25
DEMO_CORE := build/corpora/$(DEMO_BUNDLE)/dwarf.nilderef/core
DEMO_EXE := build/corpora/$(DEMO_BUNDLE)/exe.dwarf

# The wheel builds the engine in a folder of its own: ccache must not tell the two apart by it.
export CCACHE_NOHASHDIR = 1

.PHONY: setup configure build demo test asan-test fuzz bench install lint clean

setup:
	@scripts/setup.sh

configure: setup
	@[ -f build/build.ninja ] || cmake --preset release -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null

build: configure
	@cmake --build --preset release -j $(JOBS)
	@scripts/venv.sh || echo "build: SKIPPED .venv with the Python module: pip could not install what it needs" >&2

# The report's exit code 1 says that there are findings: that is what the demo is for. It needs no tests, which would
# take as long again to build.
demo: configure
	@cmake --build --preset release -j $(JOBS) --target incident
	@corpora/tools/unpack.sh build/corpora $(DEMO_BUNDLE)
	@build/incident analyze $(DEMO_CORE) $(DEMO_EXE) || [ $$? -eq 1 ]

test: build
	@scripts/test.sh

asan-test: setup
	@JOBS=$(JOBS) scripts/asan_test.sh

fuzz:
	@scripts/setup.sh fuzz
	@JOBS=$(JOBS) scripts/fuzz.sh

bench: build
	@scripts/bench.py $(BENCH)

install: build
	@cmake --install build --prefix $(PREFIX)

lint:
	@scripts/setup.sh lint
	@scripts/lint.sh

clean:
	rm -rf build build-dev build-asan build-fuzz .venv
