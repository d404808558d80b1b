"""{"path", "retrievals"}: makes an XDT reference to what a file has now."""

import f3


def main(args):
    with open(args["path"], "rb") as source:
        return {"reference": f3.put_fd(source, retrievals=args.get("retrievals", 1))}
