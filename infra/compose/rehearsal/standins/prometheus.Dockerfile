# Stands in for the image of Prometheus: an older release, from the distribution's package.
FROM holdfast-rehearsal/python
RUN apt-get update -q && apt-get install -qy --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["prometheus"]
