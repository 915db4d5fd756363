# Two images from one lock file: `airflow` (the control plane: nothing heavy) and `worker`
# (everything: Ray, torch, MLflow). docs/containers.md says how they are used.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS installer
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/uv && /opt/uv/bin/pip install --disable-pip-version-check uv==0.13.9

FROM ${PYTHON_IMAGE} AS base
ARG AIRFLOW_UID=50000
# Any uid may run it, as long as its group is 0: what must be writable belongs to group 0.
RUN useradd --uid "${AIRFLOW_UID}" --gid 0 --no-create-home --home-dir /opt/airflow airflow \
 && mkdir -p /opt/airflow/logs /opt/biometric /var/lib/biometric/data /var/lib/biometric/inbox \
      /var/lib/biometric/work /var/lib/mlflow/artifacts \
 && chown -R "${AIRFLOW_UID}:0" /opt/airflow /var/lib/biometric /var/lib/mlflow \
 && chmod -R 2775 /opt/airflow && chmod -R 2770 /var/lib/biometric /var/lib/mlflow \
 && python -m venv --without-pip /opt/venv
ENV PATH=/opt/venv/bin:${PATH} \
    VIRTUAL_ENV=/opt/venv \
    PYTHONPATH=/opt/biometric \
    PYTHONUNBUFFERED=1 \
    HOME=/opt/airflow \
    USER=airflow \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/biometric/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/biometric/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    DO_NOT_TRACK=1
WORKDIR /opt/biometric
ENTRYPOINT ["/opt/biometric/deploy/containers/start"]
LABEL org.opencontainers.image.title="biometric-core" \
      org.opencontainers.image.description="Keeps an iris and fingerprint recogniser good in production" \
      org.opencontainers.image.licenses="MIT"

FROM base AS airflow
ARG AIRFLOW_UID=50000
RUN --mount=type=bind,from=installer,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    --mount=type=bind,source=requirements.lock,target=requirements.lock \
    --mount=type=cache,target=/var/cache/uv,id=biometric-uv \
    UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy /opt/uv/bin/uv pip install --compile-bytecode \
      --group airflow --constraint requirements.lock
COPY . .
RUN chmod -R a+rX . && python -m compileall -q biometric_core plugins dags
USER ${AIRFLOW_UID}:0
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=10s --start-period=90s --retries=4 \
  CMD ["python", "deploy/containers/health.py", "api-server"]
CMD ["api-server"]

FROM base AS worker
ARG AIRFLOW_UID=50000
# Where torch is fetched from: empty takes the lock file's index, whose wheels bring CUDA along.
# An index of CPU wheels makes the CPU variant.
# There it may be alone: what else torch needs comes with the rest.
ARG TORCH_INDEX=
RUN --mount=type=bind,from=installer,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,source=requirements.lock,target=requirements.lock \
    --mount=type=cache,target=/var/cache/uv,id=biometric-uv \
    UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy /opt/uv/bin/uv pip install \
      ${TORCH_INDEX:+--no-deps --default-index "${TORCH_INDEX}"} --constraint requirements.lock torch torchvision
RUN --mount=type=bind,from=installer,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    --mount=type=bind,source=requirements.lock,target=requirements.lock \
    --mount=type=cache,target=/var/cache/uv,id=biometric-uv \
    UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy /opt/uv/bin/uv pip install --compile-bytecode \
      --requirements pyproject.toml --group worker --constraint requirements.lock
COPY . .
# The package's entry point and its metadata; the code itself stays in /opt/biometric.
RUN --mount=type=bind,from=installer,source=/opt/uv,target=/opt/uv \
    --mount=type=cache,target=/var/cache/uv,id=biometric-uv \
    UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy /opt/uv/bin/uv pip install --no-deps --editable . \
 && rm -rf biometric_core.egg-info build \
 && chmod -R a+rX . && python -m compileall -q biometric_core plugins dags deploy
USER ${AIRFLOW_UID}:0
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=25s --start-period=120s --retries=4 \
  CMD ["python", "deploy/containers/health.py", "worker"]
CMD ["worker"]
