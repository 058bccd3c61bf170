// The chat template interpreter against Jinja (python3-jinja2): published templates where the data folder is
// checked out beside the repository, and many small ones always.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "engine/text/chat_template.h"

namespace memgate {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr int64_t kNow = 1753600000;  // 27 July 2025

struct Case {
  std::string name;
  std::string source;
  std::vector<ChatTurn> messages;
  ChatRenderOptions options;
};

// A message as Hugging Face's libraries hand it to a template.
ordered_json MessageJson(const ChatTurn& turn) {
  ordered_json message = {{"role", turn.role}, {"content", turn.content}};
  for (const ChatToolCall& call : turn.tool_calls) {
    ordered_json entry = ordered_json::object();
    if (!call.id.empty()) entry["id"] = call.id;
    entry["type"] = "function";
    entry["function"] = {{"name", call.name}, {"arguments_json", call.arguments}};
    message["tool_calls"].push_back(entry);
  }
  if (!turn.name.empty()) message["name"] = turn.name;
  if (!turn.tool_call_id.empty()) message["tool_call_id"] = turn.tool_call_id;
  if (!turn.reasoning_content.empty()) message["reasoning_content"] = turn.reasoning_content;
  return message;
}

std::vector<std::vector<ChatTurn>> Conversations() {
  return {
      {},
      {{"user", "Hello"}},
      {{"user", "  spaces and a line break\n"}},
      {{"system", "Be brief."}, {"user", "How high is \"K2\"?"}},
      {{"system", ""}, {"user", "an empty system message"}},
      {{"system", "Use /no_think here."},
       {"user", "Größe? 你好 🙂"},
       {"assistant", "\n\n2 m\n"},
       {"user", "a\tb"}},
      {{"user", "1"}, {"assistant", "<think>\nhm, {{ x }}\n</think>\n\ntwo"}, {"user", "3"}},
      {{"user", "1"}, {"assistant", "<think>a</think>b</think>c"}},
      {{"user", "<tool_response>x</tool_response>"}, {"assistant", "y"}, {"user", "z"}},
      {{"user", "twice"}, {"user", "the same role"}},
      {{"assistant", "first"}, {"user", "second"}},
      {{"user", "q"}, {"tool", "{\"t\": 1}"}, {"assistant", "r"}},
      // Tools are called, one and two at a time, with arguments as an object or as a string; ids of nine
      // characters, as Mistral's template asks for.
      {{"user", "How warm is K2?"},
       {"assistant",
        "",
        {{"call00001", "read", R"({"device": "K2", "unit": "\u00b0C", "n": [1, 2.5, null, true]})"}}},
       {"tool", "{\"value\": 61}", {}, "read", "call00001"}},
      {{"system", "Be brief."},
       {"user", "And K3, P1?"},
       {"assistant",
        "<think>\ntwo calls\n</think>\n\nI look.",
        {{"", "read", R"({"device": "K3"})"}, {"", "read", R"({})"}}},
       {"tool", "62"},
       {"tool", "12"},
       {"assistant", "62 and 12"},
       {"user", "Thanks"}},
      {{"user", "q"},
       {"assistant", "", {{"call00002", "f", R"("{\"x\": 1}")"}}},
       {"tool", "r", {}, "", "call00002"},
       {"assistant", "", {{"call00003", "f", R"({"x": "\"<&>\n"})"}}},
       {"tool", "s", {}, "f", "call00003"},
       {"assistant", "done"}},
      // Reasoning apart from its answer.
      {{"user", "1"}, {"assistant", "two", {}, "", "", "\nhm,\n<b>\n"}, {"user", "3"}},
      {{"user", "1"},
       {"assistant", "", {{"call00004", "f", R"({"x": 1})"}}, "", "", "a call"},
       {"tool", "r", {}, "f", "call00004"},
       {"assistant", "<think>x</think>y", {}, "", "", "z"}},
  };
}

// A list of none, and two functions as their descriptions are published; the order of members is that of the
// text.
std::vector<std::vector<std::string>> Tools() {
  return {
      {},
      {R"({"type": "function", "function": {"name": "read", "description": "Reads a device's temperature.",
               "parameters": {"type": "object", "properties": {"device": {"type": "string", "description": "e.g. \"K2\""},
               "unit": {"type": "string", "enum": ["\u00b0C", "K"]}}, "required": ["device"]}}})",
       R"({"type": "function", "function": {"name": "f", "description": "", "parameters": {"type": "object",
               "properties": {"x": {"type": ["number", "null"], "default": 1e-7}, "a": {"type": "integer"}}},
               "return": {"type": "string", "description": "what it found"}}})"}};
}

