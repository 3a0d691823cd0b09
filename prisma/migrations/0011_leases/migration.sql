-- Room of an account's key that one gateway process holds for its next requests: reserved as a whole, durable before the first of
-- them leaves, so that each of them is written once, when it is charged. `run` is one open ledger: a process that was taken for
-- dead, and whose leases are gone, can't charge on them.
CREATE TABLE "leases" (
  "account_id" TEXT NOT NULL,
  "key" TEXT NOT NULL,
  "run" TEXT NOT NULL,
  "owner" TEXT NOT NULL,
  "max" DECIMAL(39,0) NOT NULL,
  "taken_at" BIGINT NOT NULL,
  CONSTRAINT "leases_pkey" PRIMARY KEY ("account_id", "key", "run")
) WITH (fillfactor = 50);

-- Everything that takes an account's room, by key.
CREATE VIEW "reserved" AS
  SELECT "account_id", "key", "max" FROM "reservations" UNION ALL SELECT "account_id", "key", "max" FROM "leases";

-- A lease is for what was known when it was taken. Who holds one is told at once when less may be sold: money that thaws, a key
-- that ends, a limit that is set.
CREATE FUNCTION recall_leases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM leases WHERE account_id = NEW.account_id) THEN PERFORM pg_notify('granary_leases', NEW.account_id); END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER "accounts_recall" AFTER UPDATE OF "chain_deposit", "chain_thawing", "limited" ON "accounts" FOR EACH ROW
  WHEN (NEW.chain_deposit - NEW.chain_thawing < OLD.chain_deposit - OLD.chain_thawing OR NEW.limited <> OLD.limited)
  EXECUTE FUNCTION recall_leases();
CREATE TRIGGER "keys_recall" AFTER UPDATE OF "chain_cap", "chain_not_after", "chain_revoked_at" ON "keys" FOR EACH ROW
  WHEN (NEW.chain_cap IS DISTINCT FROM OLD.chain_cap OR NEW.chain_not_after IS DISTINCT FROM OLD.chain_not_after
    OR NEW.chain_revoked_at <> OLD.chain_revoked_at)
  EXECUTE FUNCTION recall_leases();

DROP FUNCTION reserve_batch(text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[],
  text[], text[], text[]);
DROP FUNCTION commit_batch(text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], bytea[],
  text[], text[], text[], text[], text[], text[], text[], text[], text[]);

