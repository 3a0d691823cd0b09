-- AlterTable
ALTER TABLE "batches" ADD COLUMN "cid" TEXT;

-- The settler looks at the newest final batches in each round, the gateway at those not published yet.
CREATE INDEX "batches_final" ON "batches"("collector", "block" DESC) WHERE "state" = 'FINAL';
CREATE INDEX "batches_unpublished" ON "batches"("collector", "block") WHERE "state" = 'FINAL' AND "cid" IS NULL;
