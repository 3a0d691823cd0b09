-- Many requests in one call and one commit: what the gateway does for each request, it does for all that are waiting.

-- A request is written three times or more in its life, each time into every index. A released request has an index of its
-- own; what is in no batch needs no place in the batches' index; and what is running is found among the reserved.
DROP INDEX "requests_account_id_idempotency_key_idx";
CREATE INDEX "requests_released" ON "requests"("account_id", "idempotency_key") WHERE "state" = 'RELEASED';
DROP INDEX "requests_batch_id_idx";
CREATE INDEX "requests_batched" ON "requests"("batch_id") WHERE "batch_id" IS NOT NULL;
DROP INDEX "requests_leftover";
DROP INDEX "entries_request_id_idx";
CREATE INDEX "entries_of_request" ON "entries"("request_id") WHERE "request_id" IS NOT NULL;
DROP INDEX "entries_batch_id_idx";
CREATE INDEX "entries_of_batch" ON "entries"("batch_id") WHERE "batch_id" IS NOT NULL;

-- Whatever writes into these two has read the row that they refer to under its account's lock, in the same transaction, and
-- nothing deletes such rows.
ALTER TABLE "requests" DROP CONSTRAINT "requests_account_id_fkey";
ALTER TABLE "receipts" DROP CONSTRAINT "receipts_request_id_fkey";

-- Answers are most of a request's bytes: they stand beside the row, which is written anew with each state, and as they are,
-- since compressing each would cost more than it saves.
ALTER TABLE "requests" ALTER COLUMN "answer" SET STORAGE EXTERNAL;
ALTER TABLE "requests" SET (toast_tuple_target = 1024);

-- Accounts with limits of their own are judged one request at a time. There are no such limits here yet.
CREATE FUNCTION accounts_with_limits(ids text[]) RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT NULL::text WHERE false $$;

-- Takes the accounts' locks in id order, keeps the vouchers that came along, and reserves what certainly fits: an item counts
-- all items of its account and key before it, whether they fit or not. Names what it has reserved; the rest changes nothing,
-- and is to be judged one by one (services/adapters/ledger/reserving.ts), which also finds the reason of a refusal.
CREATE FUNCTION reserve_batch(
  p_request text[], p_account text[], p_key text[], p_idempotency_key text[], p_body_hash text[], p_model text[], p_provider text[],
  p_purpose int[], p_units numeric[], p_unit_price numeric[], p_max numeric[], p_owner text[], p_state request_state[], p_now bigint[],
  p_ceiling numeric[], p_usage_head text[], p_signature text[]
) RETURNS SETOF text LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  PERFORM FROM accounts WHERE account_id = ANY(p_account) ORDER BY account_id FOR NO KEY UPDATE;

  IF array_length(array_remove(p_signature, NULL), 1) > 0 THEN
    INSERT INTO keys (account_id, key, ceiling, usage_head, signature)
    SELECT DISTINCT ON (v.account_id, v.key) v.account_id, v.key, v.ceiling, v.usage_head, v.signature
    FROM unnest(p_account, p_key, p_ceiling, p_usage_head, p_signature) AS v(account_id, key, ceiling, usage_head, signature)
    JOIN accounts a ON a.account_id = v.account_id
    WHERE v.signature IS NOT NULL ORDER BY v.account_id, v.key, v.ceiling DESC
    ON CONFLICT (account_id, key) DO UPDATE
      SET ceiling = excluded.ceiling, usage_head = excluded.usage_head, signature = excluded.signature
      WHERE keys.ceiling < excluded.ceiling;
  END IF;

  -- A statement of its own: it sees what was committed while this one waited for the locks.
  RETURN QUERY
  WITH item AS MATERIALIZED (
    SELECT i.*, sum(i.max) OVER (PARTITION BY i.account_id ORDER BY i.place) AS of_account,
      sum(i.max) OVER (PARTITION BY i.account_id, i.key ORDER BY i.place) AS of_key
    FROM unnest(p_request, p_account, p_key, p_idempotency_key, p_body_hash, p_model, p_provider, p_purpose, p_units, p_unit_price,
      p_max, p_owner, p_state, p_now) WITH ORDINALITY
      AS i(request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price,
        max, owner, state, now, place)
  ), reserved AS MATERIALIZED (
    SELECT q.account_id, q.key, sum(q.max) AS of_key, sum(sum(q.max)) OVER (PARTITION BY q.account_id) AS of_account
    FROM requests q WHERE q.account_id = ANY(p_account) AND q.state IN ('RESERVED', 'DISPATCHED') GROUP BY q.account_id, q.key
  )
  INSERT INTO requests (request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price, max,
    owner, reserved_at, state)
  SELECT i.request_id, i.account_id, i.key, i.idempotency_key, i.body_hash, i.model_id, i.provider, i.purpose, i.units, i.unit_price,
    i.max, i.owner, i.now, i.state
  FROM item i
  JOIN accounts a ON a.account_id = i.account_id
  JOIN keys k ON k.account_id = i.account_id AND k.key = i.key
  CROSS JOIN LATERAL (
    SELECT k.key = a.payer AS own, coalesce(max(r.of_key) FILTER (WHERE r.key = i.key), 0) AS key_reserved,
      coalesce(max(r.of_account), 0) AS account_reserved
    FROM reserved r WHERE r.account_id = i.account_id
  ) r
  WHERE (a.chain_deposit > 0 OR a.chain_charged > 0)
    AND k.chain_revoked_at = 0 AND (k.chain_not_after IS NULL OR k.chain_not_after > i.now)
    AND (r.own OR k.chain_cap IS NOT NULL)
    AND i.of_account <= a.chain_deposit - a.chain_thawing - greatest(a.charged, a.chain_charged) - r.account_reserved
    AND i.of_key <= CASE WHEN r.own THEN k.ceiling ELSE least(k.ceiling, k.chain_cap) END
      - greatest(k.spent, CASE WHEN r.own THEN a.chain_own_spent ELSE k.chain_spent END) - r.key_reserved
    AND NOT EXISTS (SELECT FROM requests e
      WHERE e.account_id = i.account_id AND e.idempotency_key = i.idempotency_key AND e.state = 'RELEASED')
    AND NOT EXISTS (SELECT FROM accounts_with_limits(p_account) AS l(account_id) WHERE l.account_id = i.account_id)
  ORDER BY i.place
  ON CONFLICT DO NOTHING
  RETURNING requests.request_id;
