-- Starts spec/fault/faultproxy.c before a server and gives it commands.
-- SPDX-License-Identifier: MIT
local socket = require "socket"

local faultproxy = {}
local Proxy = {}
Proxy.__index = Proxy

--- A proxy before a server; to be closed.
---@param program string the compiled faultproxy.c
---@param options table for pg.connect: host (an address or a socket's folder) and port, and others
---@param path? string the Unix socket to listen on, DIR/.s.PGSQL.PORT; else a port of 127.0.0.1
---@return table # `options` are for pg.connect
function faultproxy.start(program, options, path)
  local server = tostring(options.port)
  if options.host:sub(1, 1) == "/" then
    server = ("%s/.s.PGSQL.%d"):format(options.host, options.port)
  end
  local pipe = io.popen(("exec %s %s %s"):format(program, path or 0, server), "r")
  local port, control = pipe:read("n", "n")
  local self = setmetatable({ pipe = pipe, options = {} }, Proxy)
  for name, value in pairs(options) do self.options[name] = value end
  self.options.host, self.options.port = "127.0.0.1", port
  if path then
    self.options.host, self.options.port = path:match "^(.*)/%.s%.PGSQL%.(%d+)$"
  end
  self.control = assert(socket.connect("127.0.0.1", control))
  self.control:settimeout(10)
  return self
end

--- Gives a command (see faultproxy.c); answers when it holds.
function Proxy:send(command)
  assert(self.control:send(command .. "\n"))
  local answer = assert(self.control:receive "*l")
  assert(answer ~= "unknown", command)
  return answer
end

--- What passed so far: connections, requests to cancel, bytes up and down.
function Proxy:stat()
  local connections, cancels, up, down = self:send "stat":match "(%d+) (%d+) (%d+) (%d+)"
  return { connections = tonumber(connections), cancels = tonumber(cancels), up = tonumber(up),
    down = tonumber(down) }
end

--- As if it had just been started: every fault is off.
function Proxy:calm()
  for _, command in ipairs { "stall off", "at up 0 0 cut 0", "at down 0 0 cut 0", "reset off",
    "chop 0", "cancel pass", "refuse off", "deaf off", "flood 0" } do
    self:send(command)
  end
end

function Proxy:close()
  if not self.pipe then return end
  self.control:send "quit\n"
  self.control:close()
  self.pipe:close()
  self.pipe = nil
end

Proxy.__close = Proxy.close

return faultproxy
