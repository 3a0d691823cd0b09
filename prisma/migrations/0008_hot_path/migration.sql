-- A request's row changes its state four times. Without an index that looks at the state, each change stays in the row's page and
-- touches no index at all (a HOT update). What was found by state is therefore found by being there: reservations while a request
-- runs, unsettled until the chain has charged it. Rows of these two are written and removed in the statement that moves the state.

CREATE TABLE "reservations" (
    "account_id" TEXT NOT NULL,
    "request_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "max" DECIMAL(39,0) NOT NULL,
    "owner" TEXT NOT NULL,

    CONSTRAINT "reservations_pkey" PRIMARY KEY ("account_id","request_id")
);

CREATE TABLE "unsettled" (
    "request_id" TEXT NOT NULL,
    "account_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "sequence" BIGINT NOT NULL,
    "head" TEXT NOT NULL,
    "model_id" TEXT NOT NULL,
    "provider" TEXT NOT NULL,
    "purpose" INTEGER NOT NULL,
    "charged" DECIMAL(39,0) NOT NULL,
    "served_at" BIGINT NOT NULL,
    "batch_id" TEXT,

    CONSTRAINT "unsettled_pkey" PRIMARY KEY ("request_id")
) WITH (fillfactor = 60);

-- Answers are most of a request's bytes, written once and deleted when they are forgotten. Sealed bytes can't be compressed.
CREATE TABLE "answers" (
    "request_id" TEXT NOT NULL,
    "reserved_at" BIGINT NOT NULL,
    "answer" BYTEA NOT NULL,

    CONSTRAINT "answers_pkey" PRIMARY KEY ("request_id")
) WITH (toast_tuple_target = 8160);
ALTER TABLE "answers" ALTER COLUMN "answer" SET STORAGE EXTERNAL;

INSERT INTO "reservations" SELECT "account_id", "request_id", "key", "max", "owner" FROM "requests" WHERE "state" IN ('RESERVED', 'DISPATCHED');
INSERT INTO "unsettled" SELECT q."request_id", q."account_id", q."key", c."sequence", c."head", q."model_id", q."provider", q."purpose",
    q."charged", c."served_at", q."batch_id"
  FROM "requests" q JOIN "receipts" c USING ("request_id") WHERE q."state" IN ('COMMITTED', 'BATCHED');
INSERT INTO "answers" SELECT "request_id", "reserved_at", "answer" FROM "requests" WHERE "answer" IS NOT NULL;
CREATE INDEX "answers_reserved_at_idx" ON "answers"("reserved_at");

-- A released request gives its idempotency key back by putting its own id here, where all others have nothing.
ALTER TABLE "requests" ADD COLUMN "released" TEXT NOT NULL DEFAULT '';
UPDATE "requests" SET "released" = "request_id" WHERE "state" = 'RELEASED';
ALTER TABLE "requests" ADD CONSTRAINT "requests_released" CHECK (("released" <> '') = ("state" = 'RELEASED'));

DROP INDEX "requests_stored_answers";
ALTER TABLE "requests" DROP COLUMN "answer";
DROP INDEX "requests_live_idempotency_key";
DROP INDEX "requests_released";
DROP INDEX "requests_reserved";
DROP INDEX "requests_unsettled";
DROP INDEX "requests_batched";
CREATE UNIQUE INDEX "requests_account_id_idempotency_key_released_key" ON "requests"("account_id", "idempotency_key", "released");

-- Checked for each request at each batch; a batch is stored in the transaction that puts requests into it, and nothing deletes one.
ALTER TABLE "requests" DROP CONSTRAINT "requests_batch_id_fkey";

-- Room in the page for the row's next state.
ALTER TABLE "requests" SET (fillfactor = 50);
ALTER TABLE "accounts" SET (fillfactor = 60);
ALTER TABLE "keys" SET (fillfactor = 60);

