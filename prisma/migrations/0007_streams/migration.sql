-- What was delivered of requests whose answers come in steps, until they are committed.

-- CreateTable
CREATE TABLE "stream_progress" (
    "request_id" TEXT NOT NULL,
    "charged" DECIMAL(39,0) NOT NULL,
    "receipt" JSONB NOT NULL,
    "provider_signature" TEXT NOT NULL,

    CONSTRAINT "stream_progress_pkey" PRIMARY KEY ("request_id")
);


ALTER TABLE "stream_progress" ADD CONSTRAINT "stream_progress_amounts" CHECK ("charged" >= 0);

-- As before, and what was delivered in part is not released: it is committed with what its provider has signed.
CREATE OR REPLACE FUNCTION release_requests(p_request text[], p_reason text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  released int;
BEGIN
  PERFORM FROM accounts WHERE account_id IN (SELECT account_id FROM requests WHERE request_id = ANY(p_request))
    ORDER BY account_id FOR NO KEY UPDATE;
  UPDATE requests SET state = 'RELEASED', reason = p_reason
    WHERE request_id = ANY(p_request) AND state IN ('RESERVED', 'DISPATCHED')
      AND NOT EXISTS (SELECT FROM stream_progress p WHERE p.request_id = requests.request_id);
  GET DIAGNOSTICS released = ROW_COUNT;
  RETURN released;
END $$;