END $$;

-- Charges delivered requests, each with its place in its account's chain of receipts, which the gateway has computed from the
-- head that it knew. An account whose head has moved since, or of whose requests one is not open any more, is left out whole.
-- Names what it has committed. (`state < 'COMMITTED'` means RESERVED or DISPATCHED too, but keeps the planner from looking through
-- all that is running where it has the request's id.)
CREATE FUNCTION commit_batch(
  p_request text[], p_account text[], p_key text[], p_sequence bigint[], p_previous_head text[], p_head text[], p_charged numeric[],
  p_provider text[], p_model text[], p_purpose int[], p_served_at bigint[], p_receipt jsonb[], p_signature text[], p_answer text[]
) RETURNS SETOF text LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  taken text[];
  charged_rows int;
BEGIN
  PERFORM FROM accounts WHERE account_id = ANY(p_account) ORDER BY account_id FOR NO KEY UPDATE;

  SELECT array_agg(f.account_id) INTO taken FROM (
    SELECT i.account_id
    FROM unnest(p_request, p_account, p_key, p_sequence, p_previous_head, p_charged, p_model, p_purpose)
      AS i(request_id, account_id, key, sequence, previous_head, charged, model_id, purpose)
    JOIN accounts a ON a.account_id = i.account_id
    LEFT JOIN keys k ON k.account_id = i.account_id AND k.key = i.key
    LEFT JOIN requests q ON q.request_id = i.request_id AND q.account_id = i.account_id AND q.key = i.key
      AND q.state < 'COMMITTED' AND k.key IS NOT NULL AND i.charged BETWEEN 0 AND q.max
      AND q.model_id = i.model_id AND q.purpose = i.purpose
    WHERE NOT EXISTS (SELECT FROM accounts_with_limits(p_account) AS l(account_id) WHERE l.account_id = i.account_id)
    GROUP BY i.account_id
    HAVING count(*) = count(q.request_id) AND bool_or(i.sequence = a.sequence + 1 AND i.previous_head = a.head)
      AND min(i.sequence) = max(a.sequence) + 1
  ) f;
  IF taken IS NULL THEN RETURN; END IF;

  WITH item AS MATERIALIZED (
    SELECT i.* FROM unnest(p_request, p_account, p_key, p_sequence, p_previous_head, p_head, p_charged, p_provider, p_model, p_served_at,
        p_receipt, p_signature, p_answer)
      AS i(request_id, account_id, key, sequence, previous_head, head, charged, provider, model_id, served_at, receipt, signature, answer)
    WHERE i.account_id = ANY(taken)
  ), charge AS (
    UPDATE requests q SET state = 'COMMITTED', charged = i.charged, provider = i.provider, answer = decode(i.answer, 'hex'), reason = NULL
    FROM item i WHERE q.request_id = i.request_id AND q.state < 'COMMITTED' RETURNING q.request_id
  ), receipt AS (
    INSERT INTO receipts (request_id, account_id, sequence, previous_head, head, served_at, receipt, provider_signature)
    SELECT i.request_id, i.account_id, i.sequence, i.previous_head, i.head, i.served_at, i.receipt, i.signature FROM item i
  ), spending AS (
    UPDATE keys k SET spent = greatest(k.spent, k.chain_spent, CASE WHEN k.key = a.payer THEN a.chain_own_spent ELSE 0 END) + t.charged
    FROM (SELECT i.account_id, i.key, sum(i.charged) AS charged FROM item i GROUP BY i.account_id, i.key) t
    JOIN accounts a ON a.account_id = t.account_id
    WHERE k.account_id = t.account_id AND k.key = t.key
  ), entry AS (
    INSERT INTO entries (request_id, ledger_account, amount)
    SELECT i.request_id, e.ledger_account, e.amount FROM item i CROSS JOIN LATERAL (VALUES
      ('account:' || i.account_id, -i.charged), ('lane:' || i.model_id || ':' || i.provider, i.charged)) AS e(ledger_account, amount)
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

-- Ends requests without a charge, under their accounts' locks, so that none ends twice.
CREATE FUNCTION release_requests(p_request text[], p_reason text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  released int;
BEGIN
  PERFORM FROM accounts WHERE account_id IN (SELECT account_id FROM requests WHERE request_id = ANY(p_request))
    ORDER BY account_id FOR NO KEY UPDATE;
  UPDATE requests SET state = 'RELEASED', reason = p_reason
    WHERE request_id = ANY(p_request) AND state IN ('RESERVED', 'DISPATCHED');
  GET DIAGNOSTICS released = ROW_COUNT;
  RETURN released;
END $$;
