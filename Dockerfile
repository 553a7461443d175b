# How does secbridge run where containers run?  Built in one stage, kept without any tool in the next.
#
#   docker build -t secbridge .
#   docker run -d --name secbridge --read-only --cap-drop ALL --security-opt no-new-privileges \
#     --tmpfs /run/secbridge:uid=8025,gid=8025,mode=0750 --tmpfs /tmp \
#     -v ./config:/etc/secbridge:ro -v ./secrets:/run/secrets:ro \
#     -v secbridge-state:/var/lib/secbridge -p 127.0.0.1:10024:10024 secbridge
#
# How to make key and configuration for it stands in docs/operations.md (In a container).

FROM python:3.13-slim-trixie AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/secbridge \
 && /opt/secbridge/bin/pip install --require-hashes --only-binary :all: -r requirements.lock

# The tools that build the wheel stay in this stage; their hashes are checked as well.
COPY .ci/requirements.lock dev.lock
RUN python -m venv tools \
 && tools/bin/pip install --require-hashes --only-binary :all: -r dev.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN tools/bin/hatchling build -t wheel \
 && /opt/secbridge/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/secbridge/bin/pip uninstall -y pip

FROM python:3.13-slim-trixie

# hadolint ignore=DL3008  # gpg gets the distribution's security updates, so no version is pinned
RUN apt-get update \
 && apt-get install -y --no-install-recommends gpg gpg-agent gpgconf \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 8025 secbridge \
 && useradd --uid 8025 --gid 8025 --home-dir /var/lib/secbridge --shell /usr/sbin/nologin secbridge \
 && install -d -o secbridge -g secbridge -m 0700 /var/lib/secbridge /var/lib/secbridge/gnupg \
 && install -d -o secbridge -g secbridge -m 0750 /run/secbridge /etc/secbridge

COPY --from=build /opt/secbridge /opt/secbridge

ENV PATH=/opt/secbridge/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 8025:8025
WORKDIR /var/lib/secbridge
VOLUME /var/lib/secbridge
EXPOSE 10024/tcp 10025/tcp
# The daemon finishes what it has in hand; give it `docker stop -t 60`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["secbridge"]
CMD ["run", "--config", "/etc/secbridge/secbridge.toml"]