// What published templates read beside the messages, and what they do not.
std::vector<std::map<std::string, std::string>> Arguments() {
  return {{{"enable_thinking", "false"},
           {"thinking", "true"},
           {"keep_past_thinking", "true"},
           {"tools_in_user_message", "false"},
           {"date_string", R"("1 May 2025")"},
           {"controls", R"({"length": "short", "originality": "abstractive"})"},
           {"documents", R"([{"doc_id": 1, "title": "K2", "text": "A fan.\nIt is \u00fcblich."}])"}},
          {{"enable_thinking", "true"},
           {"thinking", "false"},
           {"custom_instructions", R"(" Be brief. ")"},
           {"builtin_tools", R"(["code_interpreter", "f"])"},
           {"documents", R"([{"doc_id": "a", "text": "x"}, {"doc_id": "b", "text": "y"}])"},
           {"no_template_reads_this", R"({"a": [1, 2.5, null]})"}}};
}

std::string Temporary(const std::string& name) {
  return (std::filesystem::temp_directory_path() / (name + std::to_string(getpid()))).string();
}

// What Jinja makes of the cases: {"text"} or {"error"} each.
json RenderWithJinja(const std::vector<Case>& cases) {
  ordered_json input = ordered_json::array();
  for (const Case& c : cases) {
    ordered_json messages = ordered_json::array();
    for (const ChatTurn& turn : c.messages) messages.push_back(MessageJson(turn));
    ordered_json options = {{"add_generation_prompt", c.options.add_generation_prompt},
                            {"bos_token", c.options.bos_token},
                            {"eos_token", c.options.eos_token}};
    if (c.options.now_unix_seconds.has_value()) options["now_unix_seconds"] = *c.options.now_unix_seconds;
    input.push_back({{"template", c.source},
                     {"messages", messages},
                     {"tools", c.options.variables.tools},
                     {"arguments", c.options.variables.arguments},
                     {"options", options}});
  }
  const std::string in = Temporary("memgate_templates_in");
  const std::string out = Temporary("memgate_templates_out");
  std::ofstream(in) << input.dump();
  const std::string command =
      std::string(MEMGATE_PYTHON " " MEMGATE_SOURCE_DIR "/tests/text/chat_template_reference.py < ") + in +
      " > " + out;
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::ifstream file(out);
  json results = json::parse(file, nullptr, false);
  std::filesystem::remove(in);
  std::filesystem::remove(out);
  return results;
}

void ExpectSameAsJinja(const std::vector<Case>& cases) {
  const json expected = RenderWithJinja(cases);
  ASSERT_EQ(expected.size(), cases.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    const auto compiled = ChatTemplate::Compile(c.source);
    const absl::StatusOr<std::string> text = compiled.ok() ? (*compiled)->Render(c.messages, c.options)
                                                           : absl::StatusOr<std::string>(compiled.status());
    if (expected[i].contains("error")) {
      EXPECT_FALSE(text.ok()) << c.name << ", case " << i << ": " << *text << "\nbut Jinja says "
                              << expected[i]["error"];
    } else {
      ASSERT_TRUE(text.ok()) << c.name << ", case " << i << ": " << text.status() << "\nbut Jinja renders\n"
                             << expected[i]["text"];
      EXPECT_EQ(*text, expected[i]["text"].get<std::string>()) << c.name << ", case " << i;
    }
  }
}

// All conversations, with and without tools and arguments.
std::vector<Case> CasesOf(const std::filesystem::path& path) {
  std::ostringstream source;
  source << std::ifstream(path).rdbuf();
  std::vector<Case> cases;
  const auto add = [&](const std::vector<ChatTurn>& messages, std::optional<int64_t> now,
                       const ChatVariables& variables) {
    for (const bool prompt : {true, false}) {
      cases.push_back({path.filename(), source.str(), messages, {prompt, "<s>", "</s>", now, variables}});
    }
  };
  for (const auto& messages : Conversations()) {
    for (const auto& tools : Tools()) {
      add(messages, kNow, {tools});
      add(messages, std::nullopt, {tools});
      for (const auto& arguments : Arguments()) add(messages, kNow, {tools, arguments});
    }
  }
  return cases;
}

