"""What the predictor sees: signals asked of Prometheus, minute by minute, and the windows over them."""
