import { defineConfig } from 'prisma/config'

// Where Prisma's engine can't be downloaded, its variable may name any existing file, since `generate` only wants to find
// one: `PRISMA_SCHEMA_ENGINE_BINARY=$PWD/package.json prisma generate` (offline, 0.2 s; output prisma/generated).
// Never run `prisma migrate …` or `db push` with such a stand-in: they would do nothing and exit 0. Services apply the
// migrations themselves (services/adapters/ledger/migrate.ts).
export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  datasource: { url: process.env.DATABASE_URL ?? 'postgresql://127.0.0.1:1/none' },
})
