-- SPDX-License-Identifier: MIT
-- The decoders and encoders alone, without a server (spec/fault/codecs.c), and bytes that are
-- broken in every place.
local support = require "spec.support"

local codecs = {}

--- The module, compiled into a new folder; and a function that removes that.
function codecs.load()
  local folder <const> = support.folder()
  local flags = os.getenv "ASAN_OPTIONS" and "-fsanitize=address,undefined" or ""
  local path = support.compile(folder, "spec/fault/codecs.c", flags
    .. " -fPIC -shared -Isrc $(pkg-config --cflags lua5.4 2>/dev/null || pkg-config --cflags lua)"
    .. " src/codec*.c src/buffer.c -lm")
  return assert(package.loadlib(path, "luaopen_codecs"))(), function()
    os.execute("rm -rf '" .. folder .. "'")
  end
end

-- What else could stand in a place.
local others <const> = { "\0", "\255", "\127", "\128", '"', "\\", ",", "(", ")", "[", "]", "{", "}",
  "=", "1", " " }

--- Decodes the bytes cut at every place, and with every byte changed: each time there is a value
--- or a reason, never an error. Returns what decodes although it was cut.
function codecs.broken(module, type, form, bytes)
  local whole = {}
  for length = 0, #bytes - 1 do
    local value, reason = module.decode(type, form, bytes:sub(1, length))
    if value ~= nil then whole[#whole + 1] = bytes:sub(1, length) end
    assert(value ~= nil or #reason > 0)
  end
  for place = 1, #bytes do
    for _, other in ipairs(others) do
      local value, reason = module.decode(type, form,
        bytes:sub(1, place - 1) .. other .. bytes:sub(place + 1))
      assert(value ~= nil or #reason > 0)
      value, reason = module.decode(type, form, bytes:sub(1, place) .. other
        .. bytes:sub(place + 1))
      assert(value ~= nil or #reason > 0)
    end
  end
  return whole
end

return codecs
