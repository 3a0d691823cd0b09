-- Sessions of payers, so that every gateway of the operator knows what one of them has opened. No secret is here: a MAC key
-- follows from the session, the payer's ephemeral key and the gateway's own secret, which comes from the master key.
CREATE TABLE "sessions" (
    "session_id" TEXT NOT NULL,
    "account_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "ephemeral_key" TEXT NOT NULL,
    "gateway_key" TEXT NOT NULL,
    "expires_at" BIGINT NOT NULL,

    CONSTRAINT "sessions_pkey" PRIMARY KEY ("session_id")
);

CREATE INDEX "sessions_account_id_key_expires_at_idx" ON "sessions"("account_id", "key", "expires_at");
CREATE INDEX "sessions_expires_at_idx" ON "sessions"("expires_at");
