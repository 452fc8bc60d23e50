# syntax=docker/dockerfile:1
# A static Tasker with the plugins that ship with it, and nothing else: no shell, no libc.
#
#   docker build --build-arg VERSION="$(git describe --tags)" -t tasker .
#   docker run -v tasker-home:/var/lib/tasker -v ./templates:/etc/tasker/templates:ro tasker
#   docker exec CONTAINER tasker task list
#
# The exec plugin finds no commands here. Build on this image, or copy the binaries into one of your
# own, where steps run programs; a plugin of yours is one more file in /usr/lib/tasker/plugins.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
ARG VERSION=0.0.0-dev
RUN go run ./.ci/build -release -os "$TARGETOS" -arch "$TARGETARCH" -version "$VERSION" -out /out
# The file system of the image: what a process expects of even the barest system.
RUN mkdir -p /root-fs/usr/bin /root-fs/usr/lib/tasker /root-fs/etc/ssl/certs /root-fs/etc/tasker/templates \
        /root-fs/usr/share /root-fs/var/lib/tasker /root-fs/tmp \
    && mv /out/tasker /root-fs/usr/bin/ \
    && mv /out/plugins /root-fs/usr/lib/tasker/ \
    && cp /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ \
    && cp "$(go env GOROOT)/lib/time/zoneinfo.zip" /root-fs/usr/share/ \
    && echo 'tasker:x:65532:65532:tasker:/var/lib/tasker:/' > /root-fs/etc/passwd \
    && echo 'tasker:x:65532:' > /root-fs/etc/group \
    && chown 65532:65532 /root-fs/var/lib/tasker && chmod 0700 /root-fs/var/lib/tasker \
    && chmod 1777 /root-fs/tmp

FROM scratch
COPY --from=build /root-fs /
COPY LICENSE /usr/share/doc/tasker/LICENSE
ENV PATH=/usr/bin HOME=/var/lib/tasker TASKER_HOME=/var/lib/tasker ZONEINFO=/usr/share/zoneinfo.zip
USER 65532:65532
VOLUME /var/lib/tasker
# The first signal drains: give `docker stop` the time (--time) that your steps need.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tasker"]
CMD ["serve", "--plugin-dir", "/usr/lib/tasker/plugins", "--template-dir", "/etc/tasker/templates"]
