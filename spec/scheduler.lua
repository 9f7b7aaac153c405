-- SPDX-License-Identifier: MIT
local core = require "pg.core"
local socket = require "socket"

-- A scheduler of coroutines, as small as one can be. `gate`, if given, is open only while it
-- waits. `calls` is what the connections asked for.
local function scheduler(gate)
  local loop = { calls = {} }
  local threads, running = {}, nil

  function loop.wait(fd, mode, seconds)
    loop.calls[#loop.calls + 1] = { fd = fd, mode = mode, seconds = seconds }
    if coroutine.running() ~= running then return false end
    coroutine.yield { fd = fd, mode = mode, limit = core.now() + seconds }
  end

  local function resume(thread)
    running = thread
    local ok, need = coroutine.resume(thread)
    running = nil
    threads[thread] = coroutine.status(thread) ~= "dead" and need or nil
    if not ok then error(debug.traceback(thread, tostring(need)), 0) end
  end

  local function ready()
    local readers, writers, owner, limit = {}, {}, {}, math.huge
    for thread, need in pairs(threads) do
      local object = { getfd = function() return need.fd end, dirty = function() return false end }
      owner[object] = thread
      if need.fd and need.mode:find "r" then readers[#readers + 1] = object end
      if need.fd and need.mode:find "w" then writers[#writers + 1] = object end
      limit = math.min(limit, need.limit)
    end
    if gate then gate:open() end
    local r, w = socket.select(readers, writers, math.max(limit - core.now(), 0))
    if gate then gate:shut() end
    local list = {}
    for object, thread in pairs(owner) do
      if r[object] or w[object] or threads[thread].limit <= core.now() then
        list[#list + 1] = thread
      end
    end
    return list
  end

  function loop.spawn(f, ...)
    local thread = coroutine.create(function(...) f(...) end)
    local spawner <const> = running
    running = thread
    local ok, need = coroutine.resume(thread, ...)
    running = spawner
    threads[thread] = coroutine.status(thread) ~= "dead" and need or nil
    if not ok then error(need, 0) end
    return thread
  end

  function loop.step()
    for _, thread in ipairs(ready()) do
      if threads[thread] then resume(thread) end
    end
  end

  function loop.run(f, ...)
    if f then loop.spawn(f, ...) end
    while next(threads) do loop.step() end
  end

  return loop
end

return scheduler
