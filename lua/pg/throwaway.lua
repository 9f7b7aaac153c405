-- SPDX-License-Identifier: MIT
-- A PostgreSQL server in a temporary folder, for demos and tests: started in a
-- second or two, gone when it is closed, collected, or its process has ended in
-- whatever way. Knows nothing of the rest of this module. The processes belong
-- to throwaway.sh; this file talks to it through a pipe, whose end in this
-- process closes with the process, which is how the server learns of a SIGKILL.

local throwaway = {}

local script = select(2, ...)
script = (script or assert(package.searchpath("pg.throwaway", package.path))):gsub("%.lua$", ".sh")

---@class pg.throwaway.Options
---@field tcp? boolean listen on 127.0.0.1, on a free port, too
---@field ssl? boolean offer TLS there (implies `tcp`) with certificates of its own
---@field settings? table<string, string|number|boolean> for postgresql.conf
---@field hba? string[] lines that go before those of pg_hba.conf
---@field initdb? string[] more arguments for initdb; later ones win: `--encoding=LATIN1`
---@field bindir? string the server's programs; else PG_THROWAWAY_BINDIR, else the highest version

---@class pg.throwaway.Server
---@field options table for `pg.connect`: the Unix socket, as superuser, without a password
---@field tcp? table for `pg.connect`: 127.0.0.1, the port, and the superuser's password
---@field ssl? { rootcert: string, wrong_rootcert: string, certificate: string, key: string } files
---@field dir string the temporary folder; the server writes to `log` in it
---@field bindir string where the server's programs are
local Server = {}
Server.__index = Server
Server.__name = "pg.throwaway.Server"

local known <const> = {
  tcp = "boolean", ssl = "boolean", settings = "table", hba = "table", initdb = "table",
  bindir = "string",
}

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function quote_all(words)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = quote(word) end
  return table.concat(quoted, " ")
end

local function configuration(settings)
  local lines = {}
  for name, value in pairs(settings) do
    if not tostring(name):find("^[%a_][%w_.]*$") then
      error("throwaway: not the name of a setting: " .. tostring(name), 3)
    end
    if type(value) == "boolean" then value = value and "on" or "off" end
    value = tostring(value):gsub("[\\']", "%0%0")
    lines[#lines + 1] = name .. " = '" .. value .. "'"
  end
  return table.concat(lines, "\n")
end

local function check(options)
  for name, value in pairs(options) do
    if not known[name] then error("throwaway: unknown option " .. tostring(name), 3) end
    if type(value) ~= known[name] then
      error("throwaway: " .. name .. " must be a " .. known[name], 3)
    end
  end
end

-- This process's id where /proc tells it: a forked child must not stop its parent's server.
local function process_id()
  local file <close> = io.open("/proc/self/stat")
  return file and file:read("n")
end

---Starts a server. Takes a second or two. Raises only for options that are wrong.
---@param options? pg.throwaway.Options
---@return pg.throwaway.Server? server to-be-closed
---@return string? message what to install, or what initdb or pg_ctl said
function throwaway.start(options)
  options = options or {}
  check(options)
  local ssl = options.ssl and "1" or ""
  local tcp = (options.tcp or options.ssl) and "1" or ""
  local bindir = options.bindir or os.getenv("PG_THROWAWAY_BINDIR") or ""
  local settings = configuration(options.settings or {})
  local waiter <close> = io.popen("exec sh " .. quote(script) .. " wait", "r")
  local dir = waiter:read("l")
  if not dir then return nil, "throwaway: no temporary folder can be made" end
  -- In a session of its own, so that Ctrl-C does not reach it.
  local pipe = io.popen("exec env " .. quote_all {
    "TCP=" .. tcp, "SSL=" .. ssl, "SETTINGS=" .. settings,
    "HBA=" .. table.concat(options.hba or {}, "\n"),
  } .. " $(command -v setsid) sh " .. quote_all {
    script, "serve", dir, bindir, table.unpack(options.initdb or {}),
  }, "w")
  local self = setmetatable({ pipe = pipe, dir = dir }, Server)

  local report = waiter:read("a")
  local owner, keeper, server_bindir, port, password =
    report:match("^started (%d+) (%d+)\n([^\n]+)\nport = (%d+)\n(%x+)")
  if not owner then
    self:stop()
    local message = report:match("^failed\n(.-)%s*$") or "the server's script said nothing"
    return nil, "throwaway: " .. message
  end
  self.owner, self.keeper = tonumber(owner), keeper
  self.bindir = server_bindir
  port = math.tointeger(tonumber(port))
  self.options = { host = dir, port = port, database = "postgres", user = "postgres" }
  if tcp ~= "" then
    self.tcp = {
      host = "127.0.0.1", port = port, database = "postgres", user = "postgres",
      password = password,
    }
  end
  if ssl ~= "" then
    self.ssl = {
      rootcert = dir .. "/ca.crt", wrong_rootcert = dir .. "/other.crt",
      certificate = dir .. "/localhost.crt", key = dir .. "/localhost.key",
    }
  end
  return self
end

---Stops the server at once; returns when it and its folder are gone. May be called again.
function Server:stop()
  local pipe = self.pipe
  self.pipe = nil
  if not pipe then return end
  -- Closing is not enough: a child may have inherited the pipe. Nor would writing do: it is SIGPIPE
  -- when the script was killed. Its id is its own until close has waited for it.
  if self.keeper then os.execute("kill " .. self.keeper .. " 2>/dev/null") end
  pipe:close()
end

Server.__close = Server.stop

function Server:__gc()
  if self.owner and (process_id() or self.owner) ~= self.owner then return end
  self:stop()
end

function Server:__tostring()
  return "throwaway server in " .. self.dir .. (self.pipe and "" or " (stopped)")
end

---What pg_ctl does: `control("restart", "-m", "immediate")`, `"stop"`, `"start"`, `"reload"`.
---@param action string
---@param ... string
---@return true? done
---@return string? message pg_ctl's
function Server:control(action, ...)
  local command = "exec sh " .. quote_all { script, "control", self.dir, action, ... } .. " 2>&1"
  local pipe = io.popen(command, "r")
  local message = pipe:read("a")
  if pipe:close() then return true end
  return nil, message
end

---For the command line of a child process: `PGHOST=... PGPORT=... PGDATABASE=... PGUSER=...`.
---@return string
function Server:environment()
  local options = self.options
  return "PGHOST=" .. quote(options.host) .. " PGPORT=" .. options.port
    .. " PGDATABASE=" .. options.database .. " PGUSER=" .. options.user
end

---Runs a shell command with the environment of a server of its own.
---@param command string
---@param options? pg.throwaway.Options
---@return integer code the command's, 128 and the signal's number, or 1 when no server starts
function throwaway.run(command, options)
  local server <close>, message = throwaway.start(options)
  if not server then
    io.stderr:write(message, "\n")
    return 1
  end
  local _, how, code = os.execute("unset PGHOSTADDR PGSERVICE PGPASSWORD PGOPTIONS PGSSLMODE\n"
    .. "export " .. server:environment() .. "\n" .. command)
  return how == "signal" and 128 + code or code
end

return throwaway
