"""Objectives, and the recording rules and alerts that follow from them."""
