"""Where does a report live?  Adapters of one shape, found by entry points; see ``registry``.

Nothing is imported here, so that knowing the trackers' names costs no client library.
"""
