"""What is a pattern worth? The same seeded fault and load against a platform with more and more of its patterns."""
