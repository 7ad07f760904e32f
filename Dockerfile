# The environment of requirements.lock and this workflow, for a CPU or an NVIDIA GPU:
#   docker build --tag torchmodes .
#   docker build --tag torchmodes:cuda --build-arg DEVICE=cuda .
# PyTorch brings the CUDA libraries in both; the CUDA base adds nvcc, for the custom operators.
# To pin a base: --build-arg CPU_BASE=ubuntu:24.04@sha256:… (docs/environments.md).
ARG DEVICE=cpu
ARG CPU_BASE=ubuntu:24.04
ARG CUDA_BASE=nvidia/cuda:13.0.2-devel-ubuntu24.04

FROM ${CPU_BASE} AS cpu
FROM ${CUDA_BASE} AS cuda
FROM ${DEVICE}

# Versions of these are those of the base, which is what is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates g++ make python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /torchmodes

# The packages come first and alone: a changed source file installs nothing again.
COPY Makefile requirements.lock ./
RUN UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 PIP_NO_CACHE_DIR=1 make .venv/ready

COPY . .

# Whoever runs this, and be it a user without a name, may write where runs write. The touch: a lock
# that was copied after its installation must not look newer than that.
RUN mkdir -p .cache .snakemake logs reports results \
    && chmod 1777 .cache .snakemake logs reports results \
    && useradd --create-home --non-unique --uid 1000 torchmodes \
    && chmod 1777 /home/torchmodes \
    && touch .venv/ready

# TensorBoard is fetched when it is first asked for; it stays in the folder that compose.yaml keeps.
ENV PATH=/torchmodes/.venv/bin:$PATH HOME=/home/torchmodes USER=torchmodes \
    UV_CACHE_DIR=/torchmodes/.cache/uv UV_TOOL_DIR=/torchmodes/.cache/tools
USER 1000
CMD ["make", "run"]
