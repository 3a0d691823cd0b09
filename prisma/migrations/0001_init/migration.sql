-- The ledger as prisma/schema.prisma describes it; what Prisma has no words for follows at the end.

-- CreateEnum
CREATE TYPE "request_state" AS ENUM ('RESERVED', 'DISPATCHED', 'COMMITTED', 'BATCHED', 'FINAL', 'RELEASED', 'VOIDED');

-- CreateEnum
CREATE TYPE "batch_state" AS ENUM ('OPEN', 'FINAL', 'DROPPED');

-- CreateTable
CREATE TABLE "blocks" (
    "number" INTEGER NOT NULL,
    "hash" TEXT NOT NULL,
    "parent_hash" TEXT NOT NULL,
    "timestamp" BIGINT NOT NULL,

    CONSTRAINT "blocks_pkey" PRIMARY KEY ("number")
);

-- CreateTable
CREATE TABLE "chain_events" (
    "block" INTEGER NOT NULL,
    "log_index" INTEGER NOT NULL,
    "block_hash" TEXT NOT NULL,
    "transaction" TEXT NOT NULL,
    "contract" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "args" JSONB NOT NULL,

    CONSTRAINT "chain_events_pkey" PRIMARY KEY ("block","log_index")
);

-- CreateTable
CREATE TABLE "mirrors" (
    "kind" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "block" INTEGER NOT NULL,
    "state" JSONB,
    "stale" BOOLEAN NOT NULL DEFAULT false,

    CONSTRAINT "mirrors_pkey" PRIMARY KEY ("kind","id")
);

-- CreateTable
CREATE TABLE "manifests" (
    "digest" TEXT NOT NULL,
    "manifest" JSONB NOT NULL,

    CONSTRAINT "manifests_pkey" PRIMARY KEY ("digest")
);

-- CreateTable
CREATE TABLE "accounts" (
    "account_id" TEXT NOT NULL,
    "payer" TEXT NOT NULL,
    "collector" TEXT NOT NULL,
    "thaw_seconds" BIGINT NOT NULL,
    "salt" TEXT NOT NULL,
    "chain_deposit" DECIMAL(39,0) NOT NULL DEFAULT 0,
    "chain_charged" DECIMAL(39,0) NOT NULL DEFAULT 0,
    "chain_own_spent" DECIMAL(39,0) NOT NULL DEFAULT 0,
    "chain_thawing" DECIMAL(39,0) NOT NULL DEFAULT 0,
    "chain_thaw_ends_at" BIGINT NOT NULL DEFAULT 0,
    "charged" DECIMAL(39,0) NOT NULL DEFAULT 0,
    "sequence" BIGINT NOT NULL DEFAULT 0,
    "head" TEXT NOT NULL,

    CONSTRAINT "accounts_pkey" PRIMARY KEY ("account_id")
);

-- CreateTable
CREATE TABLE "keys" (
    "account_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "chain_cap" DECIMAL(39,0),
    "chain_spent" DECIMAL(39,0) NOT NULL DEFAULT 0,
    "chain_not_after" BIGINT,
    "chain_revoked_at" BIGINT NOT NULL DEFAULT 0,
    "spent" DECIMAL(39,0) NOT NULL DEFAULT 0,
    "ceiling" DECIMAL(39,0) NOT NULL DEFAULT 0,
    "usage_head" TEXT,
    "signature" TEXT,

    CONSTRAINT "keys_pkey" PRIMARY KEY ("account_id","key")
);

-- CreateTable
CREATE TABLE "api_keys" (
    "key_id" TEXT NOT NULL,
    "secret_hash" TEXT NOT NULL,
    "account_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "sealed_private_key" TEXT NOT NULL,
    "label" TEXT NOT NULL,
    "models" TEXT[],
    "purposes" INTEGER[],
    "revoked" BOOLEAN NOT NULL DEFAULT false,

    CONSTRAINT "api_keys_pkey" PRIMARY KEY ("key_id")
);

-- CreateTable
CREATE TABLE "requests" (
    "request_id" TEXT NOT NULL,
    "account_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "idempotency_key" TEXT NOT NULL,
    "body_hash" TEXT NOT NULL,
    "model_id" TEXT NOT NULL,
    "provider" TEXT NOT NULL,
    "purpose" INTEGER NOT NULL,
    "units" DECIMAL(20,0) NOT NULL,
    "unit_price" DECIMAL(39,0) NOT NULL,
    "max" DECIMAL(39,0) NOT NULL,
    "charged" DECIMAL(39,0) NOT NULL DEFAULT 0,
    "state" "request_state" NOT NULL DEFAULT 'RESERVED',
    "reason" TEXT,
    "owner" TEXT NOT NULL,
    "reserved_at" BIGINT NOT NULL,
    "answer" BYTEA,
    "batch_id" TEXT,

    CONSTRAINT "requests_pkey" PRIMARY KEY ("request_id")
);

-- CreateTable
CREATE TABLE "receipts" (
    "request_id" TEXT NOT NULL,
    "account_id" TEXT NOT NULL,
    "sequence" BIGINT NOT NULL,
    "previous_head" TEXT NOT NULL,
    "head" TEXT NOT NULL,
    "served_at" BIGINT NOT NULL,
    "receipt" JSONB NOT NULL,
    "provider_signature" TEXT NOT NULL,

    CONSTRAINT "receipts_pkey" PRIMARY KEY ("request_id")
);

