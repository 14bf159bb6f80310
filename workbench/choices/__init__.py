"""What a person chooses by name: methods, metrics, budgets, image values, shapes of inputs."""
