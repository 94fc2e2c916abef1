"""Resources: JSON documents of any type, each with an owner and a version."""
