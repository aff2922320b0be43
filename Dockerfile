# The server, with its engines for Redis and NATS.
#
#   docker build -t fanout .
#   docker run -p 8000:8000 -v ./config.json:/etc/fanout/config.json:ro fanout \
#       serve --config /etc/fanout/config.json
#
# Without a file it takes its configuration from the environment (FANOUT_...).

FROM python:3.13-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY fanout fanout
COPY python python
RUN pip wheel --no-cache-dir --wheel-dir /wheels ".[all]"

FROM python:3.13-slim
# Installed from the wheels alone: the image has no compiler, and asks nobody for packages.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels "fanout[all]" \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin fanout
USER 10001
WORKDIR /
# In a container loopback is nobody's way in. Who may reach the port is up to `docker run -p`.
# By this name, so that a variable of either name wins over it.
ENV CENTRIFUGO_HTTP_SERVER_ADDRESS=0.0.0.0 \
    PYTHONUNBUFFERED=1
EXPOSE 8000
# 503 in a drain: nobody new is sent here, and those who are here may stay as long as it takes. Any
# other answer is a server's that works: a configuration may have /health elsewhere, or not at all.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; get = lambda name: os.environ.get('FANOUT_HTTP_SERVER_' + name) or os.environ.get('CENTRIFUGO_HTTP_SERVER_' + name); server = http.client.HTTPConnection('127.0.0.1', int(get('INTERNAL_PORT') or get('PORT') or 8000), timeout=2); server.request('GET', '/health'); sys.exit(server.getresponse().status == 503)"]
# Longer than shutdown.timeout (30 s): `docker stop --time 40`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["fanout"]
CMD ["serve"]
