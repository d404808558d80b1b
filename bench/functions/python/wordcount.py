"""Map and reduce: counts words in parts of a text, merges the counts, ranks them."""

from collections import Counter

import platform_exit


def count(part):
    words = Counter()
    for line in part:
        for word in line.split():
            word = word.strip(".,;:()[]'\"`").lower()
            if word:
                words[word] += 1
    return words


def main():
    with open("data/text.txt", encoding="utf-8") as file:
        lines = file.readlines()
    parts = [count(lines[i::8]) for i in range(8)]
    total = Counter()
    for part in parts:
        total.update(part)
    ranked = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    print(len(ranked), ranked[:5])


platform_exit.run(main)
