"""How good the predictions were."""
