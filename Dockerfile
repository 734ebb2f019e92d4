# One image for the gateway and its command line. Build: docker build --build-arg REVISION=$(git rev-parse HEAD) -t lianren .
# Run: docker run -p 8080:8080 -v ./lianren.toml:/etc/lianren/lianren.toml:ro -v lianren:/var/lib/lianren lianren
# where lianren.toml says host = "0.0.0.0", port = 8080 and data_dir = "/var/lib/lianren".

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/lianren
WORKDIR /src
# The dependencies first: their layer stays while only the gateway's own code changes.
COPY requirements.lock ./
RUN /opt/lianren/bin/pip install --require-hashes --only-binary :all: -r requirements.lock
COPY . .
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && /opt/lianren/bin/pip install --no-deps --no-index /wheels/lianren-*.whl

FROM python:3.11-slim-bookworm
ARG REVISION=unknown
LABEL org.opencontainers.image.title="lianren" \
      org.opencontainers.image.description="联认: a gateway for the mutual recognition of examination and laboratory results" \
      org.opencontainers.image.version="0.6.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# SM2 comes from the system's libcrypto (libssl3): an image without it must not be built.
RUN python -c "import ctypes; assert ctypes.CDLL('libcrypto.so.3').OBJ_sn2nid(b'SM2')" \
    && groupadd --gid 10001 lianren \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/lianren --shell /usr/sbin/nologin lianren \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/lianren
COPY --from=build /opt/lianren /opt/lianren
ENV PATH=/opt/lianren/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/lianren
VOLUME /var/lib/lianren
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health/live', timeout=2)"]
ENTRYPOINT ["lianren"]
CMD ["serve", "--config", "/etc/lianren/lianren.toml"]
