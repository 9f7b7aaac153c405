-- SPDX-License-Identifier: MIT
-- The peers of `make bench`: how each is started, and how to learn that it is there. What is not
-- installed is skipped; nothing of this is a dependency of the project. The programs print what
-- raw and module print; a workload that a client cannot do is `unsupported`. To install them:
--   psycopg: pip install "psycopg[c]"; Debian's python3-psycopg is without C, and is skipped.
--   asyncpg: apt-get install python3-asyncpg, or pip install asyncpg.
--   pgx (v4): apt-get install golang-go golang-github-jackc-pgx-v4-dev; its probe builds it.
--   node-postgres: npm install --prefix DIR pg; and NODE_PATH=DIR/node_modules
--   LuaSQL: apt-get install lua-sql-postgres lua-socket lua-cjson
--   luapgsql: as its authors say, for Lua 5.4; apt-get install lua-socket lua-cjson
--   pgmoon: luarocks --lua-version 5.1 install pgmoon; apt-get install luajit lua-socket
--     lua-lpeg lua-cjson lua-luaossl
-- PYTHON names the interpreter, else python3 and then the system's. Lua modules outside of Lua's
-- own path are found by BENCH_LUA_PATH and BENCH_LUA_CPATH.
local FOLDER <const> = "spec/bench/peers/"

local function succeeds(command)
  return os.execute("( " .. command .. " ) >/dev/null 2>&1") == true
end

--- A peer by a Python module: the first interpreter that has it.
local function python(name, test)
  local command, probe
  for _, program in ipairs { os.getenv "PYTHON" or "python3", "/usr/bin/python3" } do
    probe = ("%s -c 'import %s; %s'"):format(program, name, test or "")
    command = ("%s -B %s%s_bench.py"):format(program, FOLDER, name)
    if succeeds(probe) then break end
  end
  return { name = name, command = command, probe = probe }
end

--- A peer by Lua modules.
local function lua(name, program, modules)
  local run = 'env LUA_PATH="$BENCH_LUA_PATH;;" LUA_CPATH="$BENCH_LUA_CPATH;;" ' .. program
  local requires = modules:gsub("%S+", "require [[%0]]")
  return {
    name = name, command = ("%s %s%s_bench.lua"):format(run, FOLDER, name),
    probe = ("%s -e '%s'"):format(run, requires),
  }
end

local LUA <const> = os.getenv "LUA" or "lua5.4"

return {
  python("psycopg", 'assert psycopg.pq.__impl__ != "python"'),
  python "asyncpg",
  {
    name = "node-postgres", command = "node " .. FOLDER .. "node_bench.js",
    probe = "node -e 'require(\"pg\")'",
  },
  {
    name = "pgx", command = "build/bench/pgx",
    probe = "GO111MODULE=off GOPATH=\"${GOPATH:-/usr/share/gocode}\" "
      .. "go build -o build/bench/pgx " .. FOLDER .. "pgx_bench.go",
  },
  lua("pgmoon", "luajit", "pgmoon socket lpeg cjson openssl.digest"),
  lua("luapgsql", LUA, "pgsql socket cjson"),
  lua("luasql", LUA, "luasql.postgres socket cjson"),
}
