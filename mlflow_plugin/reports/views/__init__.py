"""What people are shown, as plain data."""
