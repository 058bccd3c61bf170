// Schemas with documents, shared by the tests of the automaton and of what is sampled through it.
#ifndef MEMGATE_TESTS_STRUCTURED_SCHEMA_CASES_H_
#define MEMGATE_TESTS_STRUCTURED_SCHEMA_CASES_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace memgate {

struct SchemaCase {
  std::string name;
  std::string schema;
  std::vector<std::string> accepted;
  std::vector<std::string> invalid;  // JSON that does not satisfy the schema
  std::vector<std::string>
      unwritten;  // satisfies the schema, but is not among the texts that are chosen from
};

const std::vector<SchemaCase>& SchemaCases();

struct SchemaDocuments {
  std::string schema;
  std::vector<std::string> documents;
};

// What the Python package jsonschema says of each document of each schema: true, false, or null if it is no
// JSON (schema_reference.py). A test failure and nothing if it cannot be run.
std::vector<std::vector<nlohmann::json>> ReferenceVerdicts(const std::vector<SchemaDocuments>& schemas);

}  // namespace memgate

#endif  // MEMGATE_TESTS_STRUCTURED_SCHEMA_CASES_H_
