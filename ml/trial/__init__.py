"""What is acting on warnings worth? The same fault with and without it, and no fault, on a platform of its own."""
