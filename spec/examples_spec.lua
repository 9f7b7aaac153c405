-- SPDX-License-Identifier: MIT
-- The examples: each alone as its own process on a throwaway server, then all as the demo. And the
-- use cases that they stand for, with the statements as the integration's description has them.
local core = require "pg.core"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, lacks <const> = support.contains, support.lacks

local examples <const> = { "quickstart", "report", "check", "sync", "audit", "migrate",
  "validate", "upsert_zones", "bulk_load", "copy", "stream", "prepared",
  "pipeline", "pool", "errors" }

local server, db

-- Runs an example, after Lua code that may change the ground it stands on.
local function run(name, before)
  return support.run(("%s %s %s examples/%s.lua"):format(server:environment(), support.lua,
    before and "-e '" .. before .. "'" or "", name))
end

-- A host's program needs the sanitizer first where the module is built with it.
local function sanitizer()
  local path = package.searchpath("pg.core", package.cpath)
  local library = support.run("ldd " .. path .. " 2>/dev/null"):match("(%S*/libasan%S*)")
  return library and "LD_PRELOAD=" .. library or ""
end

local function absolute(path)
  return path:find "^/" and path or os.getenv "PWD" .. "/" .. path
end

local function left_behind()
  return db:query("SELECT nspname AS name FROM pg_namespace WHERE nspname LIKE 'lua_pg_%'").rows
end

setup(function()
  server = assert(throwaway.start { settings = { ["lua_pg.unused"] = "x" } })
  db = assert(pg.connect(server.options))
end)

teardown(function()
  if db then db:close() end
  if server then server:stop() end
end)

