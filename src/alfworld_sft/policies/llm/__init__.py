"""Language models as policies: at a server, or in this process."""
