"""Language models as policies: on a server, or in this process."""
