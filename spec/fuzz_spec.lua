-- SPDX-License-Identifier: MIT
-- The codecs on the corpus of spec/fault/fuzz, with sanitizers; `make fuzz` goes on from there.
local support = require "spec.support"

describe("each fuzz target", function()
  local folder

  setup(function() folder = support.folder() end)
  teardown(function() os.execute("rm -rf " .. folder) end)

  it("keeps what it promises on its corpus (R21)", function()
    local output, errors, code = support.run("sh spec/tools/fuzz.sh " .. folder .. " 0 2")
    if code == 2 then return pending(output) end
    assert.are.equal(0, code, output .. errors)
    local targets = support.run "ls spec/fault/fuzz/corpus"
    for target in targets:gmatch "%S+" do
      local inputs = output:match("%f[%w]" .. target .. ": (%d+) inputs, right")
      assert.is_true(tonumber(inputs) > 2, output)
    end
  end)
end)
