# One Dockerfile for every image. The features select the image:
#
#   docker build --build-arg FEATURES=order,mysql,kafka-tls,tls,vault -t tradepost/order .
#
# The image contains one static binary, the public certificate authorities and an empty /data: no shell, no libraries.
# It runs as user 65532 and writes only to /data, so the file system may be read-only. Needs BuildKit.
ARG RUST=1.95-bookworm
# the base image; a config server that reads git repositories needs an image with git
ARG BASE=scratch

FROM rust:${RUST} AS rust
ENV CARGO_HOME=/cargo CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
WORKDIR /src

# writes the list of crates into the binary, for vulnerability scanners
FROM rust AS auditable
RUN --mount=type=cache,target=/cargo/registry cargo install --quiet --locked --root /tools cargo-auditable@0.7.4

# if Rust includes lld, it folds identical functions; GNU's linker cannot
FROM rust AS linker-amd64
ENV FOLD="-C link-arg=-Wl,--icf=all "
FROM rust AS linker-arm64
ENV FOLD=""

FROM linker-${TARGETARCH} AS dependencies
COPY --from=auditable /tools/bin/cargo-auditable /usr/local/bin/
# The binary also contains Debian's OpenSSL (kafka-tls) and glibc, whose resolver for files and DNS is part of libc
# since 2.34. Build scripts and macros are separate programs and not static; therefore a target is set.
# Packed relocations save 1 MB.
ENV OPENSSL_STATIC=1 CARGO_BUILD_TARGET=host-tuple \
    CARGO_BUILD_RUSTFLAGS="-C target-feature=+crt-static $FOLD-C link-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=/cargo/registry/src="
# "off" builds much faster and is 7 % larger; "thin" is no smaller than "off"
ARG LTO=fat
ARG FEATURES=all-in-one
COPY Cargo.toml Cargo.lock ./
# compiles all dependencies first, so that a change of our code compiles only our code; images share this layer
RUN --mount=type=cache,target=/cargo/registry --mount=type=cache,target=/src/target,sharing=locked \
    mkdir -p src && echo 'fn main() {}' | tee build.rs >src/main.rs && touch src/lib.rs && \
    CARGO_PROFILE_DIST_LTO=$LTO cargo auditable build --lib --profile dist --locked --no-default-features --features "$FEATURES"

FROM dependencies AS build
COPY . .
ARG COMMIT
ARG SOURCE_DATE_EPOCH
# cargo compares file times, which are those of the checkout: the binary of another commit would count as newer
RUN --mount=type=cache,target=/cargo/registry --mount=type=cache,target=/src/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + && \
    CARGO_PROFILE_DIST_LTO=$LTO TRADEPOST_COMMIT=$COMMIT cargo auditable build --profile dist --locked --no-default-features --features "$FEATURES" && \
    mkdir -p /image/data /image/etc/ssl/certs && \
    strip -o /image/tradepost target/*/dist/tradepost && \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ && \
    echo 'hosts: files dns' >/image/etc/nsswitch.conf && chown 65532:65532 /image/data

FROM ${BASE}
ARG FEATURES=all-in-one
ARG VERSION
ARG COMMIT
LABEL org.opencontainers.image.title="Tradepost ($FEATURES)" \
      org.opencontainers.image.description="A shop backend in one binary that splits into services" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
COPY --from=build /image /
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    TRADEPOST__SERVER__HOST=0.0.0.0 \
    TRADEPOST__DATA__DIR=/data/shop \
    TRADEPOST__LOG__FORMAT=json
USER 65532:65532
VOLUME /data
EXPOSE 5294
# reads the same settings for the address
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["/tradepost", "healthcheck"]
ENTRYPOINT ["/tradepost"]
