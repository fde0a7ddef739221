"""What the package shows on the Hub."""