-- Sets the leases of a process, each account and key once: at least `needed`, at most `wanted`, and beyond what is needed whole
-- `step`s of never more than a quarter of what is left, for others sell of it too. Takes the accounts' locks in id order and keeps the vouchers that
-- came along. A ceiling need only cover what is needed, for it rises by a signature; who holds the lease minds it. Returns three values
-- for each, first all leases, then all sums of what counts below the key's ceiling besides the lease, then all ceilings. NULL in the
-- place of those that have too little room, or rules that only one by one can be judged by (services/adapters/ledger/reserving.ts):
-- their leases stay as they were.
CREATE FUNCTION lease_batch(
  p_run text, p_now text, p_account text[], p_key text[], p_owner text[], p_needed text[], p_wanted text[], p_step text[],
  p_ceiling text[], p_usage_head text[], p_signature text[]
) RETURNS text[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  asked record;
  places int := cardinality(p_account);
  granted text[] := array_fill(NULL::text, ARRAY[3 * places]);
  last_account text := '';
  taken numeric;
  room numeric;
  lease numeric;
BEGIN
  PERFORM FROM accounts WHERE account_id = ANY(p_account) ORDER BY account_id FOR NO KEY UPDATE;

  IF cardinality(array_remove(p_signature, NULL)) > 0 THEN
    INSERT INTO keys (account_id, key, ceiling, usage_head, signature)
    SELECT v.account_id, v.key, v.ceiling::numeric, v.usage_head, v.signature
    FROM unnest(p_account, p_key, p_ceiling, p_usage_head, p_signature) AS v(account_id, key, ceiling, usage_head, signature)
    JOIN accounts a ON a.account_id = v.account_id
    WHERE v.signature IS NOT NULL ORDER BY v.account_id, v.key
    ON CONFLICT (account_id, key) DO UPDATE
      SET ceiling = excluded.ceiling, usage_head = excluded.usage_head, signature = excluded.signature
      WHERE keys.ceiling < excluded.ceiling;
  END IF;

  -- A statement of its own: it sees what was committed while this one waited for the locks.
  FOR asked IN
    SELECT u.place::int, u.account_id, u.needed::numeric AS needed, u.wanted::numeric AS wanted, greatest(u.step::numeric, 1) AS step,
      coalesce(l.max, 0) AS held,
      a.chain_deposit - a.chain_thawing - greatest(a.charged, a.chain_charged) - r.of_account AS account_room,
      CASE WHEN k.key <> a.payer THEN k.chain_cap - greatest(k.spent, k.chain_spent) - r.of_key END AS cap_room,
      greatest(k.spent, CASE WHEN k.key = a.payer THEN a.chain_own_spent ELSE k.chain_spent END) + r.of_key - coalesce(l.max, 0) AS base,
      k.ceiling
    FROM unnest(p_account, p_key, p_needed, p_wanted, p_step) WITH ORDINALITY AS u(account_id, key, needed, wanted, step, place)
    JOIN accounts a ON a.account_id = u.account_id
    JOIN keys k ON k.account_id = u.account_id AND k.key = u.key
    LEFT JOIN leases l ON l.account_id = u.account_id AND l.key = u.key AND l.run = p_run
    CROSS JOIN LATERAL (
      SELECT coalesce(sum(r.max), 0) AS of_account, coalesce(sum(r.max) FILTER (WHERE r.key = u.key), 0) AS of_key
      FROM reserved r WHERE r.account_id = u.account_id
    ) r
    WHERE NOT a.limited AND NOT a.house AND (a.chain_deposit > 0 OR a.chain_charged > 0)
      AND k.chain_revoked_at = 0 AND (k.chain_not_after IS NULL OR k.chain_not_after > p_now::bigint)
      AND (k.key = a.payer OR k.chain_cap IS NOT NULL)
    ORDER BY u.account_id, u.place
  LOOP
    IF asked.account_id <> last_account THEN taken := 0; END IF;
    last_account := asked.account_id;
    room := least(asked.account_room - taken, asked.cap_room) + asked.held;
    IF room >= asked.needed AND asked.ceiling >= asked.base + asked.needed THEN
      lease := least(asked.wanted, asked.needed + asked.step * div(room - asked.needed, 4 * asked.step));
      granted[asked.place] := lease::text;
      granted[places + asked.place] := asked.base::text;
      granted[2 * places + asked.place] := asked.ceiling::text;
      taken := taken + lease - asked.held;
    END IF;
  END LOOP;

  INSERT INTO leases (account_id, key, run, owner, max, taken_at)
  SELECT g.account_id, g.key, p_run, g.owner, g.max::numeric, p_now::bigint
  FROM unnest(p_account, p_key, p_owner, granted[1:places]) AS g(account_id, key, owner, max) WHERE g.max IS NOT NULL
  ON CONFLICT (account_id, key, run) DO UPDATE SET owner = excluded.owner, max = excluded.max, taken_at = excluded.taken_at;
  RETURN granted;
END $$;

-- Charges requests that ran on leases of this process: their only row, each with its place in its account's chain of receipts, which
-- the gateway has computed from the head that it knew. p_total… hold, once for each account, where its chain is to stand before and
-- after, p_spending… once for each key what it spends and the voucher that came for it. Moving an account's head takes its lock and is the check that nobody else has
-- moved it: an account whose head is another is left out whole. A key without a lease of this run, or one that would pass its ceiling,
-- and an idempotency key that is taken, undo all. Names the accounts charged.
CREATE FUNCTION commit_leased(
  p_run text, p_request text[], p_account text[], p_key text[], p_idempotency_key text[], p_body_hash text[], p_model text[], p_provider text[],
  p_purpose text[], p_units text[], p_unit_price text[], p_max text[], p_owner text[], p_reserved_at text[], p_sequence text[], p_previous_head text[],
  p_head text[], p_charged text[], p_served_at text[], p_receipt text[], p_signature text[], p_answer bytea[],
  p_total_account text[], p_total_charged text[], p_total_before text[], p_total_sequence text[], p_total_previous_head text[],
  p_total_head text[], p_spending_account text[], p_spending_key text[], p_spending_charged text[], p_spending_ceiling text[], p_spending_usage_head text[],
  p_spending_signature text[]
) RETURNS text[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  taken text[];
  every boolean;
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

  UPDATE keys k
  SET spent = greatest(k.spent, k.chain_spent, CASE WHEN k.key = a.payer THEN a.chain_own_spent ELSE 0 END) + t.charged::numeric,
    ceiling = greatest(k.ceiling, t.ceiling::numeric),
    usage_head = CASE WHEN t.ceiling::numeric > k.ceiling THEN t.usage_head ELSE k.usage_head END,
    signature = CASE WHEN t.ceiling::numeric > k.ceiling THEN t.signature ELSE k.signature END
  FROM unnest(p_spending_account, p_spending_key, p_spending_charged, p_spending_ceiling, p_spending_usage_head, p_spending_signature)
    AS t(account_id, key, charged, ceiling, usage_head, signature)
  JOIN accounts a ON a.account_id = t.account_id
  WHERE (every OR t.account_id = ANY(taken)) AND k.account_id = t.account_id AND k.key = t.key
    -- As a value of its own it is looked up; joined, all leases of the run would be read.
    AND (SELECT true FROM leases l WHERE l.account_id = t.account_id AND l.key = t.key AND l.run = p_run)
    AND greatest(k.spent, k.chain_spent, CASE WHEN k.key = a.payer THEN a.chain_own_spent ELSE 0 END) + t.charged::numeric
      <= greatest(k.ceiling, t.ceiling::numeric);
  GET DIAGNOSTICS known_keys = ROW_COUNT;
  IF known_keys <> (SELECT count(*) FROM unnest(p_spending_account) AS t(account_id) WHERE every OR t.account_id = ANY(taken)) THEN
    RAISE EXCEPTION 'a key is not leased, or would pass its ceiling';
  END IF;

  WITH i AS MATERIALIZED (
    SELECT * FROM unnest(p_request, p_account, p_key, p_idempotency_key, p_body_hash, p_model, p_provider, p_purpose, p_units,
      p_unit_price, p_max, p_owner, p_reserved_at, p_sequence, p_previous_head, p_head, p_charged, p_served_at, p_receipt, p_signature, p_answer)
      AS i(request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units,
        unit_price, max, owner, reserved_at, sequence, previous_head, head, charged, served_at, receipt, signature, answer)
    WHERE every OR i.account_id = ANY(taken)
  ), requested AS (
    INSERT INTO requests (request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price, max,
      charged, owner, reserved_at, state)
    SELECT i.request_id, i.account_id, i.key, i.idempotency_key, i.body_hash, i.model_id, i.provider, i.purpose::int, i.units::numeric,
      i.unit_price::numeric, i.max::numeric, i.charged::numeric, i.owner, i.reserved_at::bigint, 'COMMITTED' FROM i
  ), owed AS (
    INSERT INTO unsettled (request_id, account_id, key, sequence, head, model_id, provider, purpose, charged, served_at)
    SELECT i.request_id, i.account_id, i.key, i.sequence::bigint, i.head, i.model_id, i.provider, i.purpose::int, i.charged::numeric,
      i.served_at::bigint FROM i
  ), receipt AS (
    INSERT INTO receipts (request_id, account_id, sequence, previous_head, head, served_at, receipt, provider_signature)
    SELECT i.request_id, i.account_id, i.sequence::bigint, i.previous_head, i.head, i.served_at::bigint, i.receipt::json, i.signature FROM i
  )
  INSERT INTO answers (request_id, reserved_at, answer)
  SELECT i.request_id, i.reserved_at::bigint, i.answer FROM i WHERE i.answer IS NOT NULL;
  RETURN taken;
END $$;

-- Sealed answers can't be compressed, and most are below a page: they stay in their rows, as they are.
ALTER TABLE "answers" ALTER COLUMN "answer" SET STORAGE EXTERNAL;
ALTER TABLE "answers" SET (toast_tuple_target = 8160);