-- A charged request is itself the entry that takes from its account and gives to its lane; what is posted beside it is the rest:
-- a batch's split, and what was taken back. The books are the two together.
ALTER TABLE "entries" RENAME TO "postings";
ALTER TABLE "postings" RENAME CONSTRAINT "entries_pkey" TO "postings_pkey";
ALTER TABLE "postings" RENAME CONSTRAINT "entries_cause" TO "postings_cause";
ALTER SEQUENCE "entries_id_seq" RENAME TO "postings_id_seq";
ALTER INDEX "entries_of_request" RENAME TO "postings_of_request";
ALTER INDEX "entries_of_batch" RENAME TO "postings_of_batch";
-- Charges that were posted before: what a voided one was given back stands against its request from now on.
DELETE FROM "postings" p USING (
    SELECT DISTINCT ON (p."request_id", p."ledger_account") p."id" FROM "postings" p WHERE p."request_id" IS NOT NULL
    ORDER BY p."request_id", p."ledger_account", p."id"
  ) first WHERE p."id" = first."id";
CREATE VIEW "entries" AS
  SELECT q."request_id", NULL::text AS "batch_id", e."ledger_account", e."amount" FROM "requests" q CROSS JOIN LATERAL (VALUES
      ('account:' || q."account_id", -q."charged"), ('lane:' || q."model_id" || ':' || q."provider", q."charged")
    ) AS e("ledger_account", "amount") WHERE q."charged" > 0
  UNION ALL SELECT "request_id", "batch_id", "ledger_account", "amount" FROM "postings";

-- Nothing looks into these, so they are kept as the text that they came as; hex is too dense for compression to pay.
ALTER TABLE "batches" ALTER COLUMN "lanes" TYPE JSON, ALTER COLUMN "rows" TYPE JSON,
  ALTER COLUMN "leaves" TYPE JSON USING to_json("leaves"), ALTER COLUMN "leaves" SET NOT NULL;
ALTER TABLE "batches" ALTER COLUMN "rows" SET STORAGE EXTERNAL, ALTER COLUMN "leaves" SET STORAGE EXTERNAL, ALTER COLUMN "raw" SET STORAGE EXTERNAL;

DROP FUNCTION reserve_batch(text[], text[], text[], text[], text[], text[], text[], int[], numeric[], numeric[], numeric[], text[],
  request_state[], bigint[], numeric[], text[], text[]);
DROP FUNCTION commit_batch(text[], text[], text[], bigint[], text[], text[], numeric[], text[], text[], int[], bigint[], jsonb[], text[], text[]);
DROP FUNCTION accounts_with_limits(text[]);

