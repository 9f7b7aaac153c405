-- SPDX-License-Identifier: MIT
-- PgBouncer before a throwaway server, on a Unix socket in a folder of its own, for the user that
-- the server runs as; gone when it is closed or its process has ended.
local support = require "spec.support"

local pgbouncer = {}
local Pooler = {}
Pooler.__index = Pooler

local PROGRAM <const> = "/usr/sbin/pgbouncer"

--- Is it installed?
function pgbouncer.found()
  return (os.execute("test -x " .. PROGRAM))
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

--- Starts it: `options` of the server, the pool mode, and more lines for [pgbouncer].
---@param server table of pg.throwaway
---@param lines? string[]
---@return { options: table } to be closed
function pgbouncer.start(server, lines)
  local folder <const> = support.folder()
  local options <const> = server.options
  write(folder .. "/users", '"postgres" ""\n')
  write(folder .. "/pgbouncer.ini", ([[
[databases]
* = host=%s port=%d
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = %s
auth_type = trust
auth_file = %s/users
pool_mode = transaction
logfile = %s/log
%s
]]):format(options.host, options.port, folder, folder, folder, table.concat(lines or {}, "\n")))
  -- It does not run as root. It ends when its standard input does: with this process.
  local program = PROGRAM .. " -q " .. folder .. "/pgbouncer.ini >/dev/null 2>&1"
  if support.run "id -u" == "0\n" then
    assert(os.execute("chown -R nobody " .. folder))
    program = "setpriv --reuid=nobody --regid=$(id -g nobody) --clear-groups " .. program
  end
  local pipe = io.popen(program .. " & read -r line; kill $!; wait $!", "w")
  local self = setmetatable({ pipe = pipe, folder = folder }, Pooler)
  support.eventually(function()
    return os.execute("test -S " .. folder .. "/.s.PGSQL.6432")
  end)
  self.options = { host = folder, port = 6432, user = "postgres", database = "postgres" }
  return self
end

function Pooler:close()
  self.pipe:close()
  os.execute("rm -rf " .. self.folder)
end
Pooler.__close = Pooler.close

return pgbouncer
