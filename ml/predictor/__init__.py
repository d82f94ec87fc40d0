"""The sidecar: asks Prometheus every minute, and says which service is likely to fail in ten to thirty, and why."""
