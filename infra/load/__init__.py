"""Sends orders as customers would: at their own pace, whether or not the platform keeps up."""
