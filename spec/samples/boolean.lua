-- SPDX-License-Identifier: MIT
-- Booleans.
return {
  { "boolean", { "true", true }, { "f", false } },
}
