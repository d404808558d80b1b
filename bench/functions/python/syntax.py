"""Checks a source file, as a code host does on each push: parses it and looks at its tree."""

import ast

import platform_exit


class Names(ast.NodeVisitor):

    def __init__(self):
        self.assigned, self.read, self.depth, self.deepest = {}, {}, 0, 0

    def generic_visit(self, node):
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        super().generic_visit(node)
        self.depth -= 1

    def visit_Name(self, node):
        where = self.assigned if isinstance(node.ctx, ast.Store) else self.read
        where.setdefault(node.id, []).append((node.lineno, node.col_offset))


def main():
    with open("data/module.py", encoding="utf-8") as file:
        source = file.read()
    tree = ast.parse(source)
    names = Names()
    names.visit(tree)
    unread = sorted(set(names.assigned) - set(names.read))
    print(len(source), len(names.read), len(unread), names.deepest, len(ast.unparse(tree)))


platform_exit.run(main)