-- CreateTable
CREATE TABLE "entries" (
    "id" BIGSERIAL NOT NULL,
    "request_id" TEXT,
    "batch_id" TEXT,
    "ledger_account" TEXT NOT NULL,
    "amount" DECIMAL(39,0) NOT NULL,

    CONSTRAINT "entries_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "batches" (
    "batch_id" TEXT NOT NULL,
    "collector" TEXT NOT NULL,
    "state" "batch_state" NOT NULL DEFAULT 'OPEN',
    "lanes" JSONB NOT NULL,
    "rows" JSONB NOT NULL,
    "leaves" TEXT[],
    "raw" TEXT,
    "transaction_hash" TEXT,
    "nonce" BIGINT,
    "block" INTEGER,
    "block_hash" TEXT,
    "outcome" JSONB,

    CONSTRAINT "batches_pkey" PRIMARY KEY ("batch_id")
);

-- CreateIndex
CREATE INDEX "chain_events_contract_name_block_idx" ON "chain_events"("contract", "name", "block");

-- CreateIndex
CREATE INDEX "mirrors_block_idx" ON "mirrors"("block");

-- CreateIndex
CREATE INDEX "accounts_collector_idx" ON "accounts"("collector");

-- CreateIndex
CREATE INDEX "api_keys_account_id_idx" ON "api_keys"("account_id");

-- CreateIndex
CREATE INDEX "requests_account_id_idempotency_key_idx" ON "requests"("account_id", "idempotency_key");

-- CreateIndex
CREATE INDEX "requests_batch_id_idx" ON "requests"("batch_id");

-- CreateIndex
CREATE UNIQUE INDEX "receipts_account_id_sequence_key" ON "receipts"("account_id", "sequence");

-- CreateIndex
CREATE INDEX "entries_request_id_idx" ON "entries"("request_id");

-- CreateIndex
CREATE INDEX "entries_batch_id_idx" ON "entries"("batch_id");

-- CreateIndex
CREATE INDEX "batches_collector_state_idx" ON "batches"("collector", "state");

-- AddForeignKey
ALTER TABLE "keys" ADD CONSTRAINT "keys_account_id_fkey" FOREIGN KEY ("account_id") REFERENCES "accounts"("account_id") ON DELETE RESTRICT ON UPDATE RESTRICT;

-- AddForeignKey
ALTER TABLE "requests" ADD CONSTRAINT "requests_account_id_fkey" FOREIGN KEY ("account_id") REFERENCES "accounts"("account_id") ON DELETE RESTRICT ON UPDATE RESTRICT;

-- AddForeignKey
ALTER TABLE "requests" ADD CONSTRAINT "requests_batch_id_fkey" FOREIGN KEY ("batch_id") REFERENCES "batches"("batch_id") ON DELETE RESTRICT ON UPDATE RESTRICT;

-- AddForeignKey
ALTER TABLE "receipts" ADD CONSTRAINT "receipts_request_id_fkey" FOREIGN KEY ("request_id") REFERENCES "requests"("request_id") ON DELETE RESTRICT ON UPDATE RESTRICT;


-- One live request per idempotency key; a released one may be tried again.
CREATE UNIQUE INDEX "requests_live_idempotency_key" ON "requests"("account_id", "idempotency_key") WHERE "state" <> 'RELEASED';

-- Reservations are counted by state at each reserve, so this index stays as small as what is running.
CREATE INDEX "requests_reserved" ON "requests"("account_id", "key") INCLUDE ("max") WHERE "state" IN ('RESERVED', 'DISPATCHED');
CREATE INDEX "requests_leftover" ON "requests"("owner") WHERE "state" IN ('RESERVED', 'DISPATCHED');

-- An account's keys, granted perhaps before the account was known.
CREATE INDEX "mirrors_keys_of_account" ON "mirrors"(split_part("id", ':', 1)) WHERE "kind" = 'key';

-- What waits for settlement.
CREATE INDEX "requests_unsettled" ON "requests"("account_id", "key") WHERE "state" IN ('COMMITTED', 'BATCHED');

ALTER TABLE "accounts" ADD CONSTRAINT "accounts_amounts" CHECK ("charged" >= 0 AND "chain_deposit" >= 0 AND "chain_thawing" >= 0);
ALTER TABLE "keys" ADD CONSTRAINT "keys_amounts" CHECK ("spent" >= 0 AND "ceiling" >= 0);
ALTER TABLE "requests" ADD CONSTRAINT "requests_amounts" CHECK ("max" >= 0 AND "charged" >= 0 AND "charged" <= "max");
ALTER TABLE "requests" ADD CONSTRAINT "requests_charge" CHECK ("charged" = 0 OR "state" IN ('COMMITTED', 'BATCHED', 'FINAL', 'VOIDED'));
ALTER TABLE "requests" ADD CONSTRAINT "requests_batch" CHECK (("batch_id" IS NOT NULL) = ("state" IN ('BATCHED', 'FINAL')));
ALTER TABLE "entries" ADD CONSTRAINT "entries_cause" CHECK (num_nonnulls("request_id", "batch_id") = 1);
