"""Fit unitary operators on encoded states and measure them beside their controls."""
