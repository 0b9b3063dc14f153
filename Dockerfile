# Build: docker build -t fca-proxy .
# Run:   docker run -p 6380:6380 -p 9180:9180 fca-proxy --upstream redis://my-redis:6379
FROM rust:1.95-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
# The allocator is built with it.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
COPY Cargo.toml Cargo.lock ./
COPY src ./src
COPY benches ./benches
RUN cargo build --release --locked --bin fca-proxy
# The image holds the program and the libraries it is linked to: no shell, no package manager, nothing to log into.
RUN mkdir -p /rootfs/usr/local/bin /rootfs/etc \
    && cp target/release/fca-proxy /rootfs/usr/local/bin/ \
    && ldd target/release/fca-proxy | grep -o '/[^ ]*' | xargs -I {} cp --parents {} /rootfs/ \
    && echo 'fca-proxy:x:65532:65532::/:/none' > /rootfs/etc/passwd

FROM scratch
COPY --from=build /rootfs/ /
ENV FCA_PROXY_LISTEN=0.0.0.0:6380 FCA_PROXY_ADMIN_LISTEN=0.0.0.0:9180
EXPOSE 6380 9180
USER 65532:65532
# There is no curl in here: the program asks its own /healthz, where FCA_PROXY_ADMIN_LISTEN says (set that, rather than
# --admin-listen, to move it). There are no certificates either: rediss:// needs upstream.ca_file.
HEALTHCHECK --interval=10s --timeout=3s --start-period=2s --retries=3 CMD ["/usr/local/bin/fca-proxy", "--health"]
ENTRYPOINT ["/usr/local/bin/fca-proxy"]
