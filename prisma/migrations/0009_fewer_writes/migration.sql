-- What a request costs the database is the rows and index entries that it writes. A request that its client can't repeat has its own
-- id for an idempotency key, and the primary key keeps that one unique already: only the others need an index of their keys.
DROP INDEX "requests_account_id_idempotency_key_released_key";
CREATE UNIQUE INDEX "requests_repeatable" ON "requests"("account_id", "idempotency_key", "released") WHERE "idempotency_key" <> "request_id";

-- Read back whole, never looked into by an index: kept as the text that it came as.
ALTER TABLE "receipts" ALTER COLUMN "receipt" TYPE JSON;

-- A settler asks every moment what waits the longest and whether a thaw reaches into it: neither takes a look at all that waits.
CREATE INDEX "unsettled_served_at_idx" ON "unsettled"("served_at");
CREATE INDEX "accounts_thawing" ON "accounts"("collector") WHERE "chain_thawing" > 0;

DROP FUNCTION reserve_batch(text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[],
  text[], text[], text[]);
DROP FUNCTION commit_batch(text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], bytea[]);

-- Takes the accounts' locks in id order, keeps the vouchers that came along, and reserves what certainly fits: an item counts
-- all items of its account and key before it, whether they fit or not. Names what it has reserved, or NULL when that is all; the rest
-- changes nothing, and is to be judged one by one (services/adapters/ledger/reserving.ts), which also finds the reason of a refusal.
CREATE FUNCTION reserve_batch(
  p_request text[], p_account text[], p_key text[], p_idempotency_key text[], p_body_hash text[], p_model text[], p_provider text[],
  p_purpose text[], p_units text[], p_unit_price text[], p_max text[], p_owner text[], p_state text[], p_now text[],
  p_ceiling text[], p_usage_head text[], p_signature text[]
) RETURNS text[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  asked record;
  fitting int[] := '{}';
  reserved text[];
  last_account text := '';
  last_key text := '';
  of_account numeric;
  of_key numeric;
BEGIN
  PERFORM FROM accounts WHERE account_id = ANY(p_account) ORDER BY account_id FOR NO KEY UPDATE;

  IF cardinality(array_remove(p_signature, NULL)) > 0 THEN
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
  FOR asked IN
    SELECT u.place::int, u.account_id, u.key, u.max::numeric AS max,
      a.chain_deposit - a.chain_thawing - greatest(a.charged, a.chain_charged) - r.of_account AS account_room,
      CASE WHEN k.key = a.payer THEN k.ceiling - greatest(k.spent, a.chain_own_spent)
        ELSE least(k.ceiling, k.chain_cap) - greatest(k.spent, k.chain_spent) END - r.of_key AS key_room
    FROM unnest(p_account, p_key, p_max, p_now) WITH ORDINALITY AS u(account_id, key, max, now, place)
    JOIN accounts a ON a.account_id = u.account_id
    JOIN keys k ON k.account_id = u.account_id AND k.key = u.key
    CROSS JOIN LATERAL (
      SELECT coalesce(sum(r.max), 0) AS of_account, coalesce(sum(r.max) FILTER (WHERE r.key = u.key), 0) AS of_key
      FROM reservations r WHERE r.account_id = u.account_id
    ) r
    WHERE NOT a.limited AND (a.chain_deposit > 0 OR a.chain_charged > 0)
      AND k.chain_revoked_at = 0 AND (k.chain_not_after IS NULL OR k.chain_not_after > u.now::bigint)
      AND (k.key = a.payer OR k.chain_cap IS NOT NULL)
    ORDER BY u.account_id, u.key, u.place
  LOOP
    IF asked.account_id <> last_account THEN
      of_account := 0;
      of_key := 0;
    ELSIF asked.key <> last_key THEN
      of_key := 0;
    END IF;
    last_account := asked.account_id;
    last_key := asked.key;
    of_account := of_account + asked.max;
    of_key := of_key + asked.max;
    IF of_account <= asked.account_room AND of_key <= asked.key_room THEN fitting := fitting || asked.place; END IF;
  END LOOP;

  WITH requested AS (
    INSERT INTO requests AS q (request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price, max,
      owner, reserved_at, state)
    SELECT i.request_id, i.account_id, i.key, i.idempotency_key, i.body_hash, i.model_id, i.provider, i.purpose::int, i.units::numeric,
      i.unit_price::numeric, i.max::numeric, i.owner, i.now::bigint, i.state::request_state
    FROM unnest(p_request, p_account, p_key, p_idempotency_key, p_body_hash, p_model, p_provider, p_purpose, p_units, p_unit_price,
      p_max, p_owner, p_state, p_now) WITH ORDINALITY
      AS i(request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price,
        max, owner, state, now, place)
    WHERE i.place = ANY(fitting)
      AND (i.idempotency_key = i.request_id OR NOT EXISTS (SELECT FROM requests e WHERE e.account_id = i.account_id
        AND e.idempotency_key = i.idempotency_key AND e.idempotency_key <> e.request_id AND e.released <> ''))
    ON CONFLICT DO NOTHING
    RETURNING q.request_id, q.account_id, q.key, q.max, q.owner
  ), made AS (
    INSERT INTO reservations AS r (account_id, request_id, key, max, owner)
    SELECT q.account_id, q.request_id, q.key, q.max, q.owner FROM requested q RETURNING r.request_id
  )
  SELECT coalesce(array_agg(m.request_id), '{}') INTO reserved FROM made m;
  RETURN CASE WHEN cardinality(reserved) < cardinality(p_request) THEN reserved END;
END $$;

-- Charges delivered requests, each with its place in its account's chain of receipts, which the gateway has computed from the
-- head that it knew; p_total… hold, once for each account, where its chain is to stand before and after, p_spending… once for each
-- key what it spends. Moving an account's head takes its lock and is the check that nobody else has moved it. An account whose head is
-- another is left out whole; a request that is not open any more, or not as it was reserved, undoes all. Names the accounts charged.
CREATE FUNCTION commit_batch(
  p_request text[], p_account text[], p_key text[], p_sequence text[], p_previous_head text[], p_head text[], p_charged text[],
  p_provider text[], p_model text[], p_purpose text[], p_served_at text[], p_receipt text[], p_signature text[], p_answer bytea[],
  p_total_account text[], p_total_charged text[], p_total_before text[], p_total_sequence text[], p_total_previous_head text[],
  p_total_head text[], p_spending_account text[], p_spending_key text[], p_spending_charged text[]
) RETURNS text[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  taken text[];
  every boolean;
  charged_rows int;
  known_keys int;
BEGIN
  WITH total AS (
    UPDATE accounts a SET charged = greatest(a.charged, a.chain_charged) + t.charged::numeric, sequence = t.sequence::bigint, head = t.head
    FROM unnest(p_total_account, p_total_charged, p_total_before, p_total_sequence, p_total_previous_head, p_total_head)
      AS t(account_id, charged, before, sequence, previous_head, head)
    WHERE a.account_id = t.account_id AND a.sequence = t.before::bigint AND a.head = t.previous_head AND NOT a.limited
    RETURNING a.account_id
  )
  SELECT array_agg(account_id) INTO taken FROM total;
  IF taken IS NULL THEN RETURN '{}'; END IF;
  every := cardinality(taken) = cardinality(p_total_account);

  WITH charge AS (
    UPDATE requests q SET state = 'COMMITTED', charged = i.charged::numeric, provider = i.provider, reason = NULL
    FROM unnest(p_request, p_account, p_key, p_charged, p_provider, p_model, p_purpose)
      AS i(request_id, account_id, key, charged, provider, model_id, purpose)
    WHERE (every OR i.account_id = ANY(taken)) AND q.request_id = i.request_id AND q.account_id = i.account_id AND q.key = i.key
      AND q.state IN ('RESERVED', 'DISPATCHED') AND i.charged::numeric BETWEEN 0 AND q.max
      AND q.model_id = i.model_id AND q.purpose = i.purpose::int
    RETURNING q.request_id
  )
  SELECT count(*) INTO charged_rows FROM charge;
  IF charged_rows <> (SELECT count(*) FROM unnest(p_account) AS i(account_id) WHERE every OR i.account_id = ANY(taken)) THEN
    RAISE EXCEPTION 'a request is not open, or not for what was delivered';
  END IF;

  UPDATE keys k SET spent = greatest(k.spent, k.chain_spent, CASE WHEN k.key = a.payer THEN a.chain_own_spent ELSE 0 END) + t.charged::numeric
  FROM unnest(p_spending_account, p_spending_key, p_spending_charged) AS t(account_id, key, charged)
  JOIN accounts a ON a.account_id = t.account_id
  WHERE (every OR t.account_id = ANY(taken)) AND k.account_id = t.account_id AND k.key = t.key;
  GET DIAGNOSTICS known_keys = ROW_COUNT;
  IF known_keys <> (SELECT count(*) FROM unnest(p_spending_account) AS t(account_id) WHERE every OR t.account_id = ANY(taken)) THEN
    RAISE EXCEPTION 'a key is not known';
  END IF;

  DELETE FROM reservations r USING unnest(p_request, p_account) AS i(request_id, account_id)
  WHERE (every OR i.account_id = ANY(taken)) AND r.account_id = i.account_id AND r.request_id = i.request_id;

  INSERT INTO unsettled (request_id, account_id, key, sequence, head, model_id, provider, purpose, charged, served_at)
  SELECT i.request_id, i.account_id, i.key, i.sequence::bigint, i.head, i.model_id, i.provider, i.purpose::int, i.charged::numeric,
    i.served_at::bigint
  FROM unnest(p_request, p_account, p_key, p_sequence, p_head, p_model, p_provider, p_purpose, p_charged, p_served_at)
    AS i(request_id, account_id, key, sequence, head, model_id, provider, purpose, charged, served_at)
  WHERE every OR i.account_id = ANY(taken);

  INSERT INTO receipts (request_id, account_id, sequence, previous_head, head, served_at, receipt, provider_signature)
  SELECT i.request_id, i.account_id, i.sequence::bigint, i.previous_head, i.head, i.served_at::bigint, i.receipt::json, i.signature
  FROM unnest(p_request, p_account, p_sequence, p_previous_head, p_head, p_served_at, p_receipt, p_signature)
    AS i(request_id, account_id, sequence, previous_head, head, served_at, receipt, signature)
  WHERE every OR i.account_id = ANY(taken);

  IF cardinality(array_remove(p_answer, NULL)) > 0 THEN
    INSERT INTO answers (request_id, reserved_at, answer)
    SELECT i.request_id, q.reserved_at, i.answer FROM unnest(p_request, p_account, p_answer) AS i(request_id, account_id, answer)
    JOIN requests q ON q.request_id = i.request_id
    WHERE i.answer IS NOT NULL AND (every OR i.account_id = ANY(taken));
  END IF;
  RETURN taken;
END $$;
