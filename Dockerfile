FROM node:24-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./

FROM packages AS build
# `npm install --no-save` takes the versions of the lock file; see scripts/setup.mjs for why it is not `npm ci`.
RUN npm install --no-save --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build

FROM packages AS production
RUN npm install --no-save --omit=dev --no-audit --no-fund

FROM node:24-slim
WORKDIR /app
ENV NODE_ENV=production SIDECAST_DATA_DIR=/data
# A named volume that is mounted here takes over this owner. Nothing else has to be writable: the root file system may be read-only.
RUN install --directory --owner=node --group=node --mode=0700 /data
COPY --from=production /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json openapi.yaml ./
USER node
VOLUME /data
EXPOSE 3000 3001
# The private listener stays on 127.0.0.1 unless SIDECAST_PRIVATE_HOST opens it to the application's container; the check is inside either way.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --start-interval=1s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.SIDECAST_PRIVATE_PORT ?? 3001}/readyz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# No shell and no npm in between: SIGTERM reaches Node, which drains.
ENTRYPOINT ["node", "dist/cli.js"]
CMD ["serve"]
