FROM python:3.11-slim AS build
WORKDIR /src
# The hot path is compiled: docs/decisions/compiled.md.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && python -m venv /venv && python -m venv /builder
# What is installed is what scripts/lock.sh pinned: no version and no file but those.
# OpenTelemetry's definitions once more: scripts/telemetry_protos.sh says why.
COPY deploy/requirements.lock deploy/build.lock deploy/
RUN /venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r deploy/requirements.lock \
    && sed -n '/^opentelemetry-proto==/,/[^\\]$/p' deploy/requirements.lock >/tmp/telemetry.lock \
    && /venv/bin/pip install --no-cache-dir --require-hashes --no-deps --force-reinstall -r /tmp/telemetry.lock \
    && /builder/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r deploy/build.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY scripts/natively.py scripts/native_values.py scripts/
COPY predictor predictor
COPY scheduler scheduler
COPY collectors collectors
COPY models_store models_store
COPY proxy proxy
COPY simulator simulator
COPY foretoken foretoken
COPY dashboards dashboards
RUN HATCH_BUILD_HOOK_ENABLE_CUSTOM=true /builder/bin/pip wheel --no-cache-dir --no-deps \
        --no-build-isolation --wheel-dir /wheels . \
    && /venv/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && /venv/bin/pip check

FROM python:3.11-slim
# LightGBM needs the OpenMP runtime.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home foretoken \
    && install -d -o 10001 /var/lib/foretoken
# Compiled kernels are kept beside their sources, by the processor that this is built on:
# elsewhere the first start compiles them, ten to twenty seconds.
COPY --chown=10001 --from=build /venv /venv
USER 10001
WORKDIR /home/foretoken
ENV PATH=/venv/bin:$PATH
RUN python -c 'import scheduler; scheduler.rehearse()'
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
ENTRYPOINT ["foretoken"]
CMD ["serve", "--host", "0.0.0.0", "--config", "/etc/foretoken/foretoken.toml"]
