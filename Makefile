# make demo: see it work. make test: the specs (T=spec/x_spec.lua: one file;
# JOBS=1: one file at a time).
LUA ?= $(shell command -v lua5.4 || echo lua)
BUSTED ?= /usr/bin/busted
PREFIX ?= /usr/local
OUT ?= build
T ?=
JOBS ?= 2

PACKAGES = make gcc libc6-dev pkg-config lua5.4 liblua5.4-dev libpq-dev lua-cjson lua-busted \
  lua-socket lua-cqueues lua-luv lua-check clang-format postgresql pgbouncer openssl procps tzdata \
  iproute2 nftables
INSTALLED = $(shell dpkg-query -W -f '$${db:Status-Status}=$${Package}\n' $(PACKAGES) 2>/dev/null)
MISSING = $(filter-out $(patsubst installed=%,%,$(INSTALLED)),$(PACKAGES))
ROCKS = luarocks install lua-cjson busted luasocket luacheck

# Asked once, but not before `deps` has run.
INCLUDES = $(eval INCLUDES := $(shell pkg-config --cflags libpq 2>/dev/null || echo -I`pg_config --includedir`) \
  $(shell pkg-config --cflags lua5.4 2>/dev/null || pkg-config --cflags lua))$(INCLUDES)
LIBS = $(eval LIBS := $(shell pkg-config --libs-only-L libpq 2>/dev/null) -lpq -lpthread)$(LIBS)
SHARED := $(if $(filter Darwin,$(shell uname)),-bundle -undefined dynamic_lookup,-shared -Wl,-z,nodelete)
STANDARD = -std=c11 -D_POSIX_C_SOURCE=200809L -fPIC -fvisibility=hidden $(INCLUDES)
CFLAGS ?= -O2 -g
WARNINGS = -Werror -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
  -Wcast-qual -Wpointer-arith -Wvla -Wundef -Wformat=2
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
PATHS = LUA='$(LUA)' LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='$(OUT)/?.so;;'
WITH_LUA = $(PATHS) $(LUA)
files = $(wildcard $(foreach name,$(1),src/$(name).[ch]))

.PHONY: deps build demo test specs check sanitize apicheck fuzz bench install clean

build: $(OUT)/pg/core.so

deps: # installs what is missing where it may, else says how
	@if [ -z "$(MISSING)" ]; then :; elif [ `id -u` = 0 ] && command -v apt-get >/dev/null; then \
	  echo "  APT $(MISSING)"; export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && \
	  apt-get install -qq --no-install-recommends --no-upgrade $(MISSING) >/dev/null; \
	elif command -v $(CC) pkg-config luacheck clang-format openssl >/dev/null && \
	  $(LUA) -e 'require "cjson" require "socket" require "busted"'; then :; \
	else printf '%s\n' 'Something is missing. As root:' '  Debian, Ubuntu: apt-get install $(PACKAGES)' \
	  '  Fedora: dnf install make gcc pkgconf lua-devel libpq-devel clang-tools-extra postgresql-server openssl luarocks && $(ROCKS)' \
	  '  Alpine: apk add make gcc musl-dev pkgconf lua5.4-dev libpq-dev clang-extra-tools postgresql openssl luarocks5.4 && $(ROCKS)' \
	  '  macOS: brew install pkgconf lua libpq clang-format postgresql openssl luarocks && $(ROCKS)'; false; fi

