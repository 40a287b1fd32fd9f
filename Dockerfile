# syntax=docker/dockerfile:1
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v1.0.0 --build-arg REVISION=$(git rev-parse HEAD) .
#
# The image holds one static binary and the roots to verify servers with: no shell, no package manager, no user but a
# numeric one. It needs no capabilities and writes nothing, so it runs with a read-only root. The same sources make the
# same binary: nothing in it knows when or where it was built. SOURCE_DATE_EPOCH makes the image's own dates constant.

ARG GO_VERSION=1.26

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-bookworm AS build
ARG TARGETOS=linux
ARG TARGETARCH=amd64
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH .ci/build /vpcprobe

FROM scratch
ARG VERSION=devel
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vpcprobe" \
      org.opencontainers.image.description="Says why a private API of Amazon API Gateway can or cannot be reached from inside a VPC" \
      org.opencontainers.image.url="https://github.com/vpcprobe/vpcprobe" \
      org.opencontainers.image.source="https://github.com/vpcprobe/vpcprobe" \
      org.opencontainers.image.documentation="https://github.com/vpcprobe/vpcprobe/tree/main/docs" \
      org.opencontainers.image.vendor="The vpcprobe authors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chmod=0755 /vpcprobe /vpcprobe
USER 65532:65532
EXPOSE 9643
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s --retries=3 CMD ["/vpcprobe", "health"]
ENTRYPOINT ["/vpcprobe"]
CMD ["run", "--config", "/etc/vpcprobe/vpcprobe.yaml"]
