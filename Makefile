# SPDX-License-Identifier: Apache-2.0
#
# The commands of the project. CMake does the work; this file names them.
# Everything that CI does is one of these targets.

BUILD ?= build
PREFIX ?= /usr/local
CASE ?= --list
CMAKE_FLAGS ?=
SECONDS ?= 60
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

SANITIZERS = asan ubsan tsan
sanitize_asan = address
sanitize_ubsan = undefined
sanitize_tsan = thread

# $(call build_in,FOLDER,FLAGS): configure where needed, build.
define build_in
	@cmake -S . -B $(1) -G Ninja $(2) $(CMAKE_FLAGS) >$(1).log 2>&1 \
	    || { cat $(1).log; exit 1; }
	@rm -f $(1).log
	@cmake --build $(1) --parallel $(JOBS)
endef

.PHONY: all setup build demo demo-cluster check check-long lint format bench install clean
.PHONY: help plot-policies fuzz check-aarch64 check-valgrind check-analyzer $(SANITIZERS:%=check-%)
all: build

setup:
	@scripts/setup

build: setup
	$(call build_in,$(BUILD))

demo: build
	@scripts/demo

demo-cluster: build
	@scripts/demo_cluster

plot-policies: build
	@mkdir -p $(BUILD)/policies
	@$(BUILD)/bin/cascade simulate data/conversation_trace.jsonl.gz \
	    --capacity 1%,2%,5%,10%,25%,50% >$(BUILD)/policies/conversation.jsonl
	@$(BUILD)/venv/bin/python3 scripts/plot_simulate \
	    $(BUILD)/policies/conversation.jsonl $(BUILD)/policies/conversation.svg
	@echo "wrote $(BUILD)/policies/conversation.jsonl and .svg"

check: build
	@scripts/run_tests $(BUILD) --no-tests=error -LE '^long$$' --parallel $(JOBS)

check-long: build
	@[ "$$(id -u)" != 0 ] || scripts/setup --long || true
	@scripts/run_tests $(BUILD) -L '^long$$' --parallel $(JOBS)
	@$(MAKE) --no-print-directory fuzz SECONDS=60
	@$(MAKE) --no-print-directory check-aarch64

# The C programs of the tests; scripts would run this machine's own command.
check-aarch64:
	@scripts/setup --aarch64
	$(call build_in,build-aarch64,-DCASCADE_BINDINGS=OFF -DCASCADE_EXAMPLES=OFF \
	    -DCASCADE_MPI=OFF -DCASCADE_SKIP_LIST=tests/emulated.txt \
	    -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cmake/toolchain_aarch64.cmake)
	@scripts/run_tests build-aarch64 --no-tests=error --parallel $(JOBS) \
	    -LE '^(long|manners|tools|bench|docs|install|headers|python)$$'

$(SANITIZERS:%=check-%): check-%: setup
	$(call build_in,build-$*,-DCASCADE_SANITIZE=$(sanitize_$*) -DCASCADE_BINDINGS=OFF)
	@scripts/run_tests build-$* --no-tests=error -LE '^long$$' --parallel $(JOBS)

fuzz:
	@scripts/setup --clang
	@CC=clang cmake -S . -B build-fuzz -G Ninja -DCASCADE_FUZZ=ON \
	    -DCASCADE_BINDINGS=OFF -DCASCADE_EXAMPLES=OFF >/dev/null
	@cmake --build build-fuzz --parallel $(JOBS) --target fuzz_programs
	@JOBS=$(JOBS) scripts/fuzz build-fuzz $(SECONDS) $(TARGET)

# Every C program of the tests starts in valgrind instead of by itself.
MEMCHECK = valgrind;-q;--leak-check=full;--show-leak-kinds=definite;--errors-for-leak-kinds=definite
MEMCHECK := $(MEMCHECK);--child-silent-after-fork=yes;--fair-sched=yes;--error-exitcode=99
check-valgrind:
	@scripts/setup --valgrind
	$(call build_in,build-valgrind,-DCASCADE_BINDINGS=OFF -DCASCADE_EXAMPLES=OFF \
	    -DCASCADE_TOOLS=OFF -DCASCADE_MPI=OFF \
	    -DCASCADE_SKIP_LIST=tests/valgrind.txt \
	    "-DCMAKE_CROSSCOMPILING_EMULATOR=$(MEMCHECK)")
	@scripts/run_tests build-valgrind --no-tests=error --parallel $(JOBS) \
	    -LE '^(long|aligned|manners|tools|bench|docs|install|headers|python)$$'

check-analyzer: build
	@JOBS=$(JOBS) scripts/check_analyzer $(BUILD)

lint:
	@scripts/setup --lint
	$(call build_in,$(BUILD))
	@BUILD=$(BUILD) JOBS=$(JOBS) scripts/lint

format:
	@scripts/check_format --fix

MINUTES ?= 10
soak: build
	@CASCADE_RUNTIME_DIR= $(BUILD)/tests/soak_stores --minutes $(MINUTES)

bench: build
	@$(BUILD)/bin/cascade bench $(CASE)

install: build
	@cmake --install $(BUILD) --prefix $(abspath $(PREFIX)) >/dev/null
	@echo "installed under $(abspath $(PREFIX))"

clean:
	@rm -rf build build-*

help:
	@echo 'make               build the library, the command, the Python package'
	@echo 'make demo          a production trace through the real store, verified'
	@echo 'make demo-cluster  the same on 4 ranks of an MPI, routed in two ways'
	@echo 'make plot-policies hit ratio against capacity, every eviction policy'
	@echo 'make check         all tests that this machine can run'
	@echo 'make check-long    the long tests: many seeds, many minutes'
	@echo 'make check-asan    the tests under the address sanitizer;'
	@echo '                   also check-ubsan, check-tsan'
	@echo 'make check-aarch64 built for 64-bit Arm, run in qemu'
	@echo 'make check-valgrind  the tests under memcheck'
	@echo 'make check-analyzer  gcc -fanalyzer over the library'
	@echo 'make fuzz SECONDS=60  each fuzz target for so long'
	@echo 'make soak MINUTES=10  stores that are used, killed, stopped and failed'
	@echo '                   for minutes, every byte compared; one JSON object'
	@echo 'make lint          form, floors, symbols, text, static analysis'
	@echo '                   (LINT_FAST=1 leaves out the slow analysis)'
	@echo 'make format        let clang-format rewrite the C files'
	@echo 'make bench CASE=X  one benchmark case; without CASE the list'
	@echo 'make install PREFIX=/usr/local'
	@echo 'make clean         remove every build folder'
