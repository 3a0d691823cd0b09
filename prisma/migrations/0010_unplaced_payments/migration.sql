-- A payment, or its refund, whose place in the mirrored chain is not known: just made, or thrown back by a reorganisation. It may have to be
-- sent, or given back, once more.
ALTER TABLE "payments" ADD COLUMN "unplaced" BOOLEAN NOT NULL DEFAULT false;
CREATE INDEX "payments_settled_block_idx" ON "payments"("settled_block");
CREATE INDEX "payments_unplaced" ON "payments"("router") WHERE "unplaced";
