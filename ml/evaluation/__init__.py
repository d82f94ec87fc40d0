"""How good a prediction is: against the base rate, against simple rules, and for each kind of fault by itself."""
