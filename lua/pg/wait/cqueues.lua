-- SPDX-License-Identifier: MIT
-- cqueues: lets the coroutines of a cqueues controller wait for connections, each while the
-- others run. Owns nothing. A generator of your own inside such a coroutine cannot yield to the
-- controller: there, and outside of a controller, poll(2) takes over.
--
--   local loop = cqueues.new()
--   loop:wrap(function()
--     local db <close> = assert(pg.connect { wait = require "pg.wait.cqueues" })
--   end)
--   assert(loop:loop())
local cqueues = require "cqueues"

-- The controller must not know a descriptor longer than it waits for it, even when the coroutine
-- is closed in the middle: the number may soon mean another file.
local forgetting = { __close = function(watched) cqueues.cancel(watched.pollfd) end }

---@param fd integer|nil a descriptor; nil: only sleep
---@param mode "r"|"w"|"rw"|nil what to wait for
---@param seconds number how long at most
---@return false|nil # false: this coroutine cannot yield to its controller
return function(fd, mode, seconds)
  local controller, may_yield = cqueues.running()
  if not controller or not may_yield then return false end
  if not fd then
    cqueues.sleep(seconds)
    return nil
  end
  local watched <close> = setmetatable({ pollfd = fd, events = mode }, forgetting)
  cqueues.poll(watched, seconds)
end
