# One image for every service; docker-compose.yml gives each its command. Not for production as it is: see docs/OPERATIONS.md.
FROM node:24-bookworm-slim AS build
WORKDIR /granary
ENV ONNXRUNTIME_NODE_INSTALL=skip
COPY package.json package-lock.json .npmrc ./
RUN npm ci --include=dev --include=optional --no-audit --no-fund
COPY . .
RUN node scripts/build.ts

FROM node:24-bookworm-slim
WORKDIR /granary
ENV NODE_ENV=production
COPY --from=build --chown=node:node /granary /granary
RUN mkdir -p /state && chown node:node /state
USER node
VOLUME /state
STOPSIGNAL SIGTERM
CMD ["node", "services/gateway/main.ts"]
