# Everything a person types. Bare `make` prints this list.

BUN := node_modules/.bin/bun
BUN_VERSION := $(shell sed -n 's/.*"bun": "\([0-9.]*\)".*/\1/p' package.json)
READY := node_modules/.ready
SOURCES := tts.ts src ffi test
TEXT ?= The kettle is ready. The time is seven forty five.
# The values as they were typed: make must not expand a price such as $5.
export TEXT_TO_SPEAK = $(value TEXT)
export VOICE_FOLDER = $(value FROM)

.PHONY: help setup run test check format hear voice bench render compare memory load fleet-load npu-demo npu-check native binary test-rootfs test-arm64 man install uninstall deb clean

help: ## print this list
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
PROCESSES := cli fleet serve packaging tools npu
SECOND_TIER := **/{$(shell echo $(PROCESSES) | tr ' ' ,)}/**

# Four files at a time, also on two cores: many wait for a process, a patience or a player. The time-out ends hangs: a test with a patience of its own
# takes it from patient() of test/_support.ts, which follows the load of the machine.
RUN_TESTS = TTS_TEST_SCRATCH=$$(mktemp -d) && export TTS_TEST_SCRATCH && trap 'rm -rf "$$TTS_TEST_SCRATCH"' EXIT INT TERM && \
	$(BUN) test --parallel=4 --no-isolate --timeout 600000

test: $(READY) ## run the tests that need no other processes: pure code, stages, engine, golden runs (2 minutes)
	@$(RUN_TESTS) --path-ignore-patterns='$(SECOND_TIER)'

check: $(READY) ## the gate: format, lint, types and all tests, those of processes, sockets, NPUs and binary too (8 minutes)
	@node_modules/.bin/biome check --config-path=.ci --error-on-warnings $(SOURCES)
	@node_modules/.bin/tsc --noEmit -p .
	@$(RUN_TESTS)

format: $(READY) ## format the sources
	@node_modules/.bin/biome check --config-path=.ci --write $(SOURCES)

hear: $(READY) ## let a speech recogniser listen (needs pocketsphinx and sox)
	@$(BUN) test/tools/hear.ts $(if $(KEEP),--keep)

voice: $(READY) ## replace the starter voice: make voice FROM=DIR
	@$(BUN) test/tools/voice-swap.ts "$$VOICE_FOLDER"

bench: $(READY) ## measure speaking with the starter voice, as medians
	@$(BUN) tts.ts bench

memory: $(READY) ## see whether memory stays flat over 100 kB of text (ten minutes)
	@$(BUN) test/tools/memory.ts

load: $(READY) ## put tts serve under load (SPEECHES=1000, MODEL=DIR, ROUNDS, PARTS="crowd first ends lanes"; ten minutes)
	@$(BUN) test/tools/load.ts --speeches="$(SPEECHES)" --model="$(MODEL)" --rounds="$(ROUNDS)" --parts="$(PARTS)"

fleet-load: $(READY) ## put a hub under the load of a fleet (BOARDS=1000, ROOMS=100, ROUNDS, PARTS="boards crowd pair"; three minutes)
	@$(BUN) test/tools/fleet-load.ts --boards="$(BOARDS)" --rooms="$(ROOMS)" --rounds="$(ROUNDS)" --parts="$(PARTS)"

render: $(READY) ## measure how a book's time falls with 1, 2 and 4 boards on this machine (ROUNDS, SENTENCES; needs nats-server)
	@$(BUN) test/tools/render.ts --rounds="$(ROUNDS)" --sentences="$(SENTENCES)"

compare: $(READY) ## measure against a commit: make compare AGAINST=HEAD~1 (ROUNDS, MODELS="starter 0.6b", BENCH="--frames 20")
	@$(BUN) test/tools/compare.ts "$(AGAINST)" --rounds="$(ROUNDS)" --models="$(MODELS)" --bench="$(BENCH)"

npu-demo: $(READY) ## speak on stand-ins for the NPUs (needs a C compiler)
	@$(BUN) test/tools/npu-demo.ts

npu-check: $(READY) ## build the NPU's graphs with Rockchip's toolkit and simulate them (fetches 0.7 GB from PyPI; FULL=1: full size too)
	@FULL="$(FULL)" $(BUN) test/tools/npu-check.ts

native: ## compile the C sources, as the tests do
	@for source in native/*.c; do echo "cc $$source" && \
	  $(CC) -std=c11 -Wall -Wextra -Werror -Inative -DFAKE_VERSION='"1.0"' -fsyntax-only $$source || exit 1; done

# The program as one file to install or package: for this machine, with ARCH=arm64 the other one, with BINARY=FILE one from elsewhere.
ARCH := $(patsubst x86_64,x64,$(patsubst aarch64,arm64,$(shell uname -m)))
DIST := dist
BINARY := $(DIST)/tts-linux-$(ARCH)
BUILT := $(DIST)/tts-linux-x64 $(DIST)/tts-linux-arm64

binary: $(BUILT) ## build the program as one file each for x64 and arm64: dist/tts-linux-*

$(BUILT): $(DIST)/tts-%: $(READY) $(shell find tts.ts LICENSE src ffi models -type f)
	@$(BUN) src/packaging/binary.ts $(DIST) $*

test-rootfs: $(READY) ## try the x64 binary in bare Debian roots (fetches Debian packages)
	@.ci/test-rootfs

test-arm64: $(READY) ## run tests and the arm64 binary under emulation (fetches qemu and Debian packages)
	@.ci/test-arm64

PREFIX := /usr/local
PACKAGE = BINARY="$(BINARY)" ARCH="$(ARCH)" DIST="$(DIST)" PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" TTS="$(BUN) tts.ts" src/packaging/install

man: $(READY) ## write the manual page: dist/tts.1
	@mkdir -p $(DIST) && $(BUN) tts.ts man > $(DIST)/tts.1

install: $(READY) $(filter $(BUILT),$(BINARY)) ## install into PREFIX (/usr/local): program, manual, completions, licences, examples
	@$(PACKAGE) install

uninstall: ## remove all of that again
	@$(PACKAGE) uninstall

deb: $(READY) $(filter $(BUILT),$(BINARY)) ## make a Debian package of it, in dist
	@$(PACKAGE) deb

clean: ## remove what make made
	@rm -rf node_modules .bun dist output.wav
