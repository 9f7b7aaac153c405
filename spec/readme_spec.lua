-- SPDX-License-Identifier: MIT
-- The README is true: its Lua runs in the order it stands there, on a server with the user and the
-- database that it names, and prints what it says; its C is that of the example; what it names
-- exists.
local core = require "pg.core"
local fixes = require "pg.fixes"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

local readme = read "README.md"

-- The fenced blocks: language, text, line, and the heading that they stand under.
local function fences(text)
  local list, heading, open, number = {}, "", nil, 0
  for line in text:gmatch("([^\n]*)\n") do
    number = number + 1
    local language = line:match("^```(.*)")
    if open and language then
      open.text = table.concat(open, "\n") .. "\n"
      list[#list + 1], open = open, nil
    elseif open then
      open[#open + 1] = line
    elseif language then
      open = { language = language, line = number, heading = heading }
    else
      heading = line:match("^#+%s+(.*)") or heading
    end
  end
  return list
end

local blocks = fences(readme)

-- What a Lua block shall print: its comments after -->, or the text block that follows it.
local function expected(block, following)
  local lines = {}
  for line in block.text:gmatch("%-%->%s*([^\n]*)") do lines[#lines + 1] = line end
  if following and following.language == "text" and following.heading == block.heading then
    for line in following.text:gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  end
  return lines
end

local snippets = {}
for i, block in ipairs(blocks) do
  if block.language == "lua" then
    block.expected = expected(block, blocks[i + 1])
    snippets[#snippets + 1] = block
  end
end

-- Runs in a process of its own, whose environment names the server: the files given as arguments,
-- as chunks that know `pg`, `db` and what earlier ones left as globals. Writes to the last argument
-- what each printed.
local runner <const> = [==[
local pg = require "pg"
local printed
local env = setmetatable({ pg = pg, db = assert(pg.connect()) }, { __index = _G })
function env.print(...)
  local words = table.pack(...)
  for i = 1, words.n do words[i] = tostring(words[i]) end
  printed[#printed + 1] = table.concat(words, "\t") .. "\n"
end
local report = assert(io.open(arg[#arg], "w"))
report:write "return {\n"
for i = 1, #arg - 1 do
  printed = {}
  local ok, message = pcall(assert(loadfile(arg[i], "t", env)))
  report:write(("{ ok = %s, message = %q, printed = %q },\n")
    :format(ok, tostring(message), table.concat(printed)))
end
report:write "}\n"
report:close()
]==]

-- As the README says it, whatever this server's port is.
local function as_written(text, port)
  return (text:gsub("localhost", "db.example.com"):gsub(":" .. port .. "/", ":5432/"))
end

local function run_snippets(server)
  local folder <const> = support.folder()
  local port = tostring(server.tcp.port)
  local command = { "env -i PGHOST=localhost PGUSER=app_user PGDATABASE=myapp",
    "PGPASSWORD=your-secure-password PGPORT=" .. port }
  for _, name in ipairs { "PATH", "HOME", "LUA_PATH", "LUA_CPATH", "ASAN_OPTIONS",
    "UBSAN_OPTIONS", "PG_THROWAWAY_BINDIR" } do
    local value = os.getenv(name)
    if value then command[#command + 1] = name .. "=" .. support.quote(value) end
  end
  support.write(folder .. "/runner.lua", runner)
  command[#command + 1] = support.lua .. " " .. folder .. "/runner.lua"
  for _, snippet in ipairs(snippets) do
    local path = ("%s/README.md:%d"):format(folder, snippet.line)
    local text = snippet.text:gsub("db%.example%.com", "localhost"):gsub("%f[%d]5432%f[%D]", port)
      :gsub("/etc/ssl/ca%.pem", (server.ssl.rootcert:gsub("%%", "%%%%")))
    support.write(path, text)
    command[#command + 1] = path
  end
  command[#command + 1] = folder .. "/report"
  local output, errors, code = support.run(table.concat(command, " "))
  local report = loadfile(folder .. "/report")
  os.execute("rm -r " .. folder)
  assert(code == 0 and report, output .. errors)
  local results = report()
  for i, snippet in ipairs(snippets) do
    snippet.ok, snippet.message = results[i].ok, results[i].message
    snippet.printed = as_written(results[i].printed, port)
  end
  return output .. errors
end

describe("the README", function()
  local server, leaked

  setup(function()
    server = assert(throwaway.start { ssl = true })
    local admin <close> = assert(pg.connect(server.options))
    assert(admin:execute "CREATE ROLE app_user LOGIN PASSWORD 'your-secure-password'")
    assert(admin:execute "CREATE DATABASE myapp OWNER app_user")
    local owner <close> = assert(pg.connect {
      host = "127.0.0.1", port = server.tcp.port, database = "myapp", user = "app_user",
      password = "your-secure-password",
    })
    assert(owner:execute "CREATE TABLE users (id serial PRIMARY KEY, name text, status text)")
    leaked = run_snippets(server)
  end)

  teardown(function()
    if server then server:stop() end
  end)

  for _, snippet in ipairs(snippets) do
    it(("S126 S127: line %d (%s) does what it says"):format(snippet.line, snippet.heading),
      function()
        if snippet.text:find("cqueues", 1, true) and not pcall(require, "cqueues") then
          return pending "cqueues is not installed (Debian: apt-get install lua-cqueues)"
        end
        assert(snippet.ok, snippet.message)
        local i = 0
        for line in snippet.printed:gmatch("([^\n]*)\n") do
          i = i + 1
          local value = core.json_decode(snippet.expected[i] or "")
          if type(value) == "table" then
            assert.same(value, core.json_decode(line))
          else
            assert.equal(snippet.expected[i], line)
          end
        end
        assert.equal(#snippet.expected, i)
      end)
  end

  it("S129: prints what its snippets print and nothing else", function()
    assert.equal("", leaked)
  end)

  it("S129: an address with a misspelt scheme is not repeated: it holds a password", function()
    for _, uri in ipairs { "postgress://u:S3CRET@h/d", "postgress://u:S3CRET@h/d?sslmode=require",
      "mysql://u:S3CRET@h/d" } do
      local ok, message = pcall(pg.connect, uri)
      assert.falsy(ok)
      assert.matches("must begin with postgresql://", message)
      assert.falsy(message:find("S3CRET", 1, true))
    end
  end)

  it("begins with examples/quickstart.lua", function()
    local quickstart = read("examples/quickstart.lua"):gsub("^%-%-[^\n]*\n%-%-[^\n]*\n", "")
    assert.equal(quickstart, snippets[1].text)
  end)

  it("shows the C of examples/host.c", function()
    local host, count = read "examples/host.c", 0
    for _, block in ipairs(blocks) do
      if block.language == "c" then
        count = count + 1
        assert(host:find(block.text, 1, true), "line " .. block.line .. " is not in host.c")
      end
    end
    assert.equal(2, count)
  end)

  it("has a snippet in no other language than those that are checked", function()
    local known <const> = { lua = true, c = true, sh = true, text = true }
    for _, block in ipairs(blocks) do
      assert(known[block.language], ("line %d: %q"):format(block.line, block.language))
    end
  end)

  it("names in its shell lines only targets that the Makefile has", function()
    local makefile, count = read "Makefile", 0
    for target in readme:gmatch("%f[%w]make (%l+)%f[%L]") do
      if target ~= "sure" then
        count = count + 1
        assert(makefile:find("\n" .. target .. ":", 1, true), target)
      end
    end
    assert(count >= 4, count)
  end)

  -- What is printed by an error is the error's matter; the rest is the README's.
  local prose = readme:gsub("```text\n.-\n```", "")

  it("names no method of a connection or a result that is not there", function()
    local count = 0
    for name in prose:gmatch("%f[%w]db:([%a_]+)") do
      count = count + 1
      assert.equal("function", type(core.methods[name]), "db:" .. name)
    end
    assert(count > 20)
    local db <close> = assert(pg.connect(server.options))
    local result = assert(db:query "SELECT 1")
    for name in prose:gmatch("%f[%w]result:([%a_]+)") do
      assert.equal("function", type(result[name]), "result:" .. name)
    end
  end)

  it("names nothing of pg that is not there", function()
    local modules <const> = { core = true, wait = true, throwaway = true }
    for name in prose:gmatch("%f[%w]pg%.([%a_]+)") do
      assert(modules[name] or pg[name] ~= nil, "pg." .. name)
    end
  end)

  it("lists the settings that db:with takes, and their values", function()
    local listed = {}
    local section = readme:match("| setting |.-\n\n")
    for name, second in section:gmatch("\n| `([%w_]+)` | ([^|]*) |") do
      listed[name] = listed[name] or {}
      table.insert(listed[name], second:match("`(.-)`"))
    end
    assert.same({
      timeout = {}, max_result = {}, rows = { '"object"', '"array"', '"columns"' },
      null = { "pg.null" }, numeric = { '"number"' }, json = { '"text"' },
      timestamps = { '"epoch"', '"epoch_us"' },
    }, listed)
    local db <close> = assert(pg.connect(server.options))
    for setting, values in pairs(listed) do
      if #values == 0 then db:with { [setting] = 1 } end
      for _, value in ipairs(values) do
        db:with { [setting] = value == "pg.null" and pg.null or value:match('"(.*)"') }
      end
    end
  end)

  it("S128: says for every kind of a failed connection what to try, and names no unknown kind",
    function()
      local section = assert(readme:match("### When the connection fails\n.-\n##"))
      local named = {}
      for kind in section:gmatch("\n| `([%l_]+)`") do
        assert(fixes.by_name[kind], kind)
        named[kind] = true
      end
      for _, kind in ipairs { "connection_refused", "connect_timeout", "authentication_failed",
        "ssl_required", "ssl_failed", "too_many_connections", "server_unavailable",
        "unsupported_version" } do
        assert(named[kind], kind)
      end
    end)

  it("S131: links to files that are there, to PostgreSQL's documentation and to a tutorial",
    function()
      for path in readme:gmatch("%]%(([^)]*)%)") do
        local file = io.open(path)
        assert(file, path)
        file:close()
      end
      assert.truthy(readme:find("https://www.postgresql.org/docs/", 1, true))
      assert.truthy(readme:find("https://www.postgresqltutorial.com/", 1, true))
      assert.truthy(readme:find("https://explain.depesz.com/", 1, true))
    end)

  it("Q12: a program that Ctrl-C ends leaves no statement behind on the server", function()
    local watch = [[SELECT count(*) AS n FROM pg_stat_activity
      WHERE state = 'active' AND query = 'SELECT pg_sleep(300)']]
    local db <close> = assert(pg.connect(server.options))
    local function eventually(n)
      support.eventually(function() return db:query(watch).rows[1].n == n end)
    end
    for _ = 1, 6 do
      local program <close> = io.popen(("echo $$; export %s; exec %s -e 'require \"pg\"."
        .. "connect():query \"SELECT pg_sleep(300)\"' 2>&1")
        :format(server:environment(), support.lua))
      local pid = assert(program:read "n")
      eventually(1)
      os.execute("kill -INT " .. math.tointeger(pid))
      assert.matches("interrupted!", program:read "a")
      eventually(0)
    end
  end)

  it("has the chapters on connections, data, troubleshooting and security (S126 to S129)",
    function()
      for _, heading in ipairs { "Connecting", "SSL", "Parameters and types", "NULL", "JSON",
        "When the connection fails", "Security" } do
        assert.truthy(readme:find("\n##+ " .. heading .. "\n"))
      end
    end)

  it("draws the files of src/: all of them, and no others", function()
    local drawn, there = {}, {}
    local picture = assert(readme:match("## How it is built.-\n verbs(.-)```"))
    for names in ("verbs" .. picture):gmatch("%f[^\n%z]%s?%l*%s+([%l_%s*]-)│") do
      for name in names:gmatch("[%l_*]+") do drawn[name] = true end
    end
    for name in support.run("ls src"):gmatch("([%l_]+)%.[ch]\n") do
      there[name:gsub("^codec_.*", "codec_*")] = true
    end
    there.core = nil -- the module's opening
    assert.same(there, drawn)
  end)
end)
