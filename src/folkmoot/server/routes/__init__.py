"""The API's routes, one file a resource."""

from folkmoot.server.deferring import defer_fields

defer_fields()  # before the first route is made
