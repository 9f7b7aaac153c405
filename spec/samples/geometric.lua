-- SPDX-License-Identifier: MIT
-- Geometric types, as PostgreSQL writes them. They have no equality of their coordinates.
return {
  { "point", text_only = true, equal = "text", ordered = false, { "(1.5,-0)", "(1.5,-0)" },
    { "(NaN,Infinity)", "(NaN,Infinity)" }, { "1e300,1e-300", "(1e+300,1e-300)", since = 12 } },
  { "line", text_only = true, equal = "text", ordered = false, { "{1,-1,0}", "{1,-1,0}" } },
  { "lseg", text_only = true, equal = "text", ordered = false, { "[(0,0),(1,1)]",
    "[(0,0),(1,1)]" } },
  -- the only type that a semicolon separates within an array
  { "box", text_only = true, equal = "text", ordered = false, { "(1,1),(0,0)", "(1,1),(0,0)" },
    { "(0,0),(1,0.1)", "(1,0.1),(0,0)", since = 12 } },
  { "path", text_only = true, equal = "text", ordered = false, { "((0,0),(1,1))",
    "((0,0),(1,1))" }, { "[(0,0),(1,1)]", "[(0,0),(1,1)]" } },
  { "polygon", text_only = true, equal = "text", ordered = false, { "((0,0),(1,1),(1,0))",
    "((0,0),(1,1),(1,0))" } },
  { "circle", text_only = true, equal = "text", ordered = false, { "<(0,0),1.5>", "<(0,0),1.5>" } },
}
