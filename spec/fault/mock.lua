-- SPDX-License-Identifier: MIT
-- A scripted server for one connection after another, in the client's own process: it runs while
-- the client waits, as the client's `wait` function. A script is a function of a session; it ends
-- the session by returning.
local socket = require "socket"

local mock = {}
local Mock = {}
Mock.__index = Mock
local Session = {}
Session.__index = Session

local SSL_REQUEST <const>, GSS_REQUEST <const> = 80877103, 80877104

--- Exactly n bytes of the client, or nil when it has gone.
function Session:read(n)
  while #self.input < n do
    if self.gone then return nil end
    coroutine.yield()
  end
  local bytes = self.input:sub(1, n)
  self.input = self.input:sub(n + 1)
  return bytes
end

--- The client's start-up packet, after `answer` ("N" unless given) to requests for encryption.
function Session:startup(answer)
  while true do
    local head = self:read(4)
    local body = head and self:read(string.unpack(">I4", head) - 4)
    if not body then return nil end
    local code = string.unpack(">I4", body)
    if code ~= SSL_REQUEST and code ~= GSS_REQUEST then return body:sub(5) end
    self:write(answer or "N")
  end
end

function Session:write(bytes)
  local sent = 0
  while sent < #bytes and not self.gone do
    local last, _, part = self.client:send(bytes, sent + 1)
    sent = last or part
    if sent < #bytes then coroutine.yield() end
  end
end

--- A message of the server: its type and what it consists of.
function Session:send(kind, ...)
  local body = table.concat { ... }
  self:write(kind .. string.pack(">I4", #body + 4) .. body)
end

--- The sign-in succeeds.
function Session:accept()
  self.accepted = true
  self:send("R", string.pack(">I4", 0))
end

--- All that a server says up to its first ReadyForQuery.
function Session:welcome(parameters)
  if not self.accepted then self:accept() end
  for name, value in pairs(parameters) do self:send("S", name, "\0", value, "\0") end
  self:send("K", string.pack(">I4I4", 4711, 1))
  self:send("Z", "I")
end

--- An error of the server: its fields by their letters.
function Session:fail(fields)
  local parts = {}
  for letter, text in pairs(fields) do parts[#parts + 1] = letter .. text .. "\0" end
  self:send("E", table.concat(parts), "\0")
end

local function pump(self)
  local client = self.listener:accept()
  if client then
    client:settimeout(0)
    client:setoption("tcp-nodelay", true)
    local session = setmetatable({ client = client, input = "" }, Session)
    session.thread = coroutine.create(self.script)
    self.sessions[#self.sessions + 1] = session
  end
  for _, session in ipairs(self.sessions) do
    if session.client then
      local bytes, problem, part = session.client:receive(65536)
      bytes = bytes or part
      session.input = session.input .. bytes
      self.heard = self.heard .. bytes
      session.gone = problem == "closed"
      assert(coroutine.resume(session.thread, session))
      if coroutine.status(session.thread) == "dead" then
        session.client:close()
        session.client = nil
      end
    end
  end
end

--- Listens on 127.0.0.1.
---@param script fun(session: table)
---@return { options: table, heard: string, sessions: table[] } to be closed
function mock.start(script)
  local listener = assert(socket.bind("127.0.0.1", 0))
  listener:settimeout(0)
  local self = setmetatable({ listener = listener, script = script, sessions = {}, heard = "" },
    Mock)
  self.options = {
    host = "127.0.0.1", port = select(2, listener:getsockname()), user = "app_user",
    database = "app", connect_timeout = 5,
    wait = function(fd, _, seconds)
      pump(self)
      if fd then
        local client = { getfd = function() return fd end }
        socket.select({ client, self.listener }, nil, math.min(seconds, 0.01))
      end
    end,
  }
  return self
end

--- Calls a function in a coroutine, so that the client uses its `wait`.
function mock.call(f, ...)
  local results = table.pack(coroutine.wrap(f)(...))
  return table.unpack(results, 1, results.n)
end

function Mock:close()
  for _, session in ipairs(self.sessions) do
    if session.client then session.client:close() end
  end
  self.listener:close()
end
Mock.__close = Mock.close

return mock
