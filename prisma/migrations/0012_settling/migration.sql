-- A request in an open batch is COMMITTED, with its batch in its row of `unsettled` alone: so a request is written when it is charged
-- and once more when the chain has charged it, and not in between.
UPDATE "requests" SET "state" = 'COMMITTED', "batch_id" = NULL WHERE "state" = 'BATCHED';
ALTER TABLE "requests" DROP CONSTRAINT "requests_batch";
ALTER TABLE "requests" ADD CONSTRAINT "requests_batch" CHECK ("state" <> 'BATCHED' AND ("batch_id" IS NOT NULL) = ("state" = 'FINAL'));

-- The next block of the mirrored chain, alone or before its events. Returns what the cursor is where the block does not belong after it,
-- and changes nothing then. p_after: the hash of the block that must be the cursor, '' for none, NULL for whichever it is. A lazy
-- one does not wait for the disk: it says nothing that the chain would not say again.
CREATE FUNCTION advance_mirror(
  p_lock bigint, p_number int, p_hash text, p_parent_hash text, p_timestamp bigint, p_after text, p_kept int, p_lazy boolean
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  last record;
BEGIN
  PERFORM pg_advisory_xact_lock(p_lock);
  SELECT number, hash INTO last FROM blocks ORDER BY number DESC LIMIT 1;
  IF p_number < last.number OR (p_number = last.number AND p_hash <> last.hash) OR p_after <> coalesce(last.hash, '') THEN
    RETURN coalesce(last.number::text, 'none');
  END IF;
  IF p_lazy THEN PERFORM set_config('synchronous_commit', 'off', true); END IF;
  INSERT INTO blocks (number, hash, parent_hash, timestamp) VALUES (p_number, p_hash, p_parent_hash, p_timestamp)
  ON CONFLICT (number) DO UPDATE SET timestamp = excluded.timestamp WHERE blocks.timestamp <> excluded.timestamp;
  IF p_number / 64 > last.number / 64 THEN DELETE FROM blocks WHERE number < p_number - p_kept; END IF;
  RETURN NULL;
END $$;
