"""What a version looks like on the model topic, and how versions follow one another."""
