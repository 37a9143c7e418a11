"""The commands, a module each; whatever is heavy is imported inside them, so that --help is instant."""
