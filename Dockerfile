# strings-queue in a container: built in one image, run in a small one, not as root.
#
#   docker build -t strings-queue .
#   docker run --rm -v "$PWD/db.ini:/etc/strings-queue/db.ini:ro" strings-queue check /etc/strings-queue/db.ini
#
# db.ini must be readable to user 65532 (so keep the password out of it: STRINGS_QUEUE_DB_PASSWD), and `host` is not this machine's 127.0.0.1.

# This image has the C compiler, pkg-config and OpenSSL's headers that the build needs.
FROM rust:1-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock schema.sql ./
COPY src src
COPY benches benches
COPY tests/failpoints tests/failpoints
RUN cargo build --release --locked --bin strings-queue

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/release/strings-queue /usr/local/bin/strings-queue
USER 65532:65532
# The program drains at SIGTERM: give it more time than drain_secs before it is killed.
STOPSIGNAL SIGTERM
ENTRYPOINT ["strings-queue"]
CMD ["run", "/etc/strings-queue/db.ini"]
