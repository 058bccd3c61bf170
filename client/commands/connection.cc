#include "client/commands/connection.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace memgate {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string OptionOr(const Arguments& arguments, absl::string_view name, std::string fallback) {
  return arguments.Has(name) ? arguments.Text(name) : std::move(fallback);
}

absl::StatusOr<std::string> ReadApiKey(const Arguments& arguments) {
  if (!arguments.Has("api-key-file")) {
    return std::string(absl::StripAsciiWhitespace(Environment("MEMGATE_API_KEY")));
  }
  const std::string path = arguments.Text("api-key-file");
  std::ifstream in(path);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf()))
    return absl::NotFoundError(absl::StrCat("cannot read --api-key-file ", path));
  const std::string key(absl::StripAsciiWhitespace(text.str()));
  if (key.empty() || key.find_first_of(" \t\r\n") != key.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("--api-key-file ", path, " must hold one key and nothing else"));
  }
  return key;
}

}  // namespace

const std::vector<OptionSpec>& CommonOptions() {
  static const auto* const kOptions = new std::vector<OptionSpec>{
      {"address", "HOST:PORT",
       absl::StrCat("server, or unix:PATH (MEMGATE_ADDRESS; default ", kDefaultAddress, ")")},
      {"api-key-file", "FILE", "file with the API key (or the key itself in MEMGATE_API_KEY)"},
      {"allow-plaintext-key", "", "send the key without TLS, on a network you trust"},
      {"tls", "", "use TLS with the system's certificate authorities"},
      {"tls-ca", "FILE", "use TLS with these certificate authorities (MEMGATE_TLS_CA)"},
      {"tls-cert", "FILE", "client certificate, for servers that ask for one"},
      {"tls-key", "FILE", "key of the client certificate"},
      {"tls-server-name", "NAME", "name to expect in the server's certificate"},
      {"timeout", "TIME", "give up after this time, e.g. 30s (default: never)"},
      {"json", "", "print JSON: one object per result"},
      {"help", "", "show the command's help"},
  };
  return *kOptions;
}

absl::StatusOr<std::unique_ptr<Client>> Connect(const Arguments& arguments) {
  const std::string from_environment = Environment("MEMGATE_ADDRESS");
  ClientOptions options;
  options.address =
      OptionOr(arguments, "address", from_environment.empty() ? kDefaultAddress : from_environment);
  options.tls = arguments.Has("tls");
  options.ca_file = OptionOr(arguments, "tls-ca", Environment("MEMGATE_TLS_CA"));
  options.cert_file = arguments.Text("tls-cert");
  options.key_file = arguments.Text("tls-key");
  options.tls_server_name = arguments.Text("tls-server-name");
  options.allow_plaintext_key = arguments.Has("allow-plaintext-key");
  OptionReader read(arguments);
  read.Time("timeout", [&](absl::Duration timeout) { options.timeout = timeout; });
  if (!read.status().ok()) return read.status();
  absl::StatusOr<std::string> api_key = ReadApiKey(arguments);
  if (!api_key.ok()) return api_key.status();
  options.api_key = *std::move(api_key);
  return Client::Connect(options);
}

}  // namespace memgate