-- Takes the accounts' locks in id order, keeps the vouchers that came along, and reserves what certainly fits: an item counts
-- all items of its account and key before it, whether they fit or not. Names what it has reserved; the rest changes nothing,
-- and is to be judged one by one (services/adapters/ledger/reserving.ts), which also finds the reason of a refusal.
CREATE FUNCTION reserve_batch(
  p_request text[], p_account text[], p_key text[], p_idempotency_key text[], p_body_hash text[], p_model text[], p_provider text[],
  p_purpose text[], p_units text[], p_unit_price text[], p_max text[], p_owner text[], p_state text[], p_now text[],
  p_ceiling text[], p_usage_head text[], p_signature text[]
) RETURNS SETOF text LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  PERFORM FROM accounts WHERE account_id = ANY(p_account) ORDER BY account_id FOR NO KEY UPDATE;

  IF array_length(array_remove(p_signature, NULL), 1) > 0 THEN
    INSERT INTO keys (account_id, key, ceiling, usage_head, signature)
    SELECT DISTINCT ON (v.account_id, v.key) v.account_id, v.key, v.ceiling::numeric, v.usage_head, v.signature
    FROM unnest(p_account, p_key, p_ceiling, p_usage_head, p_signature) AS v(account_id, key, ceiling, usage_head, signature)
    JOIN accounts a ON a.account_id = v.account_id
    WHERE v.signature IS NOT NULL ORDER BY v.account_id, v.key, v.ceiling::numeric DESC
    ON CONFLICT (account_id, key) DO UPDATE
      SET ceiling = excluded.ceiling, usage_head = excluded.usage_head, signature = excluded.signature
      WHERE keys.ceiling < excluded.ceiling;
  END IF;

  -- A statement of its own: it sees what was committed while this one waited for the locks.
  RETURN QUERY
  WITH item AS MATERIALIZED (
    SELECT i.*, m.max, sum(m.max) OVER (PARTITION BY i.account_id ORDER BY i.place) AS of_account,
      sum(m.max) OVER (PARTITION BY i.account_id, i.key ORDER BY i.place) AS of_key
    FROM unnest(p_request, p_account, p_key, p_idempotency_key, p_body_hash, p_model, p_provider, p_purpose, p_units, p_unit_price,
      p_max, p_owner, p_state, p_now) WITH ORDINALITY
      AS i(request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price,
        max_text, owner, state, now, place)
    CROSS JOIN LATERAL (SELECT i.max_text::numeric AS max) m
  ), reserved AS MATERIALIZED (
    SELECT r.account_id, r.key, sum(r.max) AS of_key, sum(sum(r.max)) OVER (PARTITION BY r.account_id) AS of_account
    FROM reservations r WHERE r.account_id = ANY(p_account) GROUP BY r.account_id, r.key
  ), fitting AS MATERIALIZED (
    INSERT INTO requests (request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price, max,
      owner, reserved_at, state)
    SELECT i.request_id, i.account_id, i.key, i.idempotency_key, i.body_hash, i.model_id, i.provider, i.purpose::int, i.units::numeric,
      i.unit_price::numeric, i.max, i.owner, i.now::bigint, i.state::request_state
    FROM item i
    JOIN accounts a ON a.account_id = i.account_id
    JOIN keys k ON k.account_id = i.account_id AND k.key = i.key
    CROSS JOIN LATERAL (
      SELECT k.key = a.payer AS own, coalesce(max(r.of_key) FILTER (WHERE r.key = i.key), 0) AS key_reserved,
        coalesce(max(r.of_account), 0) AS account_reserved
      FROM reserved r WHERE r.account_id = i.account_id
    ) r
    WHERE NOT a.limited AND (a.chain_deposit > 0 OR a.chain_charged > 0)
      AND k.chain_revoked_at = 0 AND (k.chain_not_after IS NULL OR k.chain_not_after > i.now::bigint)
      AND (r.own OR k.chain_cap IS NOT NULL)
      AND i.of_account <= a.chain_deposit - a.chain_thawing - greatest(a.charged, a.chain_charged) - r.account_reserved
      AND i.of_key <= CASE WHEN r.own THEN k.ceiling ELSE least(k.ceiling, k.chain_cap) END
        - greatest(k.spent, CASE WHEN r.own THEN a.chain_own_spent ELSE k.chain_spent END) - r.key_reserved
      AND NOT EXISTS (SELECT FROM requests e
        WHERE e.account_id = i.account_id AND e.idempotency_key = i.idempotency_key AND e.released <> '')
    ORDER BY i.place
    ON CONFLICT DO NOTHING
    RETURNING requests.request_id, requests.account_id, requests.key, requests.max, requests.owner
  )
  INSERT INTO reservations AS r (account_id, request_id, key, max, owner)
  SELECT f.account_id, f.request_id, f.key, f.max, f.owner FROM fitting f RETURNING r.request_id;
END $$;

-- Charges delivered requests, each with its place in its account's chain of receipts, which the gateway has computed from the
-- head that it knew. An account whose head has moved since, or of whose requests one is not open any more, is left out whole.
-- Names what it has committed.
CREATE FUNCTION commit_batch(
  p_request text[], p_account text[], p_key text[], p_sequence text[], p_previous_head text[], p_head text[], p_charged text[],
  p_provider text[], p_model text[], p_purpose text[], p_served_at text[], p_receipt text[], p_signature text[], p_answer bytea[]
) RETURNS SETOF text LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  taken text[];
  charged_rows int;
