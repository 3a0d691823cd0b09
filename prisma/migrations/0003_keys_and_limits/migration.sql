-- What an API key may do and until when, limits of keys and accounts, and answers that only their client can open.

-- AlterTable
ALTER TABLE "accounts" ADD COLUMN "limited" BOOLEAN NOT NULL DEFAULT false;

-- AlterTable
ALTER TABLE "api_keys" ADD COLUMN "jurisdictions" INTEGER[] DEFAULT '{}',
ADD COLUMN "created_at" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN "ends_at" BIGINT;

-- CreateTable
CREATE TABLE "spending_limits" (
    "account_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "requests_per_minute" INTEGER,
    "parallel" INTEGER,
    "budget_per_day" DECIMAL(39,0),
    "budget_per_month" DECIMAL(39,0),
    "minute" BIGINT NOT NULL DEFAULT 0,
    "minute_requests" INTEGER NOT NULL DEFAULT 0,
    "day" INTEGER NOT NULL DEFAULT 0,
    "day_spent" DECIMAL(39,0) NOT NULL DEFAULT 0,
    "month" INTEGER NOT NULL DEFAULT 0,
    "month_spent" DECIMAL(39,0) NOT NULL DEFAULT 0,

    CONSTRAINT "spending_limits_pkey" PRIMARY KEY ("account_id","key")
);

-- CreateIndex
CREATE INDEX "receipts_account_id_served_at_idx" ON "receipts"("account_id", "served_at");

-- AddForeignKey
ALTER TABLE "spending_limits" ADD CONSTRAINT "spending_limits_account_id_fkey" FOREIGN KEY ("account_id") REFERENCES "accounts"("account_id") ON DELETE RESTRICT ON UPDATE RESTRICT;


ALTER TABLE "spending_limits" ADD CONSTRAINT "spending_limits_amounts"
  CHECK ("minute_requests" >= 0 AND "day_spent" >= 0 AND "month_spent" >= 0);

-- Whoever reserves or charges many requests at once leaves these accounts to be judged one request at a time. STABLE: it sees what
-- its caller's statement sees, which began after the accounts' locks were taken.
CREATE OR REPLACE FUNCTION accounts_with_limits(ids text[]) RETURNS SETOF text LANGUAGE sql STABLE AS $$
  SELECT "account_id" FROM "accounts" WHERE "account_id" = ANY(ids) AND "limited"
$$;

-- Stored answers, for the job that forgets them.
CREATE INDEX "requests_stored_answers" ON "requests"("reserved_at") WHERE "answer" IS NOT NULL;

-- From now on the ledger knows a client's Idempotency-Key by a digest only (services/gateway/repeats.ts), per escrow key, and
-- answers sealed. Those stored in the clear are forgotten; a repeat of their requests is still not charged again.
UPDATE "requests" SET "answer" = NULL WHERE "answer" IS NOT NULL;
UPDATE "requests" SET "idempotency_key" = encode(sha256(convert_to("account_id" || E'\n' || "key" || E'\n' || "idempotency_key", 'UTF8')), 'hex')
  WHERE "idempotency_key" <> "request_id";
