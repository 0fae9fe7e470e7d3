"""RARERA."""
