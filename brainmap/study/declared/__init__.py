"""What a person declares: the configuration of a study, study files and presets."""
