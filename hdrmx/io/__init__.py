"""The only modules that open files or sockets."""
