-- JSON in both directions, against lua-cjson where it is exact and against
-- literals where it is not: Debian's 2.1.0 makes every number a float and
-- writes 14 digits.
local pg = require "pg"
local decode = require("pg.core").json_decode
local cjson = require("cjson").new()

local encode, null = pg.encode, pg.null

-- Repeat a failed run with JSON_SEED=<the seed in the test's name>.
local seed = tonumber(os.getenv "JSON_SEED") or os.time()

--- Whether two decoded values are equal. Unless `exactly`, 3 equals 3.0 and
--- integers are compared as the doubles that cjson makes of them.
local function same(a, b, exactly)
  if type(a) == "number" and type(b) == "number" then
    if exactly then
      return math.type(a) == math.type(b) and a == b and 1 / a == 1 / b
    end
    return a + 0.0 == b + 0.0
  end
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for key, value in pairs(a) do
    if not same(value, b[key], exactly) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

--- The decoded value; raises what json_decode says is wrong.
local function read(text)
  local value, message = decode(text)
  if message then
    error(("%s in %q"):format(message, text), 2)
  end
  return value
end

local function refused(text)
  local value, message = decode(text)
  assert.is_nil(value, ("accepted %q"):format(text))
  assert.is_string(message)
  return message
end

local function nested(open, middle, close, depth)
  return open:rep(depth) .. middle .. close:rep(depth)
end

local document = [=[
{"id": 4711, "name": "Jane \"JD\" Doe", "tags": ["alpha", "b\u00e9ta", "\ud83d\ude00"],
 "score": 93.75, "tiny": -1.5e-7, "active": true, "deleted": null, "empty": [{}, []],
 "orders": [{"id": 1, "sku": "A-100", "price": 19.99}, {"id": 2, "sku": "B\\200", "price": 2E2}],
 "settings": {"theme": "dark", "beta": false, "limits": [10, -20, 0]}, "": "\b\f\n\r\t\/"}]=]

