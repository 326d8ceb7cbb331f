# syntax=docker/dockerfile:1

# --- Build: Alpine's Rust makes a static binary (musl) for the builder's own architecture.
FROM docker.io/library/rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
COPY config config
COPY examples examples
COPY benches benches
# The commit, which the build context does not carry: --build-arg HUBDNS_COMMIT=$(git rev-parse --short=12 HEAD)
ARG HUBDNS_COMMIT=""
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    HUBDNS_COMMIT="$HUBDNS_COMMIT" cargo build --release --locked --bin hubdns \
    && install -D -m 0755 target/release/hubdns /image/usr/bin/hubdns
# Directories that the numeric user owns: a scratch image has no shell to make them.
RUN install -d -m 0755 /image/etc/hubdns \
    && install -d -m 0700 -o 65532 -g 65532 /image/var/lib/hubdns /image/run/hubdns \
    && install -d -m 1777 /image/tmp
COPY LICENSE-APACHE LICENSE-MIT /image/usr/share/doc/hubdns/

# --- Image: the binary, its licences and nothing else. No shell, no package manager.
FROM scratch
ARG HUBDNS_COMMIT=""
ARG HUBDNS_VERSION=""
LABEL org.opencontainers.image.title="hubdns" \
      org.opencontainers.image.description="DNS server for Azure Container Registry private-link names" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$HUBDNS_VERSION" \
      org.opencontainers.image.revision="$HUBDNS_COMMIT"
COPY --from=build /image/ /
# The estate is mounted, or given as environment variables on top of the mounted file.
ENV HUBDNS_CONFIG=/etc/hubdns/hubdns.toml \
    HUBDNS_STATE_DIR=/var/lib/hubdns \
    HUBDNS_CONTROL_SOCKET=/run/hubdns/control.sock
USER 65532:65532
VOLUME ["/var/lib/hubdns"]
# Container engines let every user bind low ports inside the container's own
# network (net.ipv4.ip_unprivileged_port_start=0); elsewhere add NET_BIND_SERVICE.
EXPOSE 53/udp 53/tcp
STOPSIGNAL SIGTERM
# Asks the control socket, which needs no open admin port.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/bin/hubdns", "health"]
ENTRYPOINT ["/usr/bin/hubdns"]
CMD ["serve"]
