-- The decision of the bench in one statement, as fast as we could make it, in two ways.
--
-- All of them compute fixed-point log scores as the executor does and pack a score and the place of
-- its offer into one bigint, so that the best offer is the greatest number and ties fall alike. The
-- score does not depend on the channel, hence the best channel is the first that the customer has
-- agreed to. What depends on offers alone is computed beforehand and stands here as constants.
--
-- OFFSET '0' keeps the planner from merging a subquery into the outer one and computing its
-- expressions once for each use. Written as OFFSET 0 it would keep parallel workers out, too: until
-- the planner has folded its type it might be any number.
--
-- What EXPLAIN shows: "unrolled" is a parallel sequential scan with all the arithmetic below one
-- Gather. "lateral" scans the customers once and, for each, the offers with a bounded sort. It runs
-- in one process whatever the settings, because PostgreSQL hands no values of an outer row to a
-- subquery in a worker; that is so for every form that has a subquery for each customer.
--
-- What was tried besides, and how it compares, is in docs/benchmarks.md.

-- name: lateral
-- Offers are rows of a small table: another offer is another row, and any number of winners.
CREATE TABLE {result} AS
SELECT {run}::bigint AS run_id,
       {offers}[place + 1] AS offer_id,
       {channels}[channel] AS channel_id,
       {creatives}[place * {width} + channel] AS creative_id,
       exp((packed >> 16)::float8 / 1e7::float8) AS score,
       0 AS chunk,
       rank::smallint AS rank,
       customer_id AS customer_key
FROM (
    SELECT customer_id, age, balance, channel, ARRAY[{factors}] AS factors
    FROM (
        SELECT *, {first_channel} AS channel, 2e6::float8 * ln(tenure / 40::float8) AS relevance
        FROM {view}
        OFFSET '0'
    ) AS customer
    WHERE channel IS NOT NULL
    OFFSET '0'
) AS customer
CROSS JOIN LATERAL (
    SELECT packed, 65535 - (packed & 65535) AS place, row_number() OVER () AS rank
    FROM (
        SELECT factors[family] + constant AS packed
        FROM {candidates}
        WHERE age >= min_age AND balance >= min_balance
        ORDER BY packed DESC
        LIMIT {top}
    ) AS best
) AS winner;

-- name: unrolled top 1
-- Each offer is an expression, so the statement is good for this catalog only.
CREATE TABLE {result} AS
SELECT {run}::bigint AS run_id,
       {offers}[65536 - (packed & 65535)] AS offer_id,
       {channels}[channel] AS channel_id,
       {creatives}[(65535 - (packed & 65535)) * {width} + channel] AS creative_id,
       exp((packed >> 16)::float8 / 1e7::float8) AS score,
       0 AS chunk,
       1::smallint AS rank,
       customer_id AS customer_key
FROM (
    SELECT customer_id, channel, GREATEST({keys}) AS packed
    FROM (
        SELECT customer_id, age, balance, channel, {named_factors}
        FROM (
            SELECT *, {first_channel} AS channel, 2e6::float8 * ln(tenure / 40::float8) AS relevance
            FROM {view}
            OFFSET '0'
        ) AS customer
        WHERE channel IS NOT NULL
        OFFSET '0'
    ) AS customer
    OFFSET '0'
) AS winner
WHERE packed IS NOT NULL;

-- name: unrolled top 3
-- The same, three times: the greatest, the greatest without it, and the greatest without both.
CREATE TABLE {result} AS
SELECT {run}::bigint AS run_id,
       {offers}[65536 - (packed & 65535)] AS offer_id,
       {channels}[channel] AS channel_id,
       {creatives}[(65535 - (packed & 65535)) * {width} + channel] AS creative_id,
       exp((packed >> 16)::float8 / 1e7::float8) AS score,
       0 AS chunk,
       rank::smallint AS rank,
       customer_id AS customer_key
FROM (
    SELECT customer_id, channel, best, second, GREATEST({keys_after_second}) AS third
    FROM (
        SELECT *, GREATEST({keys_after_best}) AS second
        FROM (
            SELECT *, GREATEST({key_names}) AS best
            FROM (
                SELECT customer_id, channel, {named_keys}
                FROM (
                    SELECT customer_id, age, balance, channel, {named_factors}
                    FROM (
                        SELECT *, {first_channel} AS channel,
                               2e6::float8 * ln(tenure / 40::float8) AS relevance
                        FROM {view}
                        OFFSET '0'
                    ) AS customer
                    WHERE channel IS NOT NULL
                    OFFSET '0'
                ) AS customer
                OFFSET '0'
            ) AS customer
            OFFSET '0'
        ) AS customer
        OFFSET '0'
    ) AS customer
    OFFSET '0'
) AS customer
CROSS JOIN LATERAL (VALUES (best, 1), (second, 2), (third, 3)) AS winner (packed, rank)
WHERE packed IS NOT NULL;
