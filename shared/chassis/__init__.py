"""What every service is built from: settings, database, application frame, health, errors, authentication, shedding."""
