"""The experiments as Kubernetes knows them: Chaos Mesh, Istio, Litmus. `python -m chaos.render` writes the files."""
