# One recipe for every image. Which one is said by the features:
#
#   docker build --build-arg FEATURES=order,mysql,kafka-tls,tls,vault -t tradepost/order .
#
# Nothing but one static binary, the public certificate authorities and an empty /data: no shell, no libraries. It runs
# as user 65532 and writes to /data alone, so the file system may be read-only. Needs BuildKit.
ARG RUST=1.95-bookworm
# what it lies on; a config server that reads git repositories needs an image with git in it
ARG BASE=scratch

FROM rust:${RUST} AS rust
ENV CARGO_HOME=/cargo CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
WORKDIR /src

# writes the list of crates into the binary, where scanners for vulnerabilities find it
FROM rust AS auditable
RUN --mount=type=cache,target=/cargo/registry cargo install --quiet --locked --root /tools cargo-auditable@0.7.4

# where Rust brings lld, functions that came out alike are folded; GNU's linker knows no such thing
FROM rust AS linker-amd64
ENV FOLD="-C link-arg=-Wl,--icf=all "
FROM rust AS linker-arm64
ENV FOLD=""

FROM linker-${TARGETARCH} AS dependencies
COPY --from=auditable /tools/bin/cargo-auditable /usr/local/bin/
# The libraries of Debian's OpenSSL go in, too (kafka-tls), and those of glibc: its resolver for files and DNS is part
# of libc since 2.34. Build scripts and macros are programs of their own, and not static: hence the target.
# Packed relocations are 1 MB less.
ENV OPENSSL_STATIC=1 CARGO_BUILD_TARGET=host-tuple \
    CARGO_BUILD_RUSTFLAGS="-C target-feature=+crt-static $FOLD-C link-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=/cargo/registry/src="
# "off" is built far quicker and 7 % larger; "thin" is no smaller than that
ARG LTO=fat
ARG FEATURES=all-in-one
COPY Cargo.toml Cargo.lock ./
# all but our own code, so that a change of ours compiles nothing else; images share what they have in common
RUN --mount=type=cache,target=/cargo/registry --mount=type=cache,target=/src/target,sharing=locked \
    mkdir -p src && echo 'fn main() {}' | tee build.rs >src/main.rs && touch src/lib.rs && \
    CARGO_PROFILE_DIST_LTO=$LTO cargo auditable build --lib --profile dist --locked --no-default-features --features "$FEATURES"

FROM dependencies AS build
COPY . .
ARG COMMIT
ARG SOURCE_DATE_EPOCH
# cargo goes by the time of files, which is that of their checkout: another commit's binary would count as newer
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
# the same settings tell it where to ask
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["/tradepost", "healthcheck"]
ENTRYPOINT ["/tradepost"]
