-- The x402 rail: payments by EIP-3009 beside the requests that they are for, and the house accounts into which they are swept.

-- CreateEnum
CREATE TYPE "payment_state" AS ENUM ('RESERVED', 'SENT', 'SETTLED', 'RELEASED', 'RETURNING', 'RETURNED', 'CLOSED');

-- AlterTable
ALTER TABLE "accounts" ADD COLUMN     "house" BOOLEAN NOT NULL DEFAULT false;

-- CreateTable
CREATE TABLE "payments" (
    "payer" TEXT NOT NULL,
    "nonce" TEXT NOT NULL,
    "router" TEXT NOT NULL,
    "value" DECIMAL(39,0) NOT NULL,
    "valid_after" BIGINT NOT NULL,
    "valid_before" BIGINT NOT NULL,
    "signature" TEXT NOT NULL,
    "request_id" TEXT NOT NULL,
    "body_hash" TEXT NOT NULL,
    "owner" TEXT NOT NULL,
    "state" "payment_state" NOT NULL DEFAULT 'RESERVED',
    "raw" TEXT,
    "transaction_hash" TEXT,
    "transaction_nonce" BIGINT,
    "settled_in" TEXT,
    "settled_block" INTEGER,
    "delivery" BYTEA,
    "reason" TEXT,

    CONSTRAINT "payments_pkey" PRIMARY KEY ("payer","nonce")
);

-- CreateIndex
CREATE INDEX "payments_request_id_idx" ON "payments"("request_id");


-- What still runs, by the process that answers for it and by payer; what may have to go back.
CREATE INDEX "payments_open" ON "payments"("owner") WHERE "state" IN ('RESERVED', 'SENT') OR "delivery" IS NOT NULL;
CREATE INDEX "payments_of_payer" ON "payments"("payer") INCLUDE ("value") WHERE "state" IN ('RESERVED', 'SENT');
CREATE INDEX "payments_settled_since" ON "payments"("payer", "settled_block") INCLUDE ("value");
CREATE INDEX "payments_held" ON "payments"("router", "valid_before") WHERE "state" IN ('SETTLED', 'RELEASED', 'RETURNING');

ALTER TABLE "payments" ADD CONSTRAINT "payments_settled" CHECK ("state" NOT IN ('SETTLED', 'RETURNED') OR "settled_in" IS NOT NULL);
