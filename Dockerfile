# One image for all of hpo's services: docker build -t hpo .
ARG PYTHON_IMAGE=python:3.12.13-slim-trixie
FROM ${PYTHON_IMAGE} AS packages
WORKDIR /build
COPY requirements.lock requirements-image.lock ./
# TensorFlow's headers and clang's library serve who compiles against them: 330 MB. tensorflow-cpu is the same release
# without CUDA's kernels, 0.4 GB less; for ARM there is no such build, and none is needed.
RUN python -m venv --without-pip /opt/hpo \
    && if [ "$(uname -m)" = x86_64 ]; then lock=requirements-image.lock; else lock=requirements.lock; fi \
    && pip --python /opt/hpo/bin/python install --no-cache-dir --require-hashes -r "$lock" \
    && cd /opt/hpo/lib/python3.12/site-packages && rm -rf tensorflow/include clang

# hpo itself apart from its dependencies: a change of code makes a small layer.
FROM packages AS hpo
COPY pyproject.toml setup.py README.md LICENSE ./
COPY hpo hpo
COPY studies studies
RUN pip --python /opt/hpo/bin/python install --no-deps --no-build-isolation --target /opt/app .

FROM ${PYTHON_IMAGE}
# Named volumes take their owner from these folders when they are first used.
RUN useradd --uid 10001 --home-dir /tmp --no-create-home hpo \
    && install -d -m 700 -o hpo -g hpo /runs \
    && install -d -o hpo -g hpo /data /cache \
        /secrets/database /secrets/owner /secrets/worker /secrets/dashboard /secrets/web
COPY --from=packages /opt/hpo /opt/hpo
COPY --from=hpo /opt/app /opt/app
ENV PATH=/opt/app/bin:/opt/hpo/bin:$PATH PYTHONPATH=/opt/app PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
COPY studies studies
USER hpo
CMD ["hpo", "--help"]
