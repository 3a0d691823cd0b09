-- A payment whose block a reorganisation has replaced is looked at again: it may have to be sent once more, or given back once more.
ALTER TABLE "payments" ADD COLUMN "displaced" BOOLEAN NOT NULL DEFAULT false;
CREATE INDEX "payments_settled_block_idx" ON "payments"("settled_block");
CREATE INDEX "payments_displaced" ON "payments"("router") WHERE "displaced";
