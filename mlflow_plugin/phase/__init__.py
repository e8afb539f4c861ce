"""What a phase's script holds."""
