"""A file becomes a `Clip`, in a process of its own that can be stopped."""
