"""Manifests for Kubernetes, and what makes and checks them here."""
