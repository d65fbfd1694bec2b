"""The wire format's requests and responses, one file a resource. Shapes are those of the official clients."""