BEGIN
  PERFORM FROM accounts WHERE account_id = ANY(p_account) ORDER BY account_id FOR NO KEY UPDATE;

  SELECT array_agg(f.account_id) INTO taken FROM (
    SELECT i.account_id
    FROM unnest(p_request, p_account, p_key, p_sequence::bigint[], p_previous_head, p_charged::numeric[], p_model, p_purpose::int[])
      AS i(request_id, account_id, key, sequence, previous_head, charged, model_id, purpose)
    JOIN accounts a ON a.account_id = i.account_id AND NOT a.limited
    LEFT JOIN keys k ON k.account_id = i.account_id AND k.key = i.key
    LEFT JOIN requests q ON q.request_id = i.request_id AND q.account_id = i.account_id AND q.key = i.key
      AND q.state IN ('RESERVED', 'DISPATCHED') AND k.key IS NOT NULL AND i.charged BETWEEN 0 AND q.max
      AND q.model_id = i.model_id AND q.purpose = i.purpose
    GROUP BY i.account_id
    HAVING count(*) = count(q.request_id) AND bool_or(i.sequence = a.sequence + 1 AND i.previous_head = a.head)
      AND min(i.sequence) = max(a.sequence) + 1
  ) f;
  IF taken IS NULL THEN RETURN; END IF;

  WITH item AS MATERIALIZED (
    SELECT i.* FROM unnest(p_request, p_account, p_key, p_sequence::bigint[], p_previous_head, p_head, p_charged::numeric[], p_provider,
        p_model, p_purpose::int[], p_served_at::bigint[], p_receipt, p_signature, p_answer)
      AS i(request_id, account_id, key, sequence, previous_head, head, charged, provider, model_id, purpose, served_at, receipt,
        signature, answer)
    WHERE i.account_id = ANY(taken)
  ), charge AS (
    UPDATE requests q SET state = 'COMMITTED', charged = i.charged, provider = i.provider, reason = NULL
    FROM item i WHERE q.request_id = i.request_id AND q.state IN ('RESERVED', 'DISPATCHED') RETURNING q.request_id, q.reserved_at, i.answer
  ), ended AS (
    DELETE FROM reservations r USING item i WHERE r.account_id = i.account_id AND r.request_id = i.request_id
  ), owed AS (
    INSERT INTO unsettled (request_id, account_id, key, sequence, head, model_id, provider, purpose, charged, served_at)
    SELECT i.request_id, i.account_id, i.key, i.sequence, i.head, i.model_id, i.provider, i.purpose, i.charged, i.served_at FROM item i
  ), answer AS (
    INSERT INTO answers (request_id, reserved_at, answer)
    SELECT c.request_id, c.reserved_at, c.answer FROM charge c WHERE c.answer IS NOT NULL
  ), receipt AS (
    INSERT INTO receipts (request_id, account_id, sequence, previous_head, head, served_at, receipt, provider_signature)
    SELECT i.request_id, i.account_id, i.sequence, i.previous_head, i.head, i.served_at, i.receipt::jsonb, i.signature FROM item i
  ), spending AS (
    UPDATE keys k SET spent = greatest(k.spent, k.chain_spent, CASE WHEN k.key = a.payer THEN a.chain_own_spent ELSE 0 END) + t.charged
    FROM (SELECT i.account_id, i.key, sum(i.charged) AS charged FROM item i GROUP BY i.account_id, i.key) t
    JOIN accounts a ON a.account_id = t.account_id
    WHERE k.account_id = t.account_id AND k.key = t.key
  ), total AS (
    UPDATE accounts a SET charged = greatest(a.charged, a.chain_charged) + t.charged, sequence = t.sequence, head = t.head
    FROM (SELECT i.account_id, sum(i.charged) AS charged, max(i.sequence) AS sequence,
        (array_agg(i.head ORDER BY i.sequence DESC))[1] AS head FROM item i GROUP BY i.account_id) t
    WHERE a.account_id = t.account_id
  )
  SELECT count(*) INTO charged_rows FROM charge;
  IF charged_rows <> (SELECT count(*) FROM unnest(p_account) AS i(account_id) WHERE i.account_id = ANY(taken)) THEN
    RAISE EXCEPTION 'a request was ended while it was committed';
  END IF;
  RETURN QUERY SELECT i.request_id FROM unnest(p_request, p_account) AS i(request_id, account_id) WHERE i.account_id = ANY(taken);
END $$;

-- Ends requests without a charge, under their accounts' locks, so that none ends twice. What was delivered in part is not released.
CREATE OR REPLACE FUNCTION release_requests(p_request text[], p_reason text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  released_rows int;
BEGIN
  PERFORM FROM accounts WHERE account_id IN (SELECT account_id FROM requests WHERE request_id = ANY(p_request))
    ORDER BY account_id FOR NO KEY UPDATE;
  WITH ended AS (
    UPDATE requests SET state = 'RELEASED', released = request_id, reason = p_reason
    WHERE request_id = ANY(p_request) AND state IN ('RESERVED', 'DISPATCHED')
      AND NOT EXISTS (SELECT FROM stream_progress p WHERE p.request_id = requests.request_id) RETURNING account_id, request_id
  ), freed AS (
    DELETE FROM reservations r USING ended e WHERE r.account_id = e.account_id AND r.request_id = e.request_id
  )
  SELECT count(*) INTO released_rows FROM ended;
  RETURN released_rows;
END $$;
