"""How values travel between functions: one to one, scatter, gather, broadcast.

References are plain text; send them as parameters of invocations. Each helper takes a Client as
`client=`, by default the module's own.
"""

import f3


def one_to_one(value, **options):
    """A reference for exactly one receiver."""
    return _put(value, 1, options)


def scatter(values, **options):
    """A reference for each value, each for one receiver."""
    return [_put(value, 1, dict(options)) for value in values]


def scatter_slices(value, parts, **options):
    """Splits one bytes-like value into `parts` nearly equal pieces and scatters them."""
    memory = memoryview(value).cast("B")
    bounds = [len(memory) * i // parts for i in range(parts + 1)]
    return scatter([memory[a:b] for a, b in zip(bounds, bounds[1:])], **options)


def gather(references, timeout=10, client=None):
    """The views of all, in order, fetched at once."""
    return (client or f3.default_client()).get_many(list(references), timeout)


def broadcast(value, receivers, **options):
    """One reference that so many receivers can get (f3.UNLIMITED: any number until it expires)."""
    return _put(value, receivers, options)


def _put(value, retrievals, options):
    client = options.pop("client", None) or f3.default_client()
    return client.put(value, retrievals=retrievals, **options)
