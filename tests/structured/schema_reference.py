#!/usr/bin/env python3
"""Validates documents with jsonschema.

Reads a list of {"schema", "documents": [text, ...]} as JSON from standard input and writes a list of lists to standard
output: true or false per document, null where it is no JSON. json_schema_test.cc compares them with the automata.
"""

import json
import sys

import jsonschema


def verdict(validator, text):
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return validator.is_valid(document)


def verdicts(case):
    schema = json.loads(case["schema"])
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    validator = kind(schema)
    return [verdict(validator, text) for text in case["documents"]]


if __name__ == "__main__":
    json.dump([verdicts(case) for case in json.load(sys.stdin)], sys.stdout)
