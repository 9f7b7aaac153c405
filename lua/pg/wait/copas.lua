-- SPDX-License-Identifier: MIT
-- copas (3 or later): lets copas's threads wait for connections, each while the others run.
-- A generator inside of a thread looks like the thread to copas, but its yield would go to
-- somebody else. Say which is which: `wait.thread(f)` is f, for a coroutine that copas starts.
-- In any other poll(2) takes over, which blocks the loop.
--
--   local wait = require "pg.wait.copas"
--   copas.addthread(wait.thread(function()
--     local db <close> = assert(pg.connect { wait = wait })
--   end))
--   copas.loop()
local copas = require "copas"

local threads = setmetatable({}, { __mode = "k" })

---@class pg.wait.copas
local wait = {}

---@generic F: function
---@param f F
---@return F # the same function, for the body of a thread or a server's handler
function wait.thread(f)
  return function(...)
    threads[coroutine.running()] = true
    return f(...)
  end
end

-- What copas takes for a socket: reading and writing "time out" once, so that it waits for the
-- descriptor, and then are done. copas forgets it when it is ready, or when the time is over.
local Descriptor = {}
Descriptor.__index = Descriptor

function Descriptor:getfd() return self.fd end
function Descriptor.dirty() return false end

local function ready(self)
  if self.waited then return "" end
  self.waited = true
  return nil, "timeout", 0
end

Descriptor.receive = ready
Descriptor.send = ready

---@param fd integer|nil a descriptor; nil: only sleep
---@param mode "r"|"w"|"rw"|nil what to wait for
---@param seconds number how long at most
---@return false|nil # false: not a coroutine of `wait.thread`
local function call(_, fd, mode, seconds)
  if not threads[coroutine.running()] then return false end
  local descriptor = fd and setmetatable({ fd = fd }, Descriptor)
  if not descriptor or seconds <= 0 then
    copas.pause(seconds)
  elseif mode == "r" then
    copas.settimeout(descriptor, seconds)
    copas.receivepartial(descriptor)
  else -- copas waits for one of both: what comes to be read meanwhile is seen at the next look
    copas.settimeout(descriptor, mode == "w" and seconds or math.min(seconds, 0.05))
    copas.send(descriptor, "")
  end
end

return setmetatable(wait, { __call = call })