// All of the folder but those in `others` (name -> reason). Returns how many they are.
int ExpectTemplatesRenderAsInJinja(const std::filesystem::path& folder,
                                   const std::map<std::string, std::string>& others = {}) {
  int templates = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".jinja") continue;
    if (const auto other = others.find(entry.path().filename()); other != others.end()) {
      std::cout << other->first << " is left out: it " << other->second << "\n";
      continue;
    }
    ExpectSameAsJinja(CasesOf(entry.path()));
    ++templates;
  }
  return templates;
}

TEST(ChatTemplateReferenceTest, PublishedTemplatesRenderAsInJinja) {
  const std::string folder = MEMGATE_SOURCE_DIR "/../shared/data/chat-templates";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no such folder: " << folder;
  EXPECT_GE(ExpectTemplatesRenderAsInJinja(folder), 12);
}

TEST(ChatTemplateReferenceTest, TemplatesThatLlamaCppIsTestedWithRenderAsInJinja) {
  const char* sources = std::getenv("MEMGATE_LLAMA_CPP_SOURCES");
  if (sources == nullptr) GTEST_SKIP() << "MEMGATE_LLAMA_CPP_SOURCES does not name llama.cpp's folder";
  const std::map<std::string, std::string> others = {
      {"ByteDance-Seed-OSS.jinja", "has numbers as keys of a dict"},
      {"llama-cpp-deepseek-r1.jinja", "writes what map makes with tojson, which Jinja refuses"},
      {"meetkai-functionary-medium-v3.1.jinja",
       "makes Jinja escape as HTML what is added to a text behind safe"}};
  const auto folder = std::filesystem::path(sources) / "models/templates";
  EXPECT_GE(ExpectTemplatesRenderAsInJinja(folder, others), 20);
}

