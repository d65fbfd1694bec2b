"""The API's routes, one file a resource."""
