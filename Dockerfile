# salsa in a container: built beside libtorch, run on a slim Debian as an ordinary user.
#
#   make image                                       CPU only
#   make image IMAGE_FLAGS='--build-arg CUDA=1'      with the CUDA 13 libraries (4 GB more)
#   docker run --rm -v "$PWD:/work" salsa run demo   results appear in the current folder
#
# The host's driver and the NVIDIA container toolkit are all that a GPU needs besides: docker run --gpus all.

FROM golang:1.26-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-pip \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The binary's RPATH is made of this path, so libtorch stands at the same place in the final image.
ENV SALSA_CACHE=/opt/salsa

# From what changes least to what changes most: libtorch, modules, gotch's C++ (minutes), salsa.
COPY env.sh ./
COPY scripts/libtorch.sh scripts/libtorch.txt scripts/cuda.txt scripts/compat.h scripts/
ARG CUDA=
RUN scripts/libtorch.sh ${CUDA:+--cuda}
COPY go.mod go.sum ./
RUN go mod download
RUN bash -c 'source env.sh && go build -trimpath github.com/sugarme/gotch/libtch'
COPY . .
ARG VERSION=unknown
RUN make build GOFLAGS_BUILD=-trimpath VERSION="$VERSION"
RUN scripts/runtime.sh bin/salsa /runtime ${CUDA:+--cuda}

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 salsa \
 && install -d -o salsa -g salsa /work
COPY --from=build /runtime/ /
COPY --from=build /src/bin/salsa /usr/local/bin/salsa
# What the NVIDIA container toolkit mounts into the container when it is started with GPUs.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER salsa
WORKDIR /work
ENTRYPOINT ["salsa"]
CMD ["--help"]
