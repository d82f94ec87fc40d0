"""The control room: keeps the traces of the platform and shows them. Imports no other service."""
