"""What the benches compare Holdfast with."""
