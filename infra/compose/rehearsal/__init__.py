"""The stack of containers, tried with a real engine where no image can be fetched."""