describe("JSON decoding", function()
  it("gives the values that cjson gives", function()
    local texts = {
      "null", "true", "false", "0", "-1", "12.5", "1e3", "1E-3", "-0.5e+2", "123456789012",
      '""', '"a"', '"\195\169"', '"\127"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\u0041\\u00e9\\u20AC"',
      '"\\u0000"', '"a\\u0000b"', '"\\ud83d\\ude00"', '"\\uD800\\uDC00 \\udbff\\udfff"',
      "[]", "{}", "[[]]", "[{}]", '{"a":{}}', "[1,2,3]", "[null]", "[null,1,null]",
      '{"a":1,"b":[true,false,null]}', '{"":0}', '{"1":1}', '{"a":1,"a":2}',
      " \t\r\n[ \t\r\n1 \t\r\n, 2 ] \t\r\n", ' { "a" : 1 , "b" : 2 } ', document,
      '"' .. ("lorem ipsum \195\169 "):rep(1000) .. '"', '"' .. ("x\\n"):rep(3000) .. '"',
    }
    for _, text in ipairs(texts) do
      assert.is_true(same(read(text), cjson.decode(text)), text)
    end
  end)

  it("keeps integers exact to 64 bits and other numbers floats", function()
    local cases = {
      ["0"] = 0, ["7"] = 7, ["-7"] = -7,
      ["9007199254740993"] = 9007199254740993,
      ["-9007199254740993"] = -9007199254740993,
      ["9223372036854775807"] = math.maxinteger,
      ["-9223372036854775808"] = math.mininteger,
      ["9223372036854775808"] = 2.0 ^ 63,
      ["-9223372036854775809"] = -2.0 ^ 63,
      ["18446744073709551616"] = 2.0 ^ 64,
      ["100000000000000000000000"] = 1e23, ["22E00000000000000000000000"] = 22.0,
      ["1e-00000000000000000000001"] = 0.1,
      ["1.0"] = 1.0, ["1e0"] = 1.0, ["10E-1"] = 1.0, ["0.1"] = 0.1, ["-0.0"] = -0.0,
      ["-0"] = -0.0, -- a float: an integer would lose the sign
      ["1.7976931348623157e308"] = 1.7976931348623157e308, ["5e-324"] = 5e-324,
      ["1e400"] = math.huge, ["-1e400"] = -math.huge, ["1e-400"] = 0.0,
      ["1e99999999999999999999"] = math.huge,
      ["0.30000000000000004"] = 0.30000000000000004,
      ["48.20100000000000000000"] = 48.201, ["-0.00000000000000000000"] = -0.0,
      ["0.00014285714285714287"] = 0.00014285714285714287,
      ["9007199254740993.0"] = 9007199254740992.0,
    }
    for text, value in pairs(cases) do
      assert.is_true(same(read(text), value, true), text)
    end
  end)

  it("gives null as pg.null, which is cjson's", function()
    assert.are.equal(null, read "null")
    assert.are.equal(cjson.null, read("[null]")[1])
    assert.are.equal(null, read('{"a":null}').a)
  end)

  it("lets the last of equal keys count, however far apart", function()
    assert.are.equal(3, read('{"a":1,"b":2,"a":3}').a)
    local members = { '"a":"first"' }
    for i = 1, 1000 do
      members[#members + 1] = ('"k%d":%d'):format(i, i)
    end
    members[#members + 1] = '"a":"last"'
    local value = read("{" .. table.concat(members, ",") .. "}")
    assert.are.equal("last", value.a)
    assert.are.equal(1000, value.k1000)
  end)

  it("keeps lists and objects of every length whole and in order", function()
    local items, members = {}, {}
    for n = 0, 700 do
      local list = read("[" .. table.concat(items, ",") .. "]")
      local object = read("{" .. table.concat(members, ",") .. "}")
      assert.are.equal(n, #list)
      for i = 1, n do
        assert(list[i] == i and object["k" .. i] == i)
      end
      items[n + 1] = tostring(n + 1)
      members[n + 1] = ('"k%d":%d'):format(n + 1, n + 1)
    end
  end)

  it("finds what ends a string at every place in it", function()
    for length = 0, 40 do
      local text = ("x"):rep(length)
      for at = 0, length do
        local head, tail = text:sub(1, at), text:sub(at + 1)
        assert.are.equal(head .. '"' .. tail, read('"' .. head .. '\\"' .. tail .. '"'))
        refused('"' .. head .. "\31" .. tail .. '"')
        refused('"' .. head .. '"' .. tail .. '"')
      end
    end
  end)

  it("goes 1000 levels deep and no further (E20)", function()
    assert.is_table(read(nested("[", "", "]", 1000)))
    assert.is_table(read(nested('{"a":', "{}", "}", 999)))
    for _, text in ipairs {
      nested("[", "", "]", 1001), nested('{"a":', "{}", "}", 1000),
      ("["):rep(200000), ('{"a":'):rep(200000), ('[{"a":'):rep(100000),
    } do
      assert.are.equal("JSON nested deeper than 1000 levels", refused(text))
    end
  end)

  it("refuses everything else than JSON", function()
    for _, text in ipairs {
      "", " ", "\0", "nul", "nulll", "True", "tru", "fals", "nan", "NaN", "Infinity",
      "-Infinity", "-", "+1", "01", "-01", "00", "1.", ".5", "-.5", "1e", "1e+", "1.e1", "0x10",
      "1_000", "1 2", '"', '"a', '"\\', '"\\"', '"\\x41"', '"\\u"', '"\\u12"', '"\\u12g4"',
      '"\\u 123"', '"\\u+123"', '"\\ud800"', '"\\udc00"', '"\\ud800x"', '"\\ud800\\n"',
      '"\\ud800\\ud800"', '"\\ud800\\u0041"', '"\n"', '"\t"', '"\0"', '"a\31"', "'a'", "a", "[",
      "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1}", "{", "}", '{"a"', '{"a":', '{"a":1',
      '{"a":1,', '{"a":1,}', "{a:1}", "{1:1}", '{"a" 1}', '{"a":1]', '{"a":,}', "{,}", "[]]",
      "[] x", "{}{}", '"a""b"', "null,", "/**/1", "1//", "\239\187\191{}", "[1]\0", "\f1", "\v1",
      "\194\1601",
    } do
      assert.is_truthy(refused(text):find "^not valid JSON: %l")
    end
  end)

  it("refuses every beginning of a document", function()
    assert.is_table(read(document))
    for length = 0, #document - 1 do
      assert.are.equal("not valid JSON: it ends too early", refused(document:sub(1, length)))
    end
  end)

  -- cjson is more lenient: it takes nan, infinity, hexadecimal and otherwise
  -- malformed numbers, control characters in strings, and anything after a NUL.
  it(("accepts no mutation that cjson refuses (seed %d)"):format(seed), function()
    math.randomseed(seed)
    local marks = '{}[]",:\\ \t\n0123456789-+.eEuntf\0\1\127\255'
    local lenient = {
      ["not valid JSON: a malformed number"] = true,
      ["not valid JSON: a control character in a string"] = true,
      ["not valid JSON: a value was expected"] = true,
      ["not valid JSON: an unknown word"] = true,
      ["not valid JSON: a comma or bracket was expected"] = true,
      ["not valid JSON: it ends too early"] = true,
      ["not valid JSON: text after its end"] = true,
    }
    for _ = 1, 10000 do
      local text = document
      for _ = 1, math.random(3) do
        local at, mark = math.random(#text), math.random(#marks)
        local cut = math.random(0, 2)
        text = text:sub(1, at - 1) .. marks:sub(mark, mark) .. text:sub(at + cut)
      end
      local value, message = decode(text)
      local accepted, theirs = pcall(cjson.decode, text)
      if not message then
        assert(accepted and same(value, theirs), text)
      elseif accepted then
        assert(lenient[message], message .. " in " .. text)
      end
    end
  end)
end)

describe("JSON encoding", function()
  it("writes scalars so that they read back the same", function()
    local cases = {
      { true, "true" }, { false, "false" }, { null, "null" }, { 0, "0" }, { -1, "-1" },
      { math.maxinteger, "9223372036854775807" }, { math.mininteger, "-9223372036854775808" },
      { 9007199254740993, "9007199254740993" },
      { 3.0, "3.0" }, { -3.0, "-3.0" }, { 0.0, "0.0" }, { -0.0, "-0.0" }, { 0.1, "0.1" },
      { 2.0 ^ 53, "9007199254740992.0" }, { 93.75, "93.75" },
      { "", '""' }, { "a", '"a"' }, { "\195\169", '"\195\169"' }, { "\127", '"\127"' },
      { "\255", '"\255"' }, { '"\\/', '"\\"\\\\/"' }, { "\b\f\n\r\t", '"\\b\\f\\n\\r\\t"' },
      { "\0\1\v\31", '"\\u0000\\u0001\\u000b\\u001f"' },
    }
    for _, case in ipairs(cases) do
      local value, text = case[1], case[2]
      assert.are.equal(text, encode(value))
      assert.is_true(same(value, read(text), true), text)
    end
    assert.are.equal("null", encode(nil))
  end)

  it("keeps every float a float", function()
    for _, value in ipairs {
      1e15, 1e16, 1e17, 2.0 ^ 62, 2.0 ^ 63, -2.0 ^ 63, 1e19, 1e22, 1e23, 1e300, 5e-324, 1e-5, 1 / 3,
      1.7976931348623157e308, 2.2250738585072014e-308,
    } do
      local text = encode(value)
      assert.is_true(same(value, read(text), true), text)
      assert.are.equal(value, cjson.decode(text))
    end
  end)

  it("gives tables the shapes that cjson gives them", function()
    local cases = {
      {}, { 1 }, { 1, 2, 3 }, { {} }, { { {} } }, { a = 1 }, { a = { b = { c = { 1 } } } },
      { 1, 2, x = 3 }, { [0] = "zero" }, { [-1] = "negative" }, { [1.5] = "fraction" },
      { [1] = 1, [3] = 3 }, { [2] = 2 }, { [10] = 10 }, { null, null }, { n = 3 }, { 1, n = 1 },
      { "a", { b = true }, null, false, "" },
      { [1] = 1, [2] = 2, [3] = 3, [4] = 4, [5] = 5, [12] = 12 },
    }
    for _, value in ipairs(cases) do
      local text = encode(value)
      assert.is_true(same(read(text), read(cjson.encode(value)), false), text)
      assert.are.equal(cjson.encode(value):sub(1, 1), text:sub(1, 1))
    end
  end)

  it("writes holes as null unless a list is excessively sparse", function()
    assert.are.equal("[1,null,3]", encode { [1] = 1, [3] = 3 })
    assert.are.equal("[" .. ("null,"):rep(9) .. "1]", encode { [10] = 1 })
    for _, value in ipairs {
      { [11] = 1 }, { [100] = 1, [1] = 1 }, { [math.maxinteger] = 1 }, { 1, [2 ^ 62] = 1 },
    } do
      local text, err = encode(value)
      assert.is_nil(text)
      assert.are.equal("invalid_parameter", err.kind)
      assert.is_truthy(err.message:find("excessively sparse array", 1, true))
    end
  end)

  it("writes an empty table as an object, and as a list when it is marked", function()
    assert.are.equal("{}", encode {})
    assert.are.equal("[]", encode(pg.array {}))
    assert.are.equal("[]", encode(read "[]"))
    assert.are.equal("{}", encode(read "{}"))
    assert.are.equal('{"a":[[],{}]}', encode(read ' { "a" : [ [ ] , { } ] } '))
  end)

  it("refuses a marked list that has got other keys", function()
    local list = read "[1,2]"
    list.total = 3
    local text, err = encode { items = list }
    assert.is_nil(text)
    assert.is_truthy(err.message:find(".items: a list cannot have the key .total", 1, true))
  end)

  it("writes number keys as strings", function()
    assert.are.equal('{"0":1}', encode { [0] = 1 })
    assert.are.equal('{"-9223372036854775808":1}', encode { [math.mininteger] = 1 })
    assert.are.equal('{"0.5":1}', encode { [0.5] = 1 })
    assert.are.same({ ["1"] = "a", x = "b" }, read(encode { "a", x = "b" }))
  end)

  it("writes what a wrapper holds", function()
    assert.are.equal('{"a":[1]}', encode { a = pg.json { 1 } })
    assert.are.equal('"text"', encode(pg.json "text"))
    assert.are.equal("[null]", encode { pg.json(pg.json(null)) })
  end)

  it("reads tables raw, whatever their metamethods say", function()
    local function never()
      error "a metamethod ran"
    end
    local value = setmetatable({ 1, 2 }, { __index = never, __len = never, __pairs = never })
    assert.are.equal("[1,2]", encode(value))
  end)

  it("names what cannot be sent and where it is", function()
    local sparse = { [99] = 1 }
    local cases = {
      { print, "cannot send a function" },
      { coroutine.create(print), "cannot send a thread" },
      { io.stdout, "cannot send a userdata" },
      { 0 / 0, "cannot send nan as JSON" },
      { math.huge, "cannot send infinity as JSON" },
      { -math.huge, "cannot send infinity as JSON" },
      { { items = { 1, 2, { f = print } } }, ".items[3].f: cannot send a function" },
      { { ["a key"] = { _1 = { [-2] = print } } }, '["a key"]._1[-2]: cannot send a function' },
      { { a = { [true] = 1 } }, "a key cannot be a boolean" },
      { { a = { { b = sparse } } }, ".a[1].b: excessively sparse array" },
      { { [("\195\169"):rep(50)] = print }, '["' .. ("\195\169"):rep(20) .. '..."]: cannot send' },
      { { ["a\0\n"] = print }, '["a??"]: cannot send a function' },
    }
    for _, case in ipairs(cases) do
      local text, err = encode(case[1])
      assert.is_nil(text)
      assert.are.equal("invalid_parameter", err.kind)
      assert.is_truthy(err.message:find(case[2], 1, true), err.message)
    end
  end)

  it("goes 1000 levels deep and no further, so cycles end (E20)", function()
    local list, object = { null }, { a = null }
    for _ = 2, 1000 do
      list, object = { list }, { a = object }
    end
    assert.are.equal(nested("[", "null", "]", 1000), encode(list))
    assert.are.equal(nested('{"a":', "null", "}", 1000), encode(object))
    local loop, ring = {}, { {} }
    loop.loop, ring[1].next = loop, ring
    for _, value in ipairs { { list }, { object }, loop, ring } do
      local text, err = encode(value)
      assert.is_nil(text)
      assert.is_truthy(err.message:find("nested deeper than 1000 levels, or a cycle", 1, true))
      assert.is_true(#err.message < 400)
    end
  end)
end)

describe("JSON both ways", function()
  local function random_text()
    local bytes = {}
    for i = 1, math.random(0, 30) do
      bytes[i] = string.char(math.random(0, 255))
    end
    return table.concat(bytes)
  end

  local function random_float()
    while true do
      local value = string.unpack("d", string.pack("i8", math.random(0)))
      if value == value and value ~= math.huge and value ~= -math.huge then
        return value
      end
    end
  end

  local random_value
  local makers = {
    function() return null end,
    function() return math.random(2) == 1 end,
    function() return math.random(0) >> math.random(0, 63) end,
    function() return -math.random(0, 1000) end,
    random_float,
    function() return math.random(-1000, 1000) / 8 end,
    random_text,
    function(depth)
      local list = {}
      for i = 1, math.random(0, 8) do
        list[i] = random_value(depth + 1)
      end
      return pg.array(list)
    end,
    function(depth)
      local object = {}
      for _ = 1, math.random(0, 8) do
        object[random_text()] = random_value(depth + 1)
      end
      return object
    end,
  }

  function random_value(depth)
    return makers[math.random(depth < 6 and #makers or #makers - 2)](depth)
  end

  it(("gives every value back exactly (seed %d)"):format(seed), function()
    math.randomseed(seed)
    for _ = 1, 2000 do
      local value = { random_value(0), null }
      local text = assert(encode(value))
      assert(same(value, read(text), true), text)
      assert(same(value, cjson.decode(text)), text)
      assert.are.equal(#text, #encode(read(text)))
    end
  end)
end)
