FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1
COPY pyproject.toml requirements.lock README.md LICENSE /source/
COPY src /source/src
COPY examples /source/examples
COPY deploy /source/deploy
RUN /source/deploy/install.sh /opt/folkmoot

FROM python:3.12-slim
COPY --from=build /opt/folkmoot /opt/folkmoot
RUN useradd --uid 10001 --create-home folkmoot && install --directory --owner folkmoot --mode 700 /data
USER folkmoot
ENV FOLKMOOT_HOST=0.0.0.0 FOLKMOOT_DATA=/data
VOLUME /data
EXPOSE 8283
# An upgrade of a large database takes minutes; Swarm would end a container that is called unhealthy amid it.
HEALTHCHECK --start-period=10m CMD ["/opt/folkmoot/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8283/v1/health')"]
ENTRYPOINT ["/opt/folkmoot/bin/folkmoot"]
CMD ["serve"]
