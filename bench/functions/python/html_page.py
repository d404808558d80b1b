"""Renders a web page of records with a template, as the paper's `html` does."""

import json

import jinja2

import platform_exit

PAGE = """<!DOCTYPE html>
<html><head><title>{{ title }}</title></head><body>
{% for module, items in modules %}
<h2>{{ module | e }} ({{ items | length }})</h2>
<table>
{% for item in items %}
<tr class="{{ loop.cycle('odd', 'even') }}"><td>{{ loop.index }}</td>
<td><a href="/{{ item.module }}/{{ item.name }}">{{ item.name | e }}</a></td>
<td>{{ item.arguments | join(', ') | e }}</td><td>{{ item.doc | truncate(60) | e }}</td></tr>
{% endfor %}
</table>
{% endfor %}
</body></html>
"""


def main():
    with open("data/records.json", encoding="utf-8") as file:
        records = json.load(file)[:1200]
    modules = {}
    for record in records:
        modules.setdefault(record["module"], []).append(record)
    page = jinja2.Template(PAGE).render(title="Functions", modules=sorted(modules.items()))
    print(len(page), page.count("<tr"))


platform_exit.run(main)
