# One image for all of hpo's services: docker build -t hpo .
FROM python:3.12-slim AS packages
WORKDIR /build
COPY requirements.lock requirements-image.lock ./
# TensorFlow's headers and clang's library serve who compiles against them: 330 MB. tensorflow-cpu is the same release
# without CUDA's kernels, 0.4 GB less; for ARM there is no such build, and none is needed.
RUN python -m venv --without-pip /opt/hpo \
    && if [ "$(uname -m)" = x86_64 ]; then lock=requirements-image.lock; else lock=requirements.lock; fi \
    && pip --python /opt/hpo/bin/python install --no-cache-dir --require-hashes -r "$lock" \
    && cd /opt/hpo/lib/python3.12/site-packages && rm -rf tensorflow/include clang

FROM python:3.12-slim
# Named volumes take their owner from these folders when they are first used.
RUN useradd --uid 10001 --home-dir /tmp --no-create-home hpo \
    && install -d -o hpo -g hpo /runs /data /cache /secrets/database /secrets/web
COPY --from=packages /opt/hpo /opt/hpo
ENV PATH=/opt/hpo/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
COPY hpo hpo
COPY studies studies
RUN python -m compileall -q hpo studies
USER hpo
CMD ["python", "-m", "hpo", "--help"]
