# A CPU image: docker build -t continuum .   (docs/deploy.md says how it is run)
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends make binutils
WORKDIR /opt/continuum
COPY . .
RUN make .venv/.serve-cpu
RUN python tools/image.py .venv
RUN PYTHONPATH=. .venv/bin/python tools/warm.py

FROM python:3.11-slim
RUN useradd --create-home continuum && mkdir /data && chown continuum /data
COPY --from=build /opt/continuum /opt/continuum
WORKDIR /opt/continuum
USER continuum
ENV CONTINUUM_HOST=0.0.0.0 CONTINUUM_REGISTRY=/data/consents.sqlite CONTINUUM_KEYS=/data/keys.sqlite
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s CMD [".venv/bin/python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz')"]
CMD [".venv/bin/python", "run_server.py"]
