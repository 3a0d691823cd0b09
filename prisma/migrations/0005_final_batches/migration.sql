-- The settler looks at the newest final batches in each round.
CREATE INDEX "batches_final" ON "batches"("collector", "block" DESC) WHERE "state" = 'FINAL';
