# bounceml serve in a container: docker build -t bounceml . && docker run --rm -p 127.0.0.1:8025:8025 bounceml
# docs/serve.md tells how to give it a name, a token and the keys of webhooks.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY bounceml bounceml
COPY docs/bounceml.1 docs/bounceml.1
COPY models/default models/default
RUN python -m venv /opt/bounceml \
  && /opt/bounceml/bin/pip install --no-cache-dir --disable-pip-version-check ".[serve,zstd]" \
  && /opt/bounceml/bin/pip uninstall --yes pip

FROM python:3.13-slim
COPY --from=build /opt/bounceml /opt/bounceml
# Nobody's number, so that nothing on the host is this user's; the model's copy is written to /tmp, and nothing else.
USER 65532:65532
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8025
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
  CMD ["/opt/bounceml/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8025/readyz', timeout=4)"]
ENTRYPOINT ["/opt/bounceml/bin/bounceml"]
# It listens on the container's address, and answers to localhost alone; -p decides who reaches it, --name by which other name.
CMD ["serve", "--host", "0.0.0.0", "--name", "localhost"]
