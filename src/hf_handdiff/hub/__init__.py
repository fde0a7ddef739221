"""To and from the Hub: pushing, cards, and what is said where it fails."""
