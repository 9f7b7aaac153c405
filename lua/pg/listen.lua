-- SPDX-License-Identifier: MIT
-- listen: db:listen and db:unlisten. What arrives is db:notification's, in the core.
local core = require "pg.core"
local sql = require "pg.sql"

local listen = {}

--- Subscribes to a channel: what NOTIFY sends there from then on is kept for
--- db:notification. A name is taken as it is: "Jobs" is not jobs. In a transaction it
--- begins with the COMMIT. Behind a pooler it is refused: nothing would ever come.
---@param db pg.Connection
---@param channel string
---@return true|nil
---@return pg.Error?
function listen.listen(db, channel)
  local quoted = sql.quote(channel, 2)
  if core.is_pooled(db) then
    return core.fail({ kind = "wrong_action", sql = "LISTEN " .. quoted,
      message = "a pooler stands between this connection and the server: notifications would "
        .. "not come through it",
      fixes = { "Listen on a connection of its own that leads to the server itself." } }, db)
  end
  local done, err = db:execute("LISTEN " .. quoted)
  if not done then return nil, err end
  return true
end

--- Ends the subscription to a channel, or to all.
---@param db pg.Connection
---@param channel? string
---@return true|nil
---@return pg.Error?
function listen.unlisten(db, channel)
  local done, err = db:execute("UNLISTEN " .. (channel and sql.quote(channel, 2) or "*"))
  if not done then return nil, err end
  return true
end

return listen