$(OUT)/pg/core.so: $(patsubst src/%.c,$(OUT)/obj/%.o,$(wildcard src/*.c))
	@mkdir -p $(@D); $(CC) $(CFLAGS) $(SHARED) -o $@ $^ $(LIBS)

$(OUT)/obj/%.o: src/%.c Makefile
	@mkdir -p $(@D); echo "  CC $@"; $(CC) $(STANDARD) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(OUT)/obj/*.d)

demo: deps build
	@$(WITH_LUA) -e 'os.exit(require("pg.throwaway").run("$(LUA) examples/demo.lua"))'

test: deps build specs

specs:
	@$(if $(T),$(WITH_LUA) $(BUSTED) --pattern=_spec $(T),\
	  $(PATHS) sh spec/tools/specs.sh $(JOBS) $(LUA) $(BUSTED) --pattern=_spec)

check: deps # every check runs, and any failure counts
	@failed=0; for cc in gcc clang; do command -v $$cc >/dev/null || continue; \
	  for file in $(wildcard src/*.c spec/*/*.c spec/*/*/*.c); do \
	    $$cc $(STANDARD) $(WARNINGS) -O2 -Isrc -c -o /dev/null $$file || failed=1; done; done; \
	if $(CC) $(STANDARD) -M $(call files,deadline process bytes oids buffer meaning wire fetch relay cancel notice notify watch) | \
	  grep -E '/(lua|lauxlib|lualib)\.h'; then echo "layers 0 and 1 must not see Lua"; failed=1; fi; \
	if $(CC) $(STANDARD) -M $(call files,deadline bytes oids buffer meaning typemap codec*) | \
	  grep libpq-fe.h; then echo "codecs must not see libpq"; failed=1; fi; \
	for file in $(wildcard src/*.[ch] spec/*/*.[ch] spec/*/*/*.[ch]); do clang-format --dry-run -Werror $$file \
	  2>/dev/null || { echo "not formatted: $$file"; failed=1; }; done; \
	sh -n lua/pg/throwaway.sh || failed=1; luacheck -q --no-color lua spec examples || failed=1; exit $$failed

sanitize: deps # a Lua that preloads libasan, first in PATH for the specs' child processes too
	@$(MAKE) -s build OUT=build/asan CFLAGS='-O1 -g $(SANITIZE)'
	@mkdir -p build/asan/bin; $(CC) -shared -fPIC -o build/asan/forget.so spec/tools/forget_preload.c
	@printf '%s\n' '#!/bin/sh' 'exec env LD_PRELOAD=$(shell $(CC) -print-file-name=libasan.so):$(CURDIR)/build/asan/forget.so$${LD_PRELOAD:+:$$LD_PRELOAD} \
	  $(LUA) "$$@"' >build/asan/bin/$(notdir $(LUA)); chmod +x build/asan/bin/$(notdir $(LUA))
	@PATH="$(CURDIR)/build/asan/bin:$$PATH" ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
	  LSAN_OPTIONS=suppressions=$(CURDIR)/spec/tools/lsan.supp:print_suppressions=0 $(MAKE) -s specs OUT=build/asan LUA=$(notdir $(LUA))

apicheck: deps # in a Lua that aborts when its C API is misused; slow: T=spec/x_spec.lua for others
	@mkdir -p build/apicheck; $(MAKE) -s build OUT=build/apicheck CFLAGS='-O1 -g -fsanitize=address'
	@sh spec/tools/apicheck.sh build/apicheck $(LUA)
	@PATH="$(CURDIR)/build/apicheck:$$PATH" ASAN_OPTIONS=detect_leaks=0 $(MAKE) -s specs OUT=build/apicheck \
	  LUA=$(notdir $(LUA)) T=$(if $(filter spec,$(T)),spec/rows_spec.lua,$(T))

fuzz: deps # the codecs under clang's libFuzzer; SECONDS=60 for each target, TARGETS=json for one
	@INCLUDES='$(INCLUDES)' LIBS='$(LIBS)' sh spec/tools/fuzz.sh $(OUT)/fuzz $(or $(SECONDS),60) $(JOBS) $(TARGETS)

bench: deps build # W=rows,lookup, W=linear or W=memory for some; ROUNDS=1: quick; PEERS=0: without
	@mkdir -p $(OUT)/bench; $(CC) $(STANDARD) -O2 -o $(OUT)/bench/raw spec/bench/raw*.c $(LIBS)
	@$(WITH_LUA) spec/bench/run.lua $(OUT)/bench $(W)

install: build
	install -d $(DESTDIR)$(PREFIX)/lib/lua/5.4/pg $(DESTDIR)$(PREFIX)/share/lua/5.4
	install $(OUT)/pg/core.so $(DESTDIR)$(PREFIX)/lib/lua/5.4/pg/core.so
	cp -R lua/pg $(DESTDIR)$(PREFIX)/share/lua/5.4/

clean:
	rm -rf build
