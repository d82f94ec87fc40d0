"""The whole platform in containers, by Docker Compose."""
