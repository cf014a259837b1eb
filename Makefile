# Everything a person types. Bare `make` prints this list.

BUN := node_modules/.bin/bun
BUN_VERSION := $(shell sed -n 's/.*"bun": "\([0-9.]*\)".*/\1/p' package.json)
READY := node_modules/.ready
SOURCES := tts.ts src ffi test
TEXT ?= The kettle is ready. The time is seven forty five.
# As it was typed: a price is no make variable.
export TEXT_TO_SPEAK = $(value TEXT)
export VOICE_FOLDER = $(value FROM)

.PHONY: help setup run test check format hear voice bench compare npu-demo native binary test-rootfs test-arm64 man install uninstall deb clean

help: ## this list
	@echo "make TARGET"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 15

setup: $(READY) ## get Bun (from npm where there is none) and the packages

# npm only fetches Bun, where there is none; Bun fetches the rest and leaves install scripts alone (one of them downloads CUDA parts).
$(READY): package.json bun.lock
	@bun=$$(command -v bun || { test -x $(BUN) && echo $(BUN); } || echo .bun/node_modules/.bin/bun); \
	test -x "$$bun" || { npm install --no-save --no-audit --no-fund --ignore-scripts --prefix .bun bun@$(BUN_VERSION) && \
	  node .bun/node_modules/bun/install.js; } || exit 1; \
	"$$bun" install --frozen-lockfile
	@test -x $(BUN) && touch $(READY)

run: $(READY) ## speak: make run TEXT="Hello." writes output.wav
	@$(BUN) tts.ts -- "$$TEXT_TO_SPEAK"

# Tests in folders of these names start processes: the command line, sockets, the binary, tools, stand-ins for NPUs.
PROCESSES := cli serve packaging tools npu
SECOND_TIER := **/{$(shell echo $(PROCESSES) | tr ' ' ,)}/**

# Two files at a time: most wait for a process or a disk now and then.
RUN_TESTS = TTS_TEST_SCRATCH=$$(mktemp -d) && export TTS_TEST_SCRATCH && trap 'rm -rf "$$TTS_TEST_SCRATCH"' EXIT INT TERM && \
	$(BUN) test --parallel=2 --no-isolate --timeout 120000

test: $(READY) ## what needs no other processes: pure code, stages, engine, golden runs (2 minutes)
	@$(RUN_TESTS) --path-ignore-patterns='$(SECOND_TIER)'

check: $(READY) ## the gate: format, lint, types, and all tests, also of processes, sockets, NPUs, binary (4 minutes)
	@node_modules/.bin/biome check --config-path=.ci --error-on-warnings $(SOURCES)
	@node_modules/.bin/tsc --noEmit -p .
	@$(RUN_TESTS)

format: $(READY) ## put the sources into their form
	@node_modules/.bin/biome check --config-path=.ci --write $(SOURCES)

hear: $(READY) ## let a speech recogniser listen (needs pocketsphinx and sox)
	@$(BUN) test/tools/hear.ts $(if $(KEEP),--keep)

voice: $(READY) ## put another starter voice in place: make voice FROM=DIR
	@$(BUN) test/tools/voice-swap.ts "$$VOICE_FOLDER"

bench: $(READY) ## medians of speaking with the starter voice
	@$(BUN) tts.ts bench

compare: $(READY) ## measure against a commit: make compare AGAINST=HEAD~1 (ROUNDS, MODELS="starter 0.6b", BENCH="--frames 20")
	@$(BUN) test/tools/compare.ts "$(AGAINST)" --rounds="$(ROUNDS)" --models="$(MODELS)" --bench="$(BENCH)"

npu-demo: $(READY) ## speak on stand-ins for the NPUs (needs a C compiler)
	@$(BUN) test/tools/npu-demo.ts

native: ## compile the C sources, as the tests do
	@for source in native/*.c; do echo "cc $$source" && \
	  $(CC) -std=c11 -Wall -Wextra -Werror -Inative -DFAKE_VERSION='"1.0"' -fsyntax-only $$source || exit 1; done

# Where the program as one file for this machine is; ARCH=arm64 packages the other one, BINARY=FILE one from elsewhere.
ARCH := $(patsubst x86_64,x64,$(patsubst aarch64,arm64,$(shell uname -m)))
DIST := dist
BINARY := $(DIST)/tts-linux-$(ARCH)
BUILT := $(DIST)/tts-linux-x64 $(DIST)/tts-linux-arm64

binary: $(BUILT) ## the program as one file each for x64 and arm64: dist/tts-linux-*

$(BUILT): $(DIST)/tts-%: $(READY) $(shell find tts.ts LICENSE src ffi models -type f)
	@$(BUN) src/packaging/binary.ts $(DIST) $*

test-rootfs: $(READY) ## the x64 binary in bare Debian roots (fetches Debian packages)
	@.ci/test-rootfs

test-arm64: $(READY) ## tests and the binary under emulation (fetches qemu and Debian packages)
	@.ci/test-arm64

PREFIX := /usr/local
PACKAGE = BINARY="$(BINARY)" ARCH="$(ARCH)" DIST="$(DIST)" PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" TTS="$(BUN) tts.ts" src/packaging/install

man: $(READY) ## the manual page: dist/tts.1
	@mkdir -p $(DIST) && $(BUN) tts.ts man > $(DIST)/tts.1

install: $(READY) $(filter $(BUILT),$(BINARY)) ## into PREFIX (/usr/local): program, manual, completions, licences, examples
	@$(PACKAGE) install

uninstall: ## take all of that out again
	@$(PACKAGE) uninstall

deb: $(READY) $(filter $(BUILT),$(BINARY)) ## a Debian package of it, in dist
	@$(PACKAGE) deb

clean: ## remove what make made
	@rm -rf node_modules .bun dist output.wav
