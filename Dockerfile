# The gateway as a container image: docker build --tag perimeter .
#
# The image has no shell, no package manager and no root: a Python interpreter, the gateway, and the libraries they load. The interpreter
# is Debian's, which is built with profile-guided optimization. docs/how-to/container.md describes how to run it.

FROM debian:bookworm-slim AS build
ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends python3 python3-venv ca-certificates tzdata >/dev/null
WORKDIR /src
COPY requirements/full.txt requirements/full.txt
RUN python3 -m venv /opt/perimeter && /opt/perimeter/bin/pip install --quiet --require-hashes --requirement requirements/full.txt
COPY . .
RUN /opt/perimeter/bin/pip install --quiet --no-deps --no-build-isolation .
RUN /opt/perimeter/bin/python scripts/lib/image_root.py /image

FROM scratch
COPY --from=build /image /
ENV PATH=/opt/perimeter/bin LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PERIMETER_CONFIG=/etc/perimeter/site.ini
USER 10001:10001
WORKDIR /var/lib/perimeter
EXPOSE 9443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["perimeter", "status", "--alive"]
ENTRYPOINT ["perimeter"]
CMD ["run"]
