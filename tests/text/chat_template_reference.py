#!/usr/bin/env python3
"""Renders chat templates with Jinja itself, as Hugging Face libraries set it up.

Reads a list of cases as JSON from standard input, each {"template", "messages", "tools", "arguments", "options"}, and
writes a list of {"text"} or {"error"} to standard output. Tools, the arguments of calls ("arguments_json") and those of
the template are JSON as text, so that their members keep their order. chat_template_reference_test.cc compares them with the engine's own.
"""

import datetime
import functools
import json
import sys

from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock
from jinja2.sandbox import ImmutableSandboxedEnvironment


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class Generation(Extension):
    """{% generation %}...{% endgeneration %}, around what the assistant said: its body, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("body_of"), [], [], body, lineno=line)

    @staticmethod
    def body_of(caller):
        return caller()


def raise_exception(message):
    raise TemplateError(message)


@functools.lru_cache(maxsize=None)
def compile_template(source, now_unix_seconds):
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    if now_unix_seconds is not None:
        now = datetime.datetime.fromtimestamp(now_unix_seconds, datetime.timezone.utc)
        environment.globals["strftime_now"] = now.strftime
    return environment.from_string(source)


def render(case):
    options = case["options"]
    now_unix_seconds = options.pop("now_unix_seconds", None)
    try:
        for message in case["messages"]:
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = json.loads(call["function"].pop("arguments_json"))
        tools = [json.loads(tool) for tool in case["tools"]] or None
        arguments = {name: json.loads(text) for name, text in case["arguments"].items()}
        template = compile_template(case["template"], now_unix_seconds)
        variables = {"documents": None, **arguments, **options}
        return {"text": template.render(messages=case["messages"], tools=tools, **variables)}
    except Exception as error:  # any error of a template is an answer
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    json.dump([render(case) for case in json.load(sys.stdin)], sys.stdout)
