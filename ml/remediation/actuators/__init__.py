"""The only places that change anything: Kubernetes, and the stack on this machine."""
