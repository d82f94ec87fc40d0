"""What the platform is made of: every locked package, its licence, what is known against it; and no secret among it."""
