"""The cards of the recorded data and of the model, written from the files themselves, so that they cannot disagree."""