TEST(ChatTemplateReferenceTest, SmallTemplatesRenderAsInJinja) {
  const std::vector<std::string> sources = {
      // white space
      "a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
      "a \n {%- if true -%} \n b \n {%- endif -%} \n c",
      "x {%+ if true +%}\n y{% endif %}",
      "  {# note #}\n  {{ 1 }}\n",
      "a\r\nb\r{% if 1 %}\r\nc{% endif %}\n\n",
      "{% raw %}{{ x }}{% endraw %}!",
      "{%- raw -%}  {{ x }}  {%- endraw -%} !",
      "\t{% set x = 1 %}\t{{ x }}",
      "{{- 'a' -}}  b  {{- 'c' }}",
      "\n{{ 1 }}\n\n",
      "{#- a -#}  b",
      // values as text
      "{{ none }} {{ true }} {{ False }} {{ 1 }} {{ 1.0 }} {{ 1e20 }} {{ 1.5e-7 }} {{ 0.1 + 0.2 }}",
      "{{ [1, 'a', none, [true], {'k': 'v'}] }}",
      "{{ ['it\\'s', 'q\"q', '\\n', 'é', '\\x07'] }}",
      "{{ {} }}{{ [] }}",
      "{{ missing }}|{{ missing ~ 'x' }}",
      // arithmetic
      "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** "
      "2 }}",
      "{{ 7.5 // 2 }} {{ -7.5 % 2 }}",
      "{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ 'ab' * 3 }} {{ [1] * 2 + [3] }} {{ true + 1 }}",
      "{{ 1 ~ 2 + 3 }}",
      "{{ 'a' + 1 }}",
      "{{ 1 / 0 }}",
      "{{ missing + 1 }}",
      // comparison and logic
      "{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 == 1.0 }} {{ '1' == 1 }} "
      "{{ true == 1 }}",
      "{{ 1 < 'a' }}",
      "{{ 'a' in 'cat' }} {{ 2 in [1, 2] }} {{ 'k' in {'k': 1} }} {{ 'x' not in 'cat' }} {{ 'x' in missing "
      "}}",
      "{{ 1 in 'a1' }}",
      "{{ 0 or 'x' }} {{ 1 and 'y' }} {{ not 0 }} {{ not not '' }} {{ '' or none or [] }}",
      "{{ 'a' if true }}{{ 'b' if false }}{{ 'c' if 0 else 'd' }}",
      "{{ 1 if 0 else 2 if 0 else 3 }}",
      "{{ not 1 == 2 }}",
      // sequences
      "{{ 'héllo'[1] }} {{ 'héllo'[-1] }} {{ 'héllo'[1:3] }} {{ 'héllo'[::-1] }} {{ 'héllo'[10:] }} {{ "
      "'héllo'[-3:-1] }}",
      "{{ [1,2,3,4][::2] }} {{ [1,2,3,4][3:0:-1] }} {{ [1,2,3][5] }} {{ [1,2][-3] }}",
      "{{ 'abc'[::-99999999999] }} {{ 'abc'[::99999999999] }}",
      "{{ [1][::0] }}",
      "{{ range(5) | list }} {{ range(2, 8, 3) | list }} {{ range(3, 0, -1) | list }}",
      "{{ messages[0].role }} {{ messages[0]['content'] }} {{ messages[-1].missing }}",
      "{{ messages.0.role }}",
      "{{ {'a': 1, 'b': {'c': 2}}.b.c }} {{ {'items': 5}['items'] }}",
      "{{ ('a', 'b')[1] }} {{ (1) }}",
      // statements
      "{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ "
      "loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
      "{% for x in [] %}a{% else %}none{% endfor %}",
      "{% for x in [1,2,3,4] if x is even %}{{ x }}{{ loop.index }}{% endfor %}",
      "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }}{{ ',' if not loop.last }}{% endfor %}",
      "{% for c in 'aé' %}[{{ c }}]{% endfor %}",
      "{% for k in {'x': 1} %}{{ k }}{% endfor %}",
      "{% for x in none %}{% endfor %}",
      "{% for x in 5 %}{% endfor %}",
      "{% for a, b in [[1, 2], [3, 4]] %}{{ a + b }} {% endfor %}",
      "{% for a, b in [[1]] %}{% endfor %}",
      "{% for x in range(9) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif "
      "%}{{ x }}{% endfor %}",
      "{% for x in [1, 2] %}{% for y in [3, 4] %}{{ loop.depth }}{{ x * y }} {% endfor %}{% endfor %}",
      "{% for x in [1,2,3] %}{{ loop.cycle('odd', 'even') }} {% endfor %}",
      "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
      "{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
      "{% if true %}{% set x = 5 %}{% endif %}{{ x }}",
      "{% set x %}a {{ 1 + 1 }}{% endset %}[{{ x }}]{{ x | length }}",
      "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
      "{% set d = {'a': 1} %}{% set d.a = 2 %}",
      "{% macro f(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }};{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(1, "
      "c='y') }}{{ f() }}",
      "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
      "{% macro f() %}{{ g }}{% endmacro %}{% set g = 4 %}{{ f() }}",
      "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}",
      "{% macro f(a) %}{% endmacro %}{{ f(z=2) }}",
      "{% if 0 %}a{% elif 1 %}b{% else %}c{% endif %}{% if [] %}a{% elif {} %}b{% else %}c{% endif %}",
      "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}",
      // filters
      "{{ ' a ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ 'aBc' | upper }}{{ 'aBc' | lower }}{{ 'hELLO wORLD' | "
      "capitalize }}{{ \"don't stop-now\" | title }}",
      "{{ 'straße' | upper }} {{ 'ÉÀ' | lower }}",
      "{{ [1, 2] | length }} {{ 'é' | length }} {{ missing | length }} {{ {'a': 1} | count }}",
      "{{ 5 | length }}",
      "{{ ['a', 'b'] | join(', ') }} {{ [1, none] | join }} {{ messages | join('/', attribute='role') }}",
      "{{ messages | map(attribute='content') | list }} {{ ['a'] | map('upper') | join }} {{ [{}] | "
      "map(attribute='x', default='d') | list }}",
      "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | "
      "rejectattr('role', 'eq', 'user') | list | length }} {{ [0, 1, ''] | select | list }} {{ [1, 2, 3] | "
      "reject('odd') | list }}",
      "{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ [1, 2] | sort(reverse=true) }} {{ [1, 'a'] | "
      "sort }}",
      "{{ [{'n': 2}, {'n': 1}] | sort(attribute='n') }} {{ [1, 2, 1] | unique | list }} {{ [1, 2] | reverse "
      "| list }} {{ 'abc' | reverse }}",
      "{{ none | map('upper') | list }} {{ none | selectattr('a') | list }} {{ 0 | reject('odd') | list }}",
      "{{ 5 | select | list }}",
      "{% if 0 %}{{ 1 | from_json }}{{ 1 is nonsense }}{% else %}{{ 2 }}{% endif %}",
      "{% if 1 %}{{ 1 | from_json }}{% endif %}",
      "{% if 1 is nonsense %}{% endif %}",
      "{{ 1 | from_json }}",
      "{% generation %}{% set x = 1 %}a{{ x }}\n{% endgeneration %}\n{{ x }}",
      "{{ [1, 2] | first }} {{ [1, 2] | last }} {{ [] | first }} {{ 'ab' | first }} {{ [1, 2, 3] | sum }} {{ "
      "[4, 2] | min }} {{ [4, 2] | max }}",
      "{{ missing | default('d') }} {{ '' | default('d') }} {{ '' | default('d', true) }} {{ none | d('x') "
      "}}",
      "{{ 'aXbX' | replace('X', 'y') }} {{ 'aXbX' | replace('X', 'y', 1) }} {{ 'ab' | replace('', '-') }} {{ "
      "12 | replace(1, 3) }}",
      "{{ '12' | int + 1 }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ 3.9 | int }} {{ '2.5' | float }} {{ -3 | "
      "abs }} {{ 2.5 | round }} {{ 2.25 | round(1) }} {{ 1.2 | round(method='ceil') }}",
      "{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}{% for k, v in {'a': 1} | "
      "items %}{{ k }}{{ v }}{% endfor %} {{ 5 | string + 'x' }} {{ 'a\\nb' | "
      "indent }} {{ 'a\\n\\nb' | indent(2, true) }}",
      "{{ 'a' | safe }}{{ 'abc' | list }}",
      "{{ {'a': [1, 2.5, none, true, 'é\"\\n'], 'b': {}} | tojson }} {{ [] | tojson }} {{ [1, {'x': 2}] | "
      "tojson(indent=2) }}",
      "{{ {'b': 1, 'a': 'é'} | tojson(ensure_ascii=true, sort_keys=true) }} {{ [1, 2] | "
      "tojson(separators=(',', ':')) }}",
      "{{ missing | tojson }}",
      "{{ '<&>' | tojson }}",
      // tests
      "{{ x is defined }} {{ messages is defined }} {{ x is undefined }} {{ none is none }} {{ 'a' is string "
      "}} {{ 1 is number }} {{ true is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} "
      "{{ true is boolean }}",
      "{{ {} is mapping }} {{ [] is mapping }} {{ [] is iterable }} {{ 'a' is iterable }} {{ 5 is iterable "
      "}} {{ [] is sequence }} {{ {} is sequence }} {{ range is callable }}",
      "{{ 4 is even }} {{ 4 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 'a' is lower }} "
      "{{ 'a' is upper }} {{ 1 is eq 1 }} {{ 1 is ne 1 }} {{ 2 is gt 1 }} {{ 1 is in [1] }} {{ true is true "
      "}} {{ 1 is true }} {{ none is sameas none }} {{ 'a' is not string }}",
      // methods
      "{{ ' a b '.strip() }}|{{ 'xax'.lstrip('x') }}|{{ 'xax'.rstrip('x') }}|{{ 'a,b,,c'.split(',') }}{{ ' a "
      " b '.split() }}{{ 'a b c'.split(' ', 1) }}{{ 'a b c'.rsplit(' ', 1) }}{{ 'a b c'.split(none, 1) }}",
      "{{ 'abc'.startswith('a') }}{{ 'abc'.endswith(('x', 'c')) }}{{ 'abc'.replace('b', 'd') }}{{ "
      "'aXa'.replace('a', '', 1) }}{{ 'ab'.upper() }}{{ \"don't\".title() }}{{ 'aBC'.capitalize() }}",
      "{{ 'héh'.find('h', ) }}{{ 'abc'.find('z') }}{{ 'aaa'.count('aa') }}{{ ','.join(['a', 'b']) }}{{ "
      "'12'.isdigit() }}{{ 'a1'.isalpha() }}{{ 'a\\nb\\r\\nc'.splitlines() }}{{ 'abc'.removeprefix('a') }}",
      "{{ '<{}>{{}}{0}'.format(1) }}",
      "{{ '<{}>{{}}{}'.format(none, [1.5]) }}{{ '{1}{0}{1}'.format('a', 'b') }}{{ '{x}-{}'.format(1, x='é') "
      "}}{{ ''.format() }}{{ 'é'.format(1, 2) }}",
      "{{ '{}'.format() }}",
      "{{ '{'.format(1) }}",
      "{{ 'a}'.format(1) }}",
      "{{ '{y}'.format(x=1) }}",
      "{{ {'a': 1}.get('a') }}{{ {'a': 1}.get('b') }}{{ {'a': 1}.get('b', 2) }}{{ {'a': 1}.keys() | list "
      "}}{{ {'a': 1}.values() | list }}",
      "{{ 'a'.nothing }}|",
      "{{ 'a'.nothing() }}",
      "{{ missing.x }}",
      "{{ none.x }}|",
      "{{ messages[0].x.y }}",
      // functions
      "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %H:%M:%S') }}",
      "{{ dict(a=1).a }}",
      "{{ raise_exception('no') }}",
      "{{ range(3)[1] }}",
      "{{ namespace(a=1).a }}",
      "{{ 'a' 'b' }}{{ 'a\\tb\\u00e9\\x41' }}{{ '\\d' }}",
      "{{ 1_000 }}{{ 1.5 }}",
      "{{ [1, 2,] }}{{ {'a': 1,} }}",
      "{{ {'a': {'b': 1}} }}",
      "{{ }}",
      "{% if %}x{% endif %}",
      "{% for %}{% endfor %}",
      "{{ 'a",
      "{% if 1 %}",
      "{% endif %}",
      "{{ (1 }}",
      "{% set x %}",
      "{# open",
  };
  std::vector<Case> cases;
  for (const std::string& source : sources) {
    cases.push_back({source, source, {{"system", "s"}, {"user", "u"}}, {true, "<s>", "</s>", kNow}});
  }
  ExpectSameAsJinja(cases);
}

