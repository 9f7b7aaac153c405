-- SPDX-License-Identifier: MIT
-- luv: lets coroutines wait for connections in luv's event loop, each while the others run.
-- luv starts no coroutines, so it cannot tell one that its callbacks resume from a generator
-- inside of it, whose yield would go to somebody else. Say it: `wait.thread(f)` is f, for a
-- coroutine that may wait. In any other poll(2) takes over, which blocks the loop.
--
--   local wait = require "pg.wait.luv"
--   coroutine.wrap(wait.thread(function()
--     local db <close> = assert(pg.connect { wait = wait })
--   end))()
--   require("luv").run()
local uv = require "luv"

local LONGEST <const> = 86400 -- seconds; the caller asks again

local threads = setmetatable({}, { __mode = "k" })

---@class pg.wait.luv
local wait = {}

---@generic F: function
---@param f F
---@return F # the same function, for the body of a coroutine that may wait
function wait.thread(f)
  return function(...)
    threads[coroutine.running()] = true
    return f(...)
  end
end

-- libuv must have let go of the descriptor when `wait` returns, and also when the coroutine is
-- closed in the middle: the number may soon mean another file.
local forgetting = {
  __close = function(handles)
    for _, handle in ipairs(handles) do handle:close() end
  end,
}

---@param fd integer|nil a descriptor; nil: only sleep
---@param mode "r"|"w"|"rw"|nil what to wait for
---@param seconds number how long at most
---@return false|nil # false: not a coroutine of `wait.thread`
local function call(_, fd, mode, seconds)
  local thread = coroutine.running()
  if not threads[thread] then return false end
  local timer = uv.new_timer()
  local handles <close> = setmetatable({ timer }, forgetting)
  local woken = false
  local function wake()
    if woken then return end
    woken = true
    local ok, problem = coroutine.resume(thread)
    if not ok then
      problem = debug.traceback(thread, tostring(problem))
      coroutine.close(thread)
      error(problem, 0)
    end
  end
  timer:start(math.ceil(math.min(seconds, LONGEST) * 1000), 0, wake)
  if fd then
    handles[2] = assert(uv.new_poll(fd))
    handles[2]:start(mode, wake)
  end
  coroutine.yield()
end

return setmetatable(wait, { __call = call })
