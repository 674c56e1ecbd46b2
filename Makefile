# Sow: build, checks, installation. `make help` lists the targets; deps/packages lists what is needed.
# Variants have objects and products of their own: CC=clang, SANITIZE=address,undefined, FAULTS=1, FUZZ=1.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
BUILD ?= build
ifneq ($(filter default undefined,$(origin CC)),)
CC := gcc
endif
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += -rR --no-print-directory

# All cores, unless -j was given or this is a sub-make.
ifeq ($(MAKELEVEL)$(filter -j% --jobserver%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
Q := $(if $(V),,@)
SUB = $(MAKE) $(if $(V),,-s)

# ---- variants ----
comma := ,
VARIANT_WORDS := $(if $(FUZZ),fuzz,$(filter-out gcc,$(notdir $(firstword $(CC))))) \
                 $(if $(SANITIZE),sanitize-$(subst $(comma),-,$(SANITIZE))) $(if $(FAULTS),faults)
space := $(subst x,,x x)
VARIANT := $(subst $(space),-,$(strip $(VARIANT_WORDS)))
OUT := $(BUILD)$(if $(VARIANT),/$(VARIANT))
OBJ := $(BUILD)/obj/$(or $(VARIANT),plain)
# Few sources know of faults: the others' objects are those of the plain build.
SHARED_OBJ := $(if $(filter faults,$(VARIANT)),$(BUILD)/obj/plain)
FAULTY := $(OUT)$(if $(FAULTS),,$(if $(VARIANT),-,/)faults)
ifdef FUZZ
override CC := clang
override SANITIZE := address,undefined
endif

# ---- dependencies: found once, then remembered ----
OWN_GOALS := help clean format deps uninstall check-bare
GOALS := $(or $(MAKECMDGOALS),all)
ifneq ($(filter clean,$(GOALS)),)
ifneq ($(GOALS),clean)
$(error clean stands alone: make clean && make $(filter-out clean,$(GOALS)))
endif
endif
SECTIONS := build $(if $(filter demo check,$(GOALS)),run) $(if $(filter check%,$(GOALS)),test)
ifneq ($(filter-out $(OWN_GOALS),$(GOALS)),)
include $(BUILD)/config.mk
endif
INSTALL_PACKAGES = BUILD=$(BUILD) DEPS=$(DEPS) sh deps/install
$(BUILD)/config.mk: deps/packages deps/optional deps/configure
	@$(INSTALL_PACKAGES) $(SECTIONS)
	@sh deps/configure $@

# ---- flags ----
# Not -Wmaybe-uninitialized: gcc cannot know that sow_fail never returns SOW_OK, so every SOW_TRY would be suspect.
WERROR ?= -Werror
WARN := -Wall -Wextra $(WERROR) -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla -Wundef \
        -Wpointer-arith -Wwrite-strings -Wformat=2 -Wno-format-nonliteral -Wno-missing-field-initializers \
        $(if $(findstring clang,$(CC)),-Wno-pass-failed,-Wno-maybe-uninitialized)
# Speed without -ffast-math (ENGINE: at link it would change denormals for the whole process) and without
# -march=native: vector loops choose their instruction set at run time.
FAST := -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast
# The streams of src/random have the same bits everywhere: nothing may be contracted or reordered.
EXACT := -O3 -ffp-contract=off
DEBUG := -g
ifdef SANITIZE
FAST := -O1 -fno-math-errno -fno-trapping-math -ffp-contract=fast
EXACT := -O1 -ffp-contract=off
DEBUG := -g -fno-omit-frame-pointer -DSOW_SANITIZE
SANITIZERS := -fsanitize=$(SANITIZE) $(if $(findstring undefined,$(SANITIZE)),-fno-sanitize-recover=undefined)
endif
ifdef FUZZ
SANITIZERS += -fsanitize=fuzzer-no-link
endif
# clang 14 gives the clones of a function another name, and the thread sanitizer runs before they are chosen.
ifneq ($(findstring clang,$(CC))$(findstring thread,$(SANITIZE)),)
CLONES := '-Dtarget_clones(...)='
endif
COMMON = -std=c17 -D_GNU_SOURCE -Iinclude -Isrc $(WARN) $(DEBUG) -fPIC \
         -fno-semantic-interposition -fopenmp $(SANITIZERS) $(CLONES) $(DEPS_CFLAGS) $(CPPFLAGS) $(CFLAGS)
LIBS = -Wl,--as-needed $(DEPS_LIBS) -lm -lpthread
LINK = $(CC) -fopenmp $(SANITIZERS) $(LDFLAGS)

# A change of flags rebuilds, a change of this file alone does not.
FLAGS_NOW := $(CC) | $(FAST) | $(EXACT) | $(COMMON) | $(LIBS) | $(LDFLAGS)
same = $(and $(findstring x$(1)x,x$(2)x),$(findstring x$(2)x,x$(1)x))
ifneq ($(filter-out $(OWN_GOALS),$(GOALS)),)
$(foreach folder,$(OBJ) $(SHARED_OBJ),$(if $(call same,$(strip $(file <$(folder)/flags)),$(strip $(FLAGS_NOW))),,\
    $(shell mkdir -p $(folder))$(file >$(folder)/flags,$(FLAGS_NOW))))
endif

# ---- sources ----
MAIN := src/cli/main.c
SOURCES := $(wildcard src/*/*.c src/*/*/*.c src/*/*/*/*.c)
CLI_SOURCES := $(filter src/cli/%,$(SOURCES))
# A program of its own, linked with the C library only: src/run/supervisor_main.c becomes sow-supervisor.
SMALL_SOURCES := $(filter %_main.c,$(SOURCES))
# A plug-in, loaded only when it is needed and linked with its own library: src/run/mpi_plugin.c becomes sow-mpi.so.
PLUGIN_SOURCES := $(filter %_plugin.c,$(SOURCES))
LIB_SOURCES := $(filter-out $(CLI_SOURCES) $(SMALL_SOURCES) $(PLUGIN_SOURCES),$(SOURCES))
SMALL_PROGRAMS := $(patsubst %_main,$(OUT)/sow-%,$(basename $(notdir $(SMALL_SOURCES))))
UNIT_SOURCES := $(wildcard tests/unit/test_*.c tests/unit/*/test_*.c tests/unit/*/*/test_*.c tests/calibrate/test_*.c)
FAULT_SOURCES := $(wildcard tests/faults/test_*.c)
SUPPORT_SOURCES := $(filter-out $(UNIT_SOURCES),$(wildcard tests/unit/*.c tests/unit/*/*.c))
BENCH_SOURCES := $(wildcard bench/*.c)
FUZZ_SOURCES := $(wildcard tests/fuzz/fuzz_*.c)

FAULT_AWARE := $(if $(SHARED_OBJ),$(shell grep -lE 'base/fault.h|SOW_FAULTS' $(SOURCES)) $(FAULT_SOURCES))
objects = $(patsubst %.c,$(OBJ)/%.o,$(if $(SHARED_OBJ),$(filter $(FAULT_AWARE),$(1)),$(1))) \
          $(if $(SHARED_OBJ),$(patsubst %.c,$(SHARED_OBJ)/%.o,$(filter-out $(FAULT_AWARE),$(1))))
programs = $(patsubst %.c,$(OUT)/%,$(1))
UNIT_PROGRAMS := $(call programs,$(UNIT_SOURCES))
FAULT_PROGRAMS := $(call programs,$(FAULT_SOURCES))
BENCH_PROGRAMS := $(call programs,$(BENCH_SOURCES))
FUZZ_PROGRAMS := $(call programs,$(FUZZ_SOURCES))
CALIBRATE := $(OUT)/tests/calibrate/calibrate $(OUT)/tests/calibrate/figures

# ---- products ----
SOW := $(if $(wildcard $(MAIN)),$(OUT)/sow)
PLUGINS := $(foreach plugin,$(PLUGINS_ON),$(OUT)/sow-$(plugin).so)
SHARED := $(if $(SANITIZE),,$(OUT)/libsow.so.0 $(OUT)/libsow.so)

.PHONY: all
all: $(OUT)/libsow.a $(SHARED) $(SOW) $(SMALL_PROGRAMS) $(PLUGINS)

# Written under another name first: a build that is stopped, or runs beside another, leaves no half file.
define compile
$(1)/%.o: %.c $(1)/flags
	@mkdir -p $$(@D)
	@$$(if $$(V),,echo "  CC    $$<")
	$$(Q)$$(CC) $$(OPTIMISE) $$(COMMON) $(2) $$(EXTRA) -MMD -MP -MT $$@ -MF $$@.$$$$$$$$.d -c $$< -o $$@.$$$$$$$$ \
	    && mv -f $$@.$$$$$$$$.d $$(@:.o=.d) && mv -f $$@.$$$$$$$$ $$@ || { rm -f $$@.$$$$$$$$ $$@.$$$$$$$$.d; exit 1; }
$(1)/%.o: OPTIMISE = $$(FAST)
$(1)/src/random/%.o: OPTIMISE = $$(EXACT)
$(1)/tests/%.o: EXTRA = -Itests -Itests/unit -Wno-unused-parameter
$(1)/flags: ;
endef
$(eval $(call compile,$(OBJ),$(if $(FAULTS),-DSOW_FAULTS)))
$(if $(SHARED_OBJ),$(eval $(call compile,$(SHARED_OBJ))))

# The list of objects is a prerequisite of its own, so that a source taken away leaves the library too.
$(OUT)/libsow.a: $(call objects,$(LIB_SOURCES)) $(OBJ)/library.list
	@mkdir -p $(@D)
	@$(if $(V),,echo "  AR    $@")
	$(Q)rm -f $@.$$$$ && ar rcs $@.$$$$ $(filter %.o,$^) && mv -f $@.$$$$ $@
LIBRARY_NOW := $(sort $(LIB_SOURCES))
ifneq ($(filter-out $(OWN_GOALS),$(GOALS)),)
ifneq ($(strip $(file <$(OBJ)/library.list)),$(LIBRARY_NOW))
$(file >$(OBJ)/library.list,$(LIBRARY_NOW))
endif
endif
$(OBJ)/library.list: ;

$(OUT)/libsow.so.0: $(OUT)/libsow.a
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(LINK) -shared -Wl,-soname,libsow.so.0 -Wl,-z,defs -o $@.$$$$ -Wl,--whole-archive $< -Wl,--no-whole-archive \
	    $(LIBS) && mv -f $@.$$$$ $@
$(OUT)/libsow.so: $(OUT)/libsow.so.0
	$(Q)ln -sf libsow.so.0 $@

$(OUT)/sow: $(call objects,$(CLI_SOURCES)) $(OUT)/libsow.a
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(LINK) -o $@.$$$$ $^ $(LIBS) && mv -f $@.$$$$ $@

define small_program
$(OUT)/sow-$(patsubst %_main,%,$(basename $(notdir $(1)))): $(1) $(OBJ)/flags
	@$$(if $$(V),,echo "  LINK  $$@")
	$$(Q)mkdir -p $$(@D) && $$(CC) -O2 -std=c17 -D_GNU_SOURCE -Isrc $$(WARN) $$(CFLAGS) $$(LDFLAGS) -o $$@.$$$$$$$$ $$< && mv -f $$@.$$$$$$$$ $$@
endef
$(foreach source,$(SMALL_SOURCES),$(eval $(call small_program,$(source))))

define plugin
$(OUT)/sow-$(patsubst %_plugin,%,$(basename $(notdir $(1)))).so: $(1) $(wildcard $(dir $(1))*.h) $(OBJ)/flags
	@$$(if $$(V),,echo "  LINK  $$@")
	$$(Q)mkdir -p $$(@D) && $$(CC) -O2 -std=c17 -D_GNU_SOURCE -Iinclude -Isrc $$(WARN) -fPIC -shared \
	    $$(PLUGIN_$(patsubst %_plugin,%,$(basename $(notdir $(1))))_CFLAGS) $$(CFLAGS) $$(LDFLAGS) -o $$@.$$$$$$$$ $$< \
	    $$(PLUGIN_$(patsubst %_plugin,%,$(basename $(notdir $(1))))_LIBS) && mv -f $$@.$$$$$$$$ $$@
endef
$(foreach source,$(PLUGIN_SOURCES),$(eval $(call plugin,$(source))))

$(CALIBRATE) $(OUT)/tests/calibrate/test_calibrate: $(OBJ)/tests/calibrate/simulate.o
$(UNIT_PROGRAMS) $(FAULT_PROGRAMS) $(CALIBRATE): $(OUT)/tests/%: $(OBJ)/tests/%.o $(call objects,$(SUPPORT_SOURCES)) $(OUT)/libsow.a
	@mkdir -p $(@D)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(LINK) -o $@.$$$$ $(filter %.o,$^) $(filter %.a,$^) -lcmocka $(LIBS) && mv -f $@.$$$$ $@
$(BENCH_PROGRAMS): $(OUT)/bench/%: $(OBJ)/bench/%.o $(OUT)/libsow.a
	@mkdir -p $(@D)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(LINK) -o $@.$$$$ $^ $(LIBS) && mv -f $@.$$$$ $@
$(FUZZ_PROGRAMS): $(OUT)/tests/%: $(OBJ)/tests/%.o $(OUT)/libsow.a
	@mkdir -p $(@D)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(LINK) -fsanitize=fuzzer -o $@.$$$$ $^ $(LIBS) && mv -f $@.$$$$ $@

-include $(patsubst %.o,%.d,$(call objects,$(LIB_SOURCES) $(CLI_SOURCES) $(UNIT_SOURCES) $(FAULT_SOURCES) \
    $(SUPPORT_SOURCES) $(BENCH_SOURCES) $(FUZZ_SOURCES) $(wildcard tests/calibrate/*.c)))

# ---- packages ----
.PHONY: deps
deps: ## install the Debian packages that are missing (SECTIONS="build run test dev peers")
	@$(INSTALL_PACKAGES) $(if $(filter command% environment%,$(origin SECTIONS)),$(SECTIONS),build run test)
	@rm -f $(BUILD)/config.mk # what is there is looked for anew

# ---- checks ----
# T=pattern runs only what matches: make check T=safetensors
PICK = $(if $(T),$(foreach test,$(1),$(if $(findstring $(T),$(test)),$(test))),$(1))
CLI_TESTS := $(filter-out %/lib.sh,$(sort $(wildcard tests/cli/*.sh)))
FAULT_TESTS := $(filter-out %/lib.sh,$(sort $(wildcard tests/faults/*.sh)))
RUN_TESTS = SOW=$(OUT)/sow SOW_FAULTY=$(FAULTY)/sow sh tests/run.sh -o $(BUILD)/log

.PHONY: test-programs fault-programs check kills check-sanitize check-threads check-valgrind check-bare
test-programs: $(UNIT_PROGRAMS) $(SMALL_PROGRAMS) $(PLUGINS)
fault-programs: $(FAULT_PROGRAMS) $(SOW) $(SMALL_PROGRAMS) $(PLUGINS)

check: ## every unit, command-line, fault and smoke test (T=pattern: only those)
	@$(INSTALL_PACKAGES) build run test
	+@$(SUB) all $(call PICK,$(UNIT_PROGRAMS))
	$(if $(call PICK,$(FAULT_TESTS) $(FAULT_SOURCES)),+@$(SUB) FAULTS=1 fault-programs)
	@$(RUN_TESTS) -s $(BUILD)/check.total $(call PICK,$(UNIT_PROGRAMS) $(CLI_TESTS) $(FAULT_TESTS) \
	    $(patsubst %.c,$(FAULTY)/%,$(FAULT_SOURCES)))

check-sanitize: ## unit tests under the address and undefined-behaviour sanitizers
	@$(INSTALL_PACKAGES) build run test
	+@$(SUB) SANITIZE=address,undefined $(patsubst $(BUILD)/%,$(BUILD)/sanitize-address-undefined/%,$(SMALL_PROGRAMS) $(PLUGINS) $(call PICK,$(UNIT_PROGRAMS)))
	@$(RUN_TESTS) -s $(BUILD)/sanitize.total $(patsubst $(BUILD)/%,$(BUILD)/sanitize-address-undefined/%,$(call PICK,$(UNIT_PROGRAMS)))

KILLS ?= 200
kills: ## races killed at KILLS=200 random moments and at every write (make check: at 20 and a third), in ten minutes
	+@$(SUB) all $(BUILD)/tests/unit/run/test_kills
	+@$(SUB) FAULTS=1 fault-programs
	@SOW_KILLS=$(KILLS) TEST_SECONDS=3600 $(RUN_TESTS) $(BUILD)/tests/unit/run/test_kills $(FAULTY)/tests/faults/test_kill_race

# What uses threads itself; a child of a fork may start its own.
THREAD_TESTS = $(patsubst $(BUILD)/%,$(BUILD)/sanitize-thread/%,$(foreach test,$(UNIT_PROGRAMS),$(if $(filter test_thread_%,$(notdir $(test))),$(test))))
check-threads: ## tests named test_thread_* under the thread sanitizer
	@$(INSTALL_PACKAGES) build run test
	+@$(SUB) SANITIZE=thread $(call PICK,$(THREAD_TESTS))
	@TSAN_OPTIONS=die_after_fork=0 $(RUN_TESTS) $(call PICK,$(THREAD_TESTS))

VALGRIND_FOLDERS ?= base random tensor formats data
check-valgrind: ## unit tests of VALGRIND_FOLDERS under valgrind
	@$(INSTALL_PACKAGES) build run test dev
	+@$(SUB) test-programs
	@TEST_WRAP="valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite" $(RUN_TESTS) \
	    $(call PICK,$(filter $(patsubst %,$(BUILD)/tests/unit/%/test_%,$(VALGRIND_FOLDERS)),$(UNIT_PROGRAMS)))

check-bare: ## make demo and make check of HEAD on a new, bare Debian 12 in a folder (root)
	@$(INSTALL_PACKAGES) dev
	@BUILD=$(BUILD) bash tests/check-bare.sh

RACES ?= 10000
.PHONY: calibrate
calibrate: ## error rates and power of verdicts by simulation: tables and plots of docs/prove.md (RACES=10000, minutes)
	@$(INSTALL_PACKAGES) build test
	+@$(SUB) $(CALIBRATE)
	@mkdir -p $(BUILD)/calibrate && nice $(OUT)/tests/calibrate/figures $(BUILD)/calibrate
	@nice $(OUT)/tests/calibrate/calibrate $(RACES)

# ---- demo, peers, benchmarks, fuzzing ----
.PHONY: demo peers bench fuzz
demo: ## what Sow does, on real images, in five minutes
	@$(INSTALL_PACKAGES) build run
	+@$(SUB) all
	@set -- $$(cat $(BUILD)/packages.time 2>/dev/null); rm -f $(BUILD)/packages.time; \
	if [ $$# = 2 ]; then echo "Packages took $$(($$1 + $$2)) s ($$1 s of it downloads); the demo's own time starts now."; fi; \
	SOW=$(BUILD)/sow SOW_DOWNLOAD_SECONDS=$${1:-0} sh examples/demo.sh

PEERS_READY := $(BUILD)/peers/ready
$(PEERS_READY): deps/peers.txt
	@$(INSTALL_PACKAGES) peers
	@sh deps/peers $(BUILD)/peers
peers: $(PEERS_READY) ## tests against PyTorch and others, installed into build/peers (about 5 GB)
	+@$(SUB) all
	@PYTHON=$(BUILD)/peers/bin/python $(RUN_TESTS) -s $(BUILD)/peers.total $(call PICK,$(sort $(wildcard tests/peers/test_*.py)))

bench: $(PEERS_READY) ## speed and memory against named peers, into build/bench.json (LONG=1: the slow peers too)
	+@$(SUB) all $(BENCH_PROGRAMS)
	@SOW=$(BUILD)/sow BENCH_PROGRAMS=$(BUILD)/bench LONG=$(LONG) $(BUILD)/peers/bin/python bench/run.py --out $(BUILD)/bench.json

FUZZ_SECONDS ?= 60
fuzz: ## every parser under libFuzzer, FUZZ_SECONDS=60 each (T=pattern: only those)
	@$(INSTALL_PACKAGES) build dev
	+@$(SUB) FUZZ=1 $(patsubst %.c,$(BUILD)/fuzz/%,$(call PICK,$(FUZZ_SOURCES)))
	@sh tests/fuzz/run.sh $(BUILD)/fuzz $(FUZZ_SECONDS) $(call PICK,$(FUZZ_SOURCES))

# ---- installation ----
VERSION = $(or $(shell sed -n 's/^\#define SOW_VERSION "\(.*\)"/\1/p' include/sow/*.h),0.1.0)
TO = $(DESTDIR)$(PREFIX)
.PHONY: install uninstall
install: all ## command, library, headers, manual pages under PREFIX=/usr/local (DESTDIR for packages)
	install -d $(TO)/bin $(TO)/include/sow $(DESTDIR)$(LIBDIR)/pkgconfig $(TO)/libexec/sow
	install -m 755 $(BUILD)/sow $(TO)/bin/sow
	$(if $(SMALL_PROGRAMS),install -m 755 $(SMALL_PROGRAMS) $(PLUGINS) $(TO)/libexec/sow/)
	install -m 644 include/sow/*.h $(TO)/include/sow/
	install -m 644 $(BUILD)/libsow.so.0 $(BUILD)/libsow.a $(DESTDIR)$(LIBDIR)/
	ln -sf libsow.so.0 $(DESTDIR)$(LIBDIR)/libsow.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@LIBS@|$(DEPS_LIBS)|' \
	    sow.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/sow.pc
	@rm -rf $(BUILD)/man; if $(BUILD)/sow man -o $(BUILD)/man >/dev/null 2>&1 && [ -e $(BUILD)/man/sow.1 ]; then \
	    install -d $(TO)/share/man/man1 && install -m 644 $(BUILD)/man/*.1 $(TO)/share/man/man1/; fi
	@if $(BUILD)/sow completion bash >$(BUILD)/completion.bash 2>/dev/null; then \
	    install -D -m 644 $(BUILD)/completion.bash $(TO)/share/bash-completion/completions/sow; fi
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig 2>/dev/null || true; fi

uninstall: ## remove what install put there
	rm -rf $(TO)/bin/sow $(TO)/include/sow $(TO)/libexec/sow $(TO)/share/bash-completion/completions/sow
	rm -f $(TO)/share/man/man1/sow.1 $(TO)/share/man/man1/sow-*.1
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,libsow.so.0 libsow.so libsow.a pkgconfig/sow.pc)

# ---- housekeeping ----
.PHONY: clean format help
clean: ## remove what was built (build/peers and build/bare-debian.tar stay)
	@if [ -d $(BUILD) ]; then find $(BUILD) -mindepth 1 -maxdepth 1 ! -name peers ! -name 'bare-debian*.tar' ! -name bare -exec rm -rf {} +; fi

format: ## lay out the C sources as .clang-format says
	@find src include tests bench examples -name '*.[ch]' -exec clang-format -i {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
	@echo "  make                  the library and the command; variants: CC=clang SANITIZE=address,undefined FAULTS=1"