TEST(ChatTemplateReferenceTest, ArgumentsAreWhatJinjaFinds) {
  const std::vector<std::string> sources = {
      "{{ flag }} {{ flag is true }} {{ not flag }}",
      "{{ number + 1 }} {{ real / 2 }} {{ text | upper }} {{ list[1].a }} {{ list | tojson }}",
      "{{ nothing is none }} {{ nothing is defined }} {{ missing is defined }}",
      "{{ documents }} {{ documents[0].text }}",
      "{{ messages | tojson }}",
      "{{ range }} {{ range is callable }}",  // hides the function
      "{{ range(3) | list }}",
      "{{ dict(a=1) }}",
      "{% set flag = false %}{{ flag }}",
      "{% for flag in [1] %}{{ flag }}{% endfor %}{{ flag }}",
      "{% macro f() %}{{ number }}{% endmacro %}{{ f() }}",
  };
  const std::map<std::string, std::string> arguments = {{"flag", "true"},
                                                        {"number", "41"},
                                                        {"real", "2.5e3"},
                                                        {"text", R"("\u00e9\n")"},
                                                        {"list", R"([1, {"b": 2, "a": [true]}])"},
                                                        {"nothing", "null"},
                                                        {"documents", R"([{"text": "d"}])"},
                                                        {"range", "[1, 2]"}};
  std::vector<Case> cases;
  for (const std::string& source : sources) {
    cases.push_back({source,
                     source,
                     {{"user", "u"}, {"assistant", "a", {}, "", "", "r"}},
                     {true, "<s>", "</s>", kNow, {{}, arguments}}});
  }
  ExpectSameAsJinja(cases);
}

}  // namespace
}  // namespace memgate
