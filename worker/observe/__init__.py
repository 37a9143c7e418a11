"""What a person or Prometheus can see of a running worker."""