describe("an example", function()
  for _, name in ipairs(examples) do
    it("runs alone and cleans up: " .. name, function()
      local output, errors, code = run(name)
      assert.equal("", errors)
      assert.equal(0, code)
      assert.truthy(#output > 40)
      assert.falsy(output:find "\27") -- no colours
      assert.same({}, left_behind())
      assert(select(2, output:gsub("\n", "")) <= 25) -- one screen
    end)

    it("says what is wrong where no server is: " .. name, function()
      local output, errors, code = support.run(("PGHOST=/nonexistent %s examples/%s.lua")
        :format(support.lua, name))
      assert.equal("", output)
      contains(errors, "connection_refused", "What to try:")
      assert.equal(1, code)
    end)
  end

  it("begins anew where a killed run has left its tables", function()
    assert(db:execute "CREATE SCHEMA lua_pg_sync; CREATE TABLE lua_pg_sync.orders (old text)")
    local _, errors, code = run "sync"
    assert.equal("", errors)
    assert.equal(0, code)
    assert.same({}, left_behind())
  end)
end)

describe("the daily report (S002 S003 S110 to S112)", function()
  it("is what the mail says", function()
    assert.equal([[
To: team@example.com
Subject: Daily user report

Users    1284
Active    918   71.5 %

Day         Orders      Amount
2026-01-15       7      476.63
2026-01-14      58     3251.77
2026-01-13      57     1983.03
2026-01-12      39      664.17
]], (run "report"))
  end)
end)

describe("the data validation (S004)", function()
  it("counts and returns the rows that break each rule", function()
    local found, rule = {}, nil
    for line in run("check"):gmatch("[^\n]+") do
      local title = line:match("^%u+%s+(.*)") or line:match("^ok%s+(.*)")
      if title then
        rule = title
        found[rule] = { alert = line:find "^ALERT" ~= nil }
      else
        table.insert(found[rule], core.json_decode(line))
      end
    end
    assert.same({
      ["users have an e-mail address"] = { alert = true, { id = 2, email = "jane.example.com" },
        { id = 3 } },
      ["orders belong to a user"] = { alert = true, { id = 11, user_id = 4 } },
      ["no order is negative"] = { alert = true, { id = 12, total = "-3.50" } },
      ["no order is twice there"] = { alert = false },
    }, found)
  end)
end)

describe("the data migration (S002 S007)", function()
  it("brings over what is there, and again what there is later", function()
    local output = run("migrate"):gsub("checksum %d+", "checksum ?"):gsub(" +", " ")
    assert.equal([[
first run
 users 2500 rows, checksum ? on both sides
 orders 7000 rows, checksum ? on both sides
second run, after changes
 users 2501 rows, checksum ? on both sides
 orders 6500 rows, checksum ? on both sides
next id: 2502
]], output)
  end)

  it("goes to another database, of another time zone", function()
    assert(db:execute "CREATE DATABASE other TEMPLATE template0")
    assert(db:execute "ALTER DATABASE other SET TimeZone TO 'Asia/Tokyo'")
    local target = ("export TARGET='host=%s port=%d user=postgres dbname=other'; "):format(
      server.options.host, server.options.port)
    local output, errors, code = support.run(target .. ("%s %s examples/migrate.lua"):format(
      server:environment(), support.lua))
    assert.same({ "", 0 }, { errors, code })
    contains(output, "next id: 2502")
    support.eventually(function() return db:execute "DROP DATABASE other" end)
  end)

  it("brings over nothing when a row got lost on the way", function()
    local output, errors, code = run("migrate", [[
      require "pg"
      local methods = require "pg.core".methods
      local bulk_insert = methods.bulk_insert
      function methods.bulk_insert(db, name, rows)
        if name == "orders" then rows() end
        return bulk_insert(db, name, rows)
      end]])
    contains(errors, "orders differs: nothing is migrated")
    lacks(output, "orders", "second run")
    assert.equal(1, code)
    assert.same({}, left_behind())
  end)
end)

describe("the look at rows before they are loaded (S002 S004 S095)", function()
  it("lists the bad ones with their reasons and loads the good ones", function()
    assert.equal([[
row 2  name is missing
row 3  email "kim.example.com" is no e-mail address
row 3  status "actve" is none of trial, active, closed
row 4  fax is no column
row 4  number "4a" is no integer
row 5  name "A name that is far too long" is longer than 20
row 5  number 1 is there twice
row 6  first_day "15.1.2026" is no date
row 7  last_day "2025-12-31" is before the first
8 rows, 6 bad, 2 loaded
]], (run "validate"))
  end)
end)

describe("the zones that are upserted (S104 S105)", function()
  it("inserts all, then what was lost, and puts right what was wrong", function()
    local output, errors, code = run "upsert_zones"
    assert.equal("", errors)
    assert.equal(0, code)
    local all = tonumber(output:match "^First run: +(%d+) zones: +%1 inserted, +0 updated\n")
    assert(all > 250, all)
    contains(output, ("Second run:   %3d zones:   2 inserted, %3d updated"):format(all, all - 2))
    contains(output, "0 with the wrong country, 1 with a note")
  end)

  it("says what to install where the file is not there, and fails", function()
    local output, errors, code = support.run(("%s TZDIR=/nonexistent %s examples/upsert_zones.lua")
      :format(server:environment(), support.lua))
    assert.equal("", output)
    contains(errors, "/nonexistent/zone1970.tab is not there", "apt-get install tzdata")
    assert.equal(1, code)
    assert.same({}, left_behind())
  end)
end)

describe("the bulk load (S106 S107)", function()
  it("stores all lines of a file or none, and says which line is wrong", function()
    local output, errors, code = run "bulk_load"
    assert.equal("", errors)
    assert.equal(0, code)
    contains(output, "invalid_value: line 100000, column level: value too long",
      "rows in the table: 0", "[" .. ("#"):rep(40) .. "] 100 %  100000 rows", "rowCount = 100000",
      "rowCount = 1999, missing = 0")
    lacks(output, "\r")
  end)
end)

describe("the data that moves (S007)", function()
  it("is stored whole or not at all, and arrives in the other database", function()
    local output, errors, code = run "copy"
    assert.equal("", errors)
    assert.equal(0, code)
    contains(output, "constraint_violation (visits_ms_check), line 100001", "rows in the table: 0",
      "rowCount = 100000\nTo the other database:\n  rowCount = 100000", "/page, ")
  end)
end)

describe("the readings", function()
  it("are looked up and stored by prepared statements", function()
    local output, errors, code = run "prepared"
    assert.equal("", errors)
    assert.equal(0, code)
    contains(output, "boiler    420 readings, 12 to 92", "attic: unknown sensor     500",
      "boiler: below 10           60")
    local stored, refused = 0, 0
    for n in output:gmatch "(%d+) readings" do stored = stored + n end
    for n in output:match("Refused:(.*)"):gmatch "(%d+)\n" do refused = refused + n end
    assert.equal(2000, stored + refused)
  end)
end)

describe("the report over a million rows", function()
  it("holds few of them at a time", function()
    local output, errors, code = run "stream"
    assert.equal("", errors)
    assert.equal(0, code)
    contains(output, "1000000 orders of 1000 customers", "Lua's memory grew by less than ")
    local grown = tonumber(output:match "less than (%d+) MB")
    assert.is_true(grown <= 3, output)
    contains(output, "customer 1  10 of the first 10000 orders")
  end)
end)

describe("the order in one round trip", function()
  it("is stored as a whole, or not at all, and says which line failed", function()
    local output, errors, code = run "pipeline"
    assert.same({ "", 0 }, { errors, code })
    assert.equal([[
Order 1:
  cup    96 left
  spoon  1 left
Order 2:
  statement 5 of 5: check_violation of spoon
1 order stored
]], output)
  end)
end)

describe("the sync with an external system (S002 S113 to S117)", function()
  it("sends each order at least once and nothing when all is sent", function()
    local output = run("sync"):gsub("%d+ bytes", "? bytes"):gsub(" +", " ")
    assert.equal([[
09:00
 POST /orders 100 orders, ? bytes 201 Created: 100 marked
10:00, the answer gets lost
 POST /orders 20 orders, ? bytes no answer: nothing is marked
11:00
 POST /orders 20 orders, ? bytes 201 Created: 20 marked
12:00
 nothing to send
120 orders, 3 requests, 120 orders on the other side
]], output)
  end)

  it("S115: has no transaction open and nothing running during the HTTP step", function()
    local output, errors = run("sync", [[
      local pg, write = require "pg", io.write
      function io.write(text, ...)
        if text:find "POST" then
          local db <close> = assert(pg.connect())
          local others = assert(db:query("SELECT state FROM pg_stat_activity WHERE pid <> $1 "
            .. "AND application_name = $2", db:status().pid, "lua-pg")).rows
          for _, other in ipairs(others) do
            if other.state ~= "idle" or other.xact_start then write "BUSY " end
          end
          write(#others > 0 and "looked " or "NOBODY ")
        end
        return write(text, ...)
      end]])
    assert.equal("", errors)
    assert.equal(3, select(2, output:gsub("looked", "")))
    assert.falsy(output:find "BUSY" or output:find "NOBODY")
  end)

  it("S002: loses no order when the program dies between the HTTP step and the UPDATE", function()
    local _, _, code = run("sync", [[
      local write = io.write
      function io.write(...)
        write(...)
        os.exit(9, false)
      end]])
    assert.equal(9, code)
    local left = assert(db:query [[
      SELECT count(*) AS orders, count(*) FILTER (WHERE synced) AS synced
      FROM lua_pg_sync.orders]])
    assert.same({ { orders = 120, synced = 0 } }, left.rows)
    assert(db:execute "DROP SCHEMA lua_pg_sync CASCADE")
  end)

  local keys <const> = {
    { "integer", { 1, 2, 3 } },
    { "bigint", { 1, 9007199254740993, math.maxinteger } },
    { "smallint", { 1, 2, 32767 } },
    { "uuid", { "5b4b9d1c-2f9d-4b5e-9a6c-0d9f5d2f7a01", "5b4b9d1c-2f9d-4b5e-9a6c-0d9f5d2f7a02",
      "5b4b9d1c-2f9d-4b5e-9a6c-0d9f5d2f7a03" } },
    { "text", { 'a"b', "c,d", "{e}\\" } },
    { "numeric", { "1", "2.50", "12345678901234567890" } },
  }
  for _, key in ipairs(keys) do
    it("S114 S116: takes ids of type " .. key[1] .. " from the rows and back, without a cast",
      function()
        assert(db:execute("DROP TABLE IF EXISTS orders; CREATE TABLE orders (id " .. key[1]
          .. " PRIMARY KEY, synced boolean DEFAULT false, at timestamptz, items jsonb, "
          .. "tags text[], raw bytea)"))
        for _, id in ipairs(key[2]) do
          assert(db:insert("orders", { id = id, items = { 1, 2 }, tags = { "x" }, raw = "\0" }))
        end
        local orders = assert(db:query [[
          SELECT * FROM orders
          WHERE synced = false
          LIMIT 100]])
        local ids = {}
        for i, order in ipairs(orders.rows) do ids[i] = order.id end
        table.sort(ids)
        table.sort(key[2])
        assert.same(key[2], ids)
        assert.same({ rowCount = 3 }, assert(db:update([[
          UPDATE orders SET synced = true
          WHERE id = ANY($1)]], ids)))
        assert.equal(0, db:query("SELECT * FROM orders WHERE synced = false LIMIT 100").rowCount)
        assert(db:execute "DROP TABLE orders")
      end)
  end
end)

describe("the audit log (S006 S118 to S120)", function()
  it("stores what it is given, and says which value it cannot store", function()
    local output = run "audit"
    local lines = {}
    for line in output:gmatch("[^\n]*") do lines[#lines + 1] = line end
    for id = 1, 3 do
      assert.same({ insertedId = id, rowCount = 1 }, core.json_decode(lines[id]))
    end
    contains(output, 'pg: invalid_value: invalid input syntax for type inet: "300.1.2.3"',
      "at: column ip_address", "What to try:",
      '2026-01-15T10:30:00Z    login    user 7  192.0.2.17   {"attempts":2}\n',
      '2026-01-15T10:31:12.5Z  update   user 7  2001:db8::1  '
        .. '{"changed":["email",{"phone":null}]}\n',
      "2026-01-16T03:00:00Z    cleanup  user -  -            -\n")
  end)

  local variants <const> = {
    { "integer and jsonb", "integer", "jsonb", 7 },
    { "bigint and json", "bigint", "json", math.maxinteger },
    { "uuid and text", "uuid", "text", "5b4b9d1c-2f9d-4b5e-9a6c-0d9f5d2f7a01" },
  }
  for _, variant in ipairs(variants) do
    it("S119: suits a log whose user and details are " .. variant[1], function()
      assert(db:execute(("CREATE TABLE audit_logs (id bigserial PRIMARY KEY, user_id %s, "
        .. "action text, details %s, ip_address inet, created_at timestamptz)"):format(variant[2],
        variant[3])))
      for i, address in ipairs { "192.0.2.17", "2001:db8::1" } do
        assert.same({ insertedId = i, rowCount = 1 }, assert(db:insert("audit_logs", {
          user_id = variant[4], action = "login", details = { list = { 1, pg.null } },
          ip_address = address, created_at = "2026-01-15T10:30:00Z",
        })))
      end
      assert(db:insert("audit_logs", { user_id = pg.null, action = "x", ip_address = nil,
        created_at = pg.raw "now()" }))
      local rows = assert(db:query "SELECT * FROM audit_logs ORDER BY id").rows
      assert.equal(variant[4], rows[1].user_id)
      local details = rows[1].details
      if type(details) == "string" then details = core.json_decode(details) end
      assert.same({ list = { 1, pg.null } }, details)
      assert.equal("2001:db8::1", rows[2].ip_address)
      assert.equal("2026-01-15T10:30:00Z", rows[2].created_at)
      assert.same({ "action", "created_at", "id" }, (function()
        local names = {}
        for name in pairs(rows[3]) do names[#names + 1] = name end
        table.sort(names)
        return names
      end)())
      local stored, err = db:insert("audit_logs", { ip_address = "300.1.2.3" })
      assert.is_nil(stored)
      assert.equal("invalid_value", err.kind)
      assert.equal("ip_address", err.column)
      contains(err.fixes[1], "ip_address")
      assert(db:execute "DROP TABLE audit_logs")
    end)
  end
end)

describe("the example of an error", function()
  it("shows the place and the fixes to people, kinds and conditions to programs", function()
    contains(run "errors", 'pg: undefined_column: column "emial" does not exist',
      "  LINE 3: WHERE emial = $1\n                ^ character 7\n",
      '1. Perhaps you meant to reference the column "users.email".',
      "\nwelcome, number 2\njohn@example.com is registered already\nplease give your email\n")
  end)
end)

describe("the demo", function()
  it("runs every example under its heading", function()
    local output, errors, code = run "demo"
    assert.equal("", errors)
    assert.equal(0, code)
    contains(output, "PostgreSQL ", "database postgres, user postgres")
    local at = 1
    for _, name in ipairs(examples) do
      at = assert(output:find(("(examples/%s.lua)"):format(name), at, true), name)
    end
    assert.falsy(output:find "\27")
    for line in output:gmatch("[^\n]+") do
      assert(line:find "^   %d%. " or utf8.len(line) <= 110, line)
    end
  end)

  it("runs every Lua file of its folder but itself", function()
    local known = { demo = true }
    for _, name in ipairs(examples) do known[name] = true end
    for file in io.popen("ls examples/*.lua"):lines() do
      assert(known[file:match("([%w_]+)%.lua$")], file)
    end
  end)

  it("goes on after an example that fails, says why, and fails", function()
    local folder <const> = support.folder()
    os.execute("cp examples/* " .. folder)
    support.write(folder .. "/check.lua", 'error "broken on purpose"')
    local output, errors, code = support.run(("%s %s %s/demo.lua"):format(server:environment(),
      support.lua, folder))
    os.execute("rm -r " .. folder)
    assert.equal(1, code)
    contains(errors, "broken on purpose")
    contains(output, "errors.lua", "welcome, number 2")
  end)

  it("says what is wrong, and fails, where no server is", function()
    local output, errors, code = support.run("PGHOST=/nonexistent " .. support.lua
      .. " examples/demo.lua")
    assert.equal("", output)
    assert.equal(1, code)
    contains(errors, "connection_refused", "What to try:")
  end)
end)

describe("a C host", function()
  local folder, missing

  setup(function()
    folder = support.folder()
    local flags, _, unknown = support.run(
      "pkg-config --cflags --libs lua5.4 || pkg-config --cflags --libs lua")
    if unknown ~= 0 or not os.execute "command -v cc >/dev/null" then
      missing = "no C compiler, or pkg-config does not know Lua 5.4"
      return
    end
    local _, errors, code = support.run(("cc -std=c11 -Wall -Wextra -Werror -Wconversion -Wshadow "
      .. "-Wstrict-prototypes -Wmissing-prototypes -o %s/host examples/host.c %s")
      :format(folder, (flags:gsub("\n", " "))))
    assert(code == 0, errors)
  end)

  teardown(function()
    os.execute("rm -r " .. folder)
  end)

  local function host(script, seconds)
    local path = folder .. "/script.lua"
    support.write(path, script)
    return support.run(("export %s %s; $(command -v timeout && echo 60) %s/host %s %s"):format(
      server:environment(), sanitizer(), folder, path, seconds or 20))
  end

  local cases <const> = {
    { "lets a script use the saved connection", [[
        local db <close> = assert(pg.connect "Production Database")
        print(db:query("SELECT $1 + 1 AS n", 41).rows[1].n)]], 0, "42\n", "" },
    { "lets it use no other", [[print(pcall(pg.connect, {}))]], 0,
      "saved connections only", "" },
    { "has the last word on limits", [[print(pcall(pg.limits, { timeout = 6 }))]], 0,
      "locked timeout", "" },
    { "has the last word on saved connections", [[print(pcall(pg.save, "x", {}))]], 0,
      "locked its saved connections", "" },
    { "prints what an error object says", [[
        local db <close> = assert(pg.connect "Production Database")
        assert(db:query "SELCT 1")]], 1, "",
      'pg: syntax_error: syntax error at or near "SELCT"' },
    { "prints the error of a script that cannot be loaded", "local local", 1, "",
      "<name> expected" },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      if missing then return pending(missing) end
      local output, errors, code = host('local pg = require "pg"\n' .. case[2])
      assert.equal(case[3], code)
      contains(output, case[4])
      if case[5] == "" then assert.equal("", errors) else contains(errors, case[5]) end
    end)
  end

  local endless <const> = {
    { "in the middle of a query", [[assert(db:query "SELECT pg_sleep(4)")]] },
    { "in a loop that catches every error", [[
        while true do pcall(function() while true do end end) end]] },
    { "in a loop of queries", [[while true do assert(db:query "SELECT 1") end]] },
  }
  for _, case in ipairs(endless) do
    it("Q13: stops a script whose time is over " .. case[1], function()
      if missing then return pending(missing) end
      local before = os.time()
      local output, errors, code = host([[
        local pg = require "pg"
        local db <close> = assert(pg.connect "Production Database")
        ]] .. case[2], 1)
      assert.equal("", output)
      contains(errors, "the script ran out of time")
      assert.equal(1, code)
      assert(os.time() - before < 10)
      assert.equal(0, db:query [[
        SELECT count(*) AS n FROM pg_stat_activity
        WHERE application_name = 'Production Database' AND state = 'active']].rows[1].n)
    end)
  end
end)

-- Closes its Lua state while the request to cancel is still in its thread, and lives on.
local closing_host <const> = [==[
#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static struct timespec now, deadline;
static void stop(lua_State *L, lua_Debug *where)
{
  (void)where;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (now.tv_sec > deadline.tv_sec ||
      (now.tv_sec == deadline.tv_sec && now.tv_nsec > deadline.tv_nsec))
    luaL_error(L, "time is over");
}
int main(int argc, char **argv)
{
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  clock_gettime(CLOCK_MONOTONIC, &deadline);
  deadline.tv_sec += 1;
  lua_sethook(L, stop, LUA_MASKCOUNT, 1000);
  if (luaL_dofile(L, argv[argc - 2]) != LUA_OK)
    puts(lua_tostring(L, -1));
  lua_close(L);
  kill(atoi(argv[argc - 1]), SIGCONT);
  nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
  puts("alive");
}
]==]

describe("a C host that closes its Lua state in the middle of a query", function()
  it("Q13: may lose the module's code while the thread that cancels is in it", function()
    local module = package.searchpath("pg.core", package.cpath)
    local objects = module:gsub("pg/core%.so$", "obj")
    if not io.open(objects .. "/core.o") then
      return pending "the module's object files are not beside it (make build)"
    end
    local folder <const> = support.folder()
    support.write(folder .. "/host.c", closing_host)
    support.write(folder .. "/script.lua", [[
      local db <close> = assert(require "pg".connect())
      os.execute("kill -STOP " .. io.open(os.getenv "PGHOST" .. "/data/postmaster.pid"):read "n")
      db:query "SELECT pg_sleep(3)"]])
    -- The module is linked as LuaRocks does it: Lua unloads it with its state.
    local _, problem, failed = support.run(([[cd %s && mkdir pg &&
      cc -D_POSIX_C_SOURCE=200809L -o host host.c $(pkg-config --cflags --libs lua5.4) &&
      cc -shared %s -o pg/core.so %s/*.o -lpq -lpthread]]):format(folder,
      sanitizer() ~= "" and "-fsanitize=address,undefined" or "", absolute(objects)))
    if failed ~= 0 then return pending("no host can be built: " .. problem) end
    local postmaster = io.open(server.dir .. "/data/postmaster.pid"):read "n"
    local output, errors, code = support.run(([[export %s LUA_CPATH='%s/?.so;;' %s
      exec %s/host %s/script.lua %d]]):format(server:environment(), folder, sanitizer(), folder,
      folder, postmaster))
    os.execute(("kill -CONT %d; rm -r %s"):format(postmaster, folder))
    assert.equal("", errors)
    assert.equal("time is over\nalive\n", output)
    assert.equal(0, code)
  end)
end)

describe("the use cases", function()
  before_each(function()
    assert(db:execute [[
      DROP TABLE IF EXISTS users, logs;
      CREATE TABLE users (id serial PRIMARY KEY, status text, last_login timestamptz);
      CREATE TABLE logs (id serial PRIMARY KEY, level text, message text, created_at timestamp);
      INSERT INTO users (status, last_login) VALUES
        ('active', now() - interval '100 days'), ('active', now() - interval '40 days'),
        ('inactive', now()), ('deleted', NULL)]])
  end)

  it("S001: reads, writes, updates and deletes", function()
    assert.same({ insertedId = 5, rowCount = 1 }, db:insert("users", { status = "active" }))
    assert.same({ rows = { { status = "active" } }, rowCount = 1 },
      db:query("SELECT status FROM users WHERE id = $1", 5))
    assert.same({ rowCount = 1 }, db:update("UPDATE users SET status = $1 WHERE id = $2", "x", 5))
    assert.same({ rowCount = 1 }, db:delete("DELETE FROM users WHERE id = $1", 5))
    assert.same({ success = true, rowCount = 0 },
      db:execute "CREATE INDEX IF NOT EXISTS idx_users_status ON users(status)")
  end)

  it("S005: updates many rows by a list of ids", function()
    assert.same({ rowCount = 2 }, assert(db:update(
      "UPDATE users SET status = 'active' WHERE id = ANY($1::int[])", { 3, 4 })))
    assert.same({ rowCount = 0 }, assert(db:update(
      "UPDATE users SET status = 'active' WHERE id = ANY($1::int[])", {})))
  end)

  it("S005: updates rows by conditions", function()
    assert.same({ rowCount = 3 }, assert(db:update [[
      UPDATE users
      SET status = CASE
        WHEN last_login < NOW() - INTERVAL '90 days' THEN 'inactive'
        WHEN last_login < NOW() - INTERVAL '30 days' THEN 'dormant'
        ELSE 'active'
      END
      WHERE status != 'deleted']]))
    assert.same({ { "inactive" }, { "dormant" }, { "active" }, { "deleted" } },
      db:with { rows = "array" }:query("SELECT status FROM users ORDER BY id").rows)
  end)

  it("S005: inserts many rows from lists", function()
    assert.same({ success = true, rowCount = 3 }, assert(db:execute([[
      INSERT INTO logs (level, message, created_at)
      SELECT * FROM unnest(
        $1::text[],
        $2::text[],
        $3::timestamp[]
      )]], { "info", "warn", "error" }, { "a", 'b"c', pg.null },
      { "2026-01-15T10:30:00", "2026-01-15 10:31:00", "2026-01-15T10:32:00.5" })))
    assert.same({ "2026-01-15T10:30:00", "2026-01-15T10:31:00", "2026-01-15T10:32:00.5" },
      db:with { rows = "columns" }:query("SELECT created_at FROM logs ORDER BY id")
        .rows.created_at)
  end)

  it("S003 S111 S112: counts are integers, sums exact, and results plain tables", function()
    local row = assert(db:query [[
      SELECT COUNT(*) as total,
        COUNT(*) FILTER (WHERE status = 'active') as active
      FROM users]]).rows[1]
    assert.equal("integer", math.type(row.total))
    assert.same({ total = 4, active = 2 }, row)
    local result = assert(db:query [[
      SELECT 9007199254740993 + 0.10 AS amount, now() AS at, ARRAY[1, NULL] AS list,
        '{"a": [null, 1]}'::jsonb AS document, '\x00'::bytea AS bytes]])
    assert.equal("9007199254740993.10", result.rows[1].amount)
    local function plain(value)
      if value == pg.null then return end
      assert(({ table = true, string = true, number = true, boolean = true })[type(value)])
      if type(value) == "table" then
        for key, inner in pairs(value) do
          plain(key)
          plain(inner)
        end
      end
    end
    plain(result)
  end)

  it("S007: rows of one connection go into another that is open at the same time", function()
    local other <close> = assert(pg.connect(server.options))
    assert(other:execute "CREATE TEMPORARY TABLE copies (id integer, status text)")
    local columns = assert(db:with { rows = "columns" }:query "SELECT id, status FROM users").rows
    assert.equal(4, assert(other:execute("INSERT INTO copies SELECT * FROM unnest($1::int[], "
      .. "$2::text[])", columns.id, columns.status)).rowCount)
    assert.same(db:query("SELECT id, status FROM users ORDER BY id").rows,
      other:query("SELECT id, status FROM copies ORDER BY id").rows)
  end)

  it("S133: a report for support has the place and no secret", function()
    local secret <const> = "S3CRET-pa55word"
    assert(db:execute("CREATE ROLE app_user LOGIN PASSWORD '" .. secret .. "'"))
    local options = { host = server.options.host, port = server.options.port, user = "app_user",
      database = "postgres", password = secret, name = "Production Database" }
    local app <close> = assert(pg.connect(options))
    local _, err = app:query("SELECT * FROM users WHERE status = $1", "S3CRET-value")
    local text = err:report()
    contains(text, "kind: permission_denied", "SQLSTATE: 42501 insufficient_privilege",
      "connection: Production Database", "user: app_user", "server: PostgreSQL ",
      "statement: SELECT * FROM users WHERE status = $1", "libpq: ", "GRANT SELECT")
    for _, shown in ipairs { text, tostring(err), tostring(app), pg.encode(app:status()) } do
      assert.falsy(shown:find("S3CRET", 1, true))
    end
    assert(db:execute "DROP ROLE app_user")
  end)
end)
