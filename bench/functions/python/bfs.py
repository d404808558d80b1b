"""Breadth-first search from several vertices of a graph."""

from collections import deque

import platform_exit


def load(path):
    graph = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            a, b = map(int, line.split())
            graph.setdefault(a, []).append(b)
            graph.setdefault(b, []).append(a)
    return graph


def search(graph, start):
    distance = {start: 0}
    queue = deque([(start, [start])])
    farthest = []
    while queue:
        vertex, path = queue.popleft()
        if len(path) > len(farthest):
            farthest = path
        for neighbour in graph[vertex]:
            if neighbour not in distance:
                distance[neighbour] = distance[vertex] + 1
                queue.append((neighbour, path[-8:] + [neighbour]))
    return len(distance), sum(distance.values()), len(farthest)


def main():
    graph = load("data/graph.txt")
    for start in sorted(graph)[::len(graph) // 4]:
        print(start, *search(graph, start))


platform_exit.run(main)
