/* SPDX-License-Identifier: MIT */
/* The decoders, by family. An input: the format and the view, the type, and
 * the bytes. */
#include "codec_rows.h"
#include "targets.h"

static void decode_one_of(lua_State *L, const uint32_t *oids, size_t count,
                          fuzz_input input)
{
  uint8_t bits = fuzz_byte(&input);
  const lpg_type *type = lpg_type_find(oids[fuzz_byte(&input) % count]);
  lpg_view view = fuzz_view((uint8_t)(bits >> 1));
  fuzz_expect(type, "a row for each OID");
  fuzz_decode(L, type, &view, bits & 1, input);
}

#define FAMILY(name, ...)                                                      \
  static void name(lua_State *L, fuzz_input input)                             \
  {                                                                            \
    static const uint32_t oids[] = {__VA_ARGS__};                              \
    decode_one_of(L, oids, sizeof oids / sizeof *oids, input);                 \
  }

FAMILY(numbers, 16, 20, 21, 23, 26, 28, 700, 701, 3220, 5069)
FAMILY(numeric, 1700)
FAMILY(strings, 17, 18, 25, 1560, 2950, 4072)
FAMILY(times, 1082, 1083, 1114, 1184, 1266)
FAMILY(interval, 1186)
FAMILY(network, 650, 774, 829, 869)
FAMILY(json, 114, 3802)
FAMILY(arrays, 1000, 1001, 1005, 1007, 1009, 1016, 1020, 1021, 1022, 1041, 1185,
       1231, 1561, 3807)

const fuzz_target fuzz_targets[] = {
    {"numbers", numbers},
    {"numeric", numeric},
    {"strings", strings},
    {"times", times},
    {"interval", interval},
    {"network", network},
    {"json", json},
    {"arrays", arrays},
    {"copy", fuzz_copy},
    {"floats", fuzz_floats},
    {"instants", fuzz_instants},
    {"derived", fuzz_derived},
    {"back", fuzz_back},
    {"values", fuzz_values},
    {NULL, NULL},
};
