"""One page that shows what runs measured, out of their logs."""
