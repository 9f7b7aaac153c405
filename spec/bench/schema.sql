-- What the benchmarks read and write. The numbers in braces are multiplied by the scale.
CREATE TABLE bench_lookup AS
  SELECT i AS id, 'name ' || i AS name, 'user' || i || '@example.com' AS email, i % 2 = 0 AS active,
         i * 1.5::float8 AS score, '2026-01-15T10:30:00Z'::timestamptz AS created_at,
         (i * 100)::int8 AS total, NULL::text AS note
    FROM generate_series(1, 1000) AS i;
ALTER TABLE bench_lookup ADD PRIMARY KEY (id);

CREATE TABLE bench_rows AS
  SELECT i::int8 AS id, 'some text ' || i AS name, i / 7.0::float8 AS score, i % 2 = 0 AS active
    FROM generate_series(1, {100000}) AS i;

CREATE TABLE bench_million AS
  SELECT i::int8 AS id, 'some text ' || i AS name, i / 7.0::float8 AS score, i % 2 = 0 AS active
    FROM generate_series(1, {1000000}) AS i;

CREATE TABLE bench_typed AS
  SELECT i::int8 AS id, '2026-01-15T10:30:00Z'::timestamptz + i * interval '1.234567 s' AS at,
         i * 1234.5678 AS amount
    FROM generate_series(1, {100000}) AS i;

CREATE TABLE bench_ints AS
  SELECT i AS id, (SELECT array_agg((i * 7919 + j * 104729) % 2000000 - 1000000 ORDER BY j)
                     FROM generate_series(1, 100) AS j) AS list
    FROM generate_series(1, {10000}) AS i;

CREATE TABLE bench_floats AS
  SELECT i AS id, (SELECT array_agg(i + j / 7.0::float8 ORDER BY j)
                     FROM generate_series(1, 100) AS j) AS list
    FROM generate_series(1, {10000}) AS i;

-- Bytes as they come from md5: they do not compress, and the server is not to try.
CREATE TABLE bench_large (data bytea);
CREATE TABLE bench_medium (data bytea);
ALTER TABLE bench_large ALTER data SET STORAGE EXTERNAL;
ALTER TABLE bench_medium ALTER data SET STORAGE EXTERNAL;
INSERT INTO bench_large
  SELECT string_agg(decode(md5(i::text), 'hex'), '' ORDER BY i) FROM generate_series(1, 65536) AS i;
INSERT INTO bench_medium
  SELECT substr(data, 1 + i % 1000 * 1000, 10240) FROM bench_large, generate_series(1, {1000}) AS i;

CREATE TABLE bench_json AS
  SELECT i AS id, jsonb_build_object(
           'number', i,
           'user', jsonb_build_object('name', 'name ' || i, 'email', 'user' || i || '@example.com',
             'age', 18 + i % 60, 'address', jsonb_build_object('street', i || ' Long Street',
               'city', 'Springfield', 'zip', lpad(i::text, 6, '0'))),
           'tags', jsonb_build_array('alpha', 'beta', 'tag ' || i % 10, E'with "quotes" and \\'),
           'prices', jsonb_build_array(round(i / 4.0, 2), 19.99, 1e3, -0.5, i),
           'flags', jsonb_build_object('active', i % 2 = 0, 'admin', false, 'beta', true),
           'note', NULL,
           'created_at', '2026-01-15T10:30:00Z',
           'text', 'The quick brown fox jumps over the lazy dog, again and again, until é is read '
                   || 'by nobody at all but by the parser of this document here.'
         ) AS doc
    FROM generate_series(1, {20000}) AS i;

CREATE UNLOGGED TABLE bench_logs (level text, message text, created_at timestamp);
