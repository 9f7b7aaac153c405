-- SPDX-License-Identifier: MIT
-- What several specs need.
local support = {}

--- How to call this Lua again.
support.lua = os.getenv("LUA") or "lua5.4"

--- What a shell command prints, and its exit code.
function support.run(command)
  local errors <const> = os.tmpname()
  local pipe <close> = io.popen("{ " .. command .. "\n} 2>" .. errors, "r")
  local output = pipe:read("a")
  local _, how, code = pipe:close()
  local file <close> = assert(io.open(errors))
  os.remove(errors)
  return output, file:read("a"), how == "signal" and 128 + code or code
end

function support.quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

--- Runs a Lua program in a process of its own, with no other PG* variables than those given: what
--- it prints, what it writes to stderr, and its exit code.
function support.child(program, environment)
  local words = { [[for v in $(env | sed -n 's/^\(PG[A-Z]*\)=.*/\1/p'); do unset $v; done; env]] }
  for name, value in pairs(environment or {}) do
    words[#words + 1] = name .. "=" .. support.quote(value)
  end
  words[#words + 1] = support.lua .. " -e " .. support.quote(program)
  return support.run(table.concat(words, " "))
end

--- A new folder under the temporary one, for the caller to remove.
function support.folder()
  local path <const> = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir -m 755 '" .. path .. "'"))
  return path
end

--- Compiles a C file of spec/ to a program in the folder; returns its path.
function support.compile(folder, source, flags)
  local program <const> = folder .. "/" .. source:match("([^/]+)%.c$")
  local _, errors, code = support.run(table.concat({
    "${CC:-cc} -std=c11 -D_POSIX_C_SOURCE=200809L -O1 -g -o", program, source, flags,
  }, " "))
  assert(code == 0, errors)
  return program
end

function support.write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

--- Whether two values are the same to the bit: 3 is not 3.0, 0.0 not -0.0, nan is nan; tables are
--- compared by what they hold.
function support.exactly(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    if a ~= b then return a ~= a and b ~= b end
    return math.type(a) == math.type(b) and (a ~= 0 or 1 / a == 1 / b)
  end
  for key, value in pairs(a) do
    if not support.exactly(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

--- Asserts deep equality: no other key, and numbers of the same subtype.
function support.same(expected, actual)
  if support.exactly(expected, actual) then return end
  local assert = require "luassert"
  assert.same(expected, actual)
  error("a number differs in its subtype or its sign", 2)
end

--- Asserts that the function raises a message with `text` in it, and blames a line of that very
--- function: mistakes are raised where the program made them.
function support.raises(text, mistaken)
  local ok, message = pcall(mistaken)
  assert(not ok, "nothing was raised")
  local info = debug.getinfo(mistaken, "S")
  local file, line, rest = tostring(message):match("^(.-):(%d+): (.*)$")
  line = tonumber(line)
  if file ~= info.short_src or line < info.linedefined or line > info.lastlinedefined then
    error("blames another place: " .. tostring(message), 2)
  elseif not rest:find(text, 1, true) then
    error(("%q is not in: %s"):format(text, rest), 2)
  end
  return rest
end

--- A new table with the keys of both; those of the second win.
function support.merge(base, more)
  local all = {}
  for key, value in pairs(base) do all[key] = value end
  for key, value in pairs(more or {}) do all[key] = value end
  return all
end

--- Asserts that a call answered nil and an error of this kind; returns the error.
function support.failed(kind, answer, err)
  if answer ~= nil then error("it did not fail", 2) end
  if type(err) ~= "table" or err.kind ~= kind then
    error(("not %s: %s"):format(kind, tostring(err)), 2)
  end
  return err
end

--- Options for pg.connect with others on top of them; false takes one away.
function support.with(options, more)
  local all = {}
  for name, value in pairs(options) do all[name] = value end
  for name, value in pairs(more or {}) do all[name] = value or nil end
  return all
end

--- The first value that a query gives.
function support.value(db, sql, ...)
  local result = assert(db:with { rows = "array", null = false }:query(sql, ...))
  return (result.rows[1] or {})[1]
end

--- Creates a role; `more` (LOGIN unless given) stands at the end of CREATE ROLE.
function support.role(db, name, password, more)
  assert(db:execute(('CREATE ROLE "%s" PASSWORD %s %s'):format(name:gsub('"', '""'),
    require("pg").literal(password), more or "LOGIN")))
end

--- A connection to a database that holds nothing: the one given, if it is idle.
function support.emptied(options, db)
  if db and db:status().state ~= "idle" then
    db:close() -- its locks go, too
    db = nil
  end
  db = db or assert(require("pg").connect(options))
  assert(db:execute [[
RESET ROLE; RESET search_path; DISCARD TEMP;
SET client_min_messages = warning;
DO $$ DECLARE s text; BEGIN
  FOR s IN SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
    WHERE nspname !~ '^(pg_|information_schema)' LOOP EXECUTE s; END LOOP;
END $$;
CREATE SCHEMA public;
RESET client_min_messages]])
  return db
end

--- As Lua's assert, which busted replaces by one that words the error object anew.
function support.must(answer, ...)
  if not answer then error((...), 0) end
  return answer, ...
end

--- How many sessions there are besides the one that asks.
function support.sessions(db)
  return support.value(db, [[SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()]])
end

--- Waits until there are none: a server lets a closed one go in its own time.
function support.alone(db)
  return support.eventually(function() return support.sessions(db) == 0 end)
end

--- What a throwaway server logs while f runs.
function support.logged(server, f)
  local log <close> = assert(io.open(server.dir .. "/log"))
  log:seek("end")
  f()
  return log:read("a")
end

--- Asserts that each of the texts stands in `text`.
function support.contains(text, ...)
  for _, part in ipairs { ... } do
    if not text:find(part, 1, true) then error(("%q is not in:\n%s"):format(part, text), 2) end
  end
end

--- Asserts that none of the texts stands in `text`.
function support.lacks(text, ...)
  for _, part in ipairs { ... } do
    if text:find(part, 1, true) then error(("%q is in:\n%s"):format(part, text), 2) end
  end
end

--- Asks again and again, for ten seconds at most, until the condition holds; returns what it said.
function support.eventually(condition)
  for _ = 1, 500 do
    local answer = condition()
    if answer then return answer end
    os.execute("sleep 0.02")
  end
  error("it never came true", 2)
end

return support
