-- SPDX-License-Identifier: MIT
-- Errors of a server that speaks another language: told by their codes, and by names and places
-- that are the same in all. The locales are made here, of nothing but names: gettext asks no more.
local pg = require "pg"
local checks = require "spec.error_checks"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains, lacks, eventually = support.contains, support.lacks, support.eventually
local with = support.with

local MISSING <const> = "no localedef here, or no translations of the server's messages"
local WRONG <const> = "WR0NGPW"
local ENGLISH <const> = 'column "nix" does not exist'

-- Those that the server speaks, in the end.
local languages = { "de", "es", "fr", "ja", "ru", "zh_CN" }

-- Programs that run the server's with these locales; nil where no locale can be made.
local function foreign_programs(folder)
  local source = { "comment_char %", "escape_char /" }
  for name in ("CTYPE COLLATE MONETARY NUMERIC TIME MESSAGES"):gmatch("%a+") do
    source[#source + 1] = ('LC_%s\ncopy "POSIX"\nEND LC_%s'):format(name, name)
  end
  support.write(folder .. "/source", table.concat(source, "\n") .. "\n")
  local found, _, code = support.run(([[cd %s && mkdir locales bin
    localedef -c -i ./source -f UTF-8 locales/xx.utf8 >/dev/null 2>&1
    test -d locales/xx.utf8/LC_MESSAGES || exit 1
    for name in %s; do ln -s xx.utf8 locales/$name.utf8; done
    bin=$PG_THROWAWAY_BINDIR
    [ -n "$bin" ] || bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    [ -n "$bin" ] || bin=$(pg_config --bindir)
    for name in initdb pg_ctl postgres; do
      echo '#!/bin/sh' >bin/$name
      echo "LOCPATH=$PWD/locales exec $bin/$name \"\$@\"" >>bin/$name
    done
    chmod -R a+rX . && chmod a+x bin/* && test -x "$bin/postgres" && echo "$PWD/bin"]])
    :format(folder, table.concat(languages, " ")))
  return code == 0 and found:match("%S+") or nil
end

describe("an error in another language", function()
  local folder, server, su

  setup(function()
    folder = support.folder()
    local programs = foreign_programs(folder)
    server = assert(throwaway.start { tcp = true, bindir = programs,
      initdb = { programs and "--lc-ctype=xx.utf8" },
      hba = { "host all stranger 127.0.0.1/32 reject", "local all shut_out reject" } })
    su = assert(pg.connect(server.options))
    assert(su:execute [[
      CREATE ROLE app_user LOGIN; CREATE TABLE users (id int PRIMARY KEY);
      CREATE SCHEMA sales; CREATE SEQUENCE numbers; CREATE FUNCTION answer() RETURNS int
      LANGUAGE sql AS 'SELECT 42'; REVOKE EXECUTE ON FUNCTION answer() FROM public;
      INSERT INTO users VALUES (1)]])
    local spoken = {}
    for _, language in ipairs(programs and languages or {}) do
      if su:execute("SET lc_messages = '" .. language .. ".utf8'") then
        local _, err = su:query "SELECT nix"
        if err.message ~= ENGLISH then spoken[#spoken + 1] = language end
      end
    end
    su:execute "RESET lc_messages"
    languages = spoken
  end)

  teardown(function()
    su:close()
    server:stop()
    os.execute("rm -rf " .. folder)
  end)

  it("S025, C5: a server without TLS under require: turn it on, or sslmode = disable", function()
    local err = support.failed("ssl_failed", pg.connect(with(server.tcp, { sslmode = "require" })))
    checks.sound(err)
    contains(err.message, "does not support SSL")
    contains(err.fixes[1], "ssl = on", "trusted network", 'sslmode = "disable"')
    assert.equal(3, #err.fixes)
    assert.is_false(err.retryable)
  end)

  it("tells the same of a failed statement", function()
    if #languages == 0 then pending(MISSING) end
    local app <close> = assert(pg.connect(with(server.options, { user = "app_user" })))
    for _, language in ipairs(languages) do
      local set = "SET lc_messages = '" .. language .. ".utf8'"
      assert(su:execute(set))
      assert(su:execute(("ALTER ROLE app_user SET lc_messages = '%s.utf8'"):format(language)))
      assert(app:reset())
      for _, case in ipairs {
        { su, "SELCT 1", { kind = "syntax_error", position = 1 } },
        { su, "SELECT 1; SELECT 2", { kind = "syntax_error" }, "one statement at a time" },
        { su, "SELECT * FROM userz", { kind = "undefined_table", table = "userz" } },
        { su, "SELECT nix FROM users", { kind = "undefined_column", column = "nix" } },
        { su, "SELECT $1::int", { kind = "invalid_value", parameter = 1 }, "parameter $1", "x" },
        { su, "SELECT $1 + $2::int", { kind = "invalid_parameter",
          message = "the statement has 2 parameters, but 1 was given" }, "exactly 2 values", 1 },
        { su, "INSERT INTO users VALUES ($1)", { kind = "constraint_violation", table = "users",
          constraint = "users_pkey" }, "ON CONFLICT (id)", 1 },
        { su, { query = "SET statement_timeout = 20; BEGIN; SELECT pg_sleep(9)" },
          { kind = "query_timeout", completed = false } },
        { app, "SELECT * FROM users", { kind = "permission_denied", table = "users" },
          'DELETE ON "users" TO "app_user"' },
        { app, "SELECT * FROM sales.users", { kind = "permission_denied", schema = "sales" },
          'GRANT USAGE ON SCHEMA "sales" TO "app_user"' },
        { app, "SELECT nextval('numbers')", { kind = "permission_denied" },
          'ON SEQUENCE "numbers" TO "app_user"' },
        { app, "SELECT answer()", { kind = "permission_denied" },
          'ON FUNCTION "answer" TO "app_user"' },
      } do
        local call = type(case[2]) == "table" and case[1].execute or case[1].query
        local answer, err = call(case[1], case[2], table.unpack(case, 5))
        assert.is_nil(answer)
        for name, value in pairs(case[3]) do
          assert.equal(value, err[name], language .. ": " .. tostring(err))
        end
        if case[4] then contains(err.fixes[1], case[4]) end
        checks.sound(err)
        if call == su.execute then assert(su:execute "ROLLBACK; RESET statement_timeout") end
      end
    end
    su:execute "RESET lc_messages"
  end)

  it("tells the same of a failed connect", function()
    if #languages == 0 then pending(MISSING) end
    local before
    for _, language in ipairs(languages) do
      assert(su:execute("ALTER SYSTEM SET lc_messages = '" .. language .. ".utf8'"))
      assert(su:execute "SELECT pg_reload_conf()")
      local function refused(more)
        return select(2, pg.connect(with(server.tcp, with({ sslmode = "disable" }, more))))
      end
      local err = eventually(function()
        local found = refused { password = WRONG }
        return found.message ~= before and found
      end)
      before = err.message
      lacks(err.message, "password authentication failed", "auth.c")
      assert.equal("authentication_failed", err.kind)
      assert.equal("28P01", err.sqlstate)
      assert.equal(5, #checks.sound(err).fixes)
      lacks(tostring(err), WRONG)
      err = checks.sound(refused { database = "nope" })
      assert.equal("authentication_failed", err.kind)
      assert.equal("3D000", err.sqlstate)
      contains(err.fixes[1], 'database name is correct: "nope"')
      err = checks.sound(refused { user = "stranger" })
      assert.equal("28000", err.sqlstate)
      assert.equal("ssl_required", err.kind, tostring(err))
      err = checks.sound(refused { user = "stranger", sslmode = "prefer" })
      assert.equal("authentication_failed", err.kind, tostring(err))
      err = select(2, pg.connect(with(server.options, { user = "shut_out" })))
      assert.equal("authentication_failed", checks.sound(err).kind, tostring(err))
    end
    assert(su:execute "ALTER SYSTEM RESET lc_messages")
  end)
end)
