# docker build -t crosspoint .
# docker run --rm --network host --ulimit nofile=262144 \
#     -v crosspoint-recordings:/var/lib/crosspoint/recordings \
#     crosspoint serve --interface default/ADDRESS
#
# Without -v recordings go with the container.
#
# --network host, because publishing thousands of UDP ports one by one is slow, and because the
# addresses in SDP must be the machine's own.

FROM rust:1.95-bookworm AS build
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends libopus-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin crosspoint

FROM debian:bookworm-slim
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends ca-certificates libopus0 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --no-create-home --shell /usr/sbin/nologin crosspoint \
    && install -d -o crosspoint -g crosspoint -m 0750 \
        /var/lib/crosspoint /var/lib/crosspoint/recordings
COPY --from=build /src/target/release/crosspoint /usr/local/bin/crosspoint
COPY packaging/crosspoint.toml /etc/crosspoint/crosspoint.toml
USER crosspoint
WORKDIR /var/lib/crosspoint
# SIGTERM drains for up to drain-timeout: give `docker stop` at least that long (-t 60).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/crosspoint"]
CMD ["serve", "--config", "/etc/crosspoint/crosspoint.toml"]
