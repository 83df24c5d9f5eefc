#include "nn/io/json.h"

#include <nlohmann/json.hpp>

#include "tensor/check.h"

namespace fission {

nlohmann::ordered_json parse_json(const std::string& json, const std::string& where,
                                  const std::string& expected) {
  constexpr int deepest = 32;
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < json.size(); i++) {
    if (json[i] == '\0')  // the parser takes it for the end
      user_error(where, ": byte ", i, " is 0, expected ", expected);
    if (quoted && json[i] == '\\') i++;
    else if (json[i] == '"') quoted = !quoted;
    else if (!quoted && (json[i] == '[' || json[i] == '{')) depth++;
    else if (!quoted && (json[i] == ']' || json[i] == '}')) depth--;
    if (depth > deepest)
      user_error(where, ": lists within each other, more than ", deepest, " deep at byte ", i,
                 ", expected ", expected);
  }
  try {
    return nlohmann::ordered_json::parse(json);
  } catch (const nlohmann::json::exception& e) {
    std::string why = e.what();  // "[json.exception.parse_error.101] parse error at line 1, …"
    if (const std::size_t end = why.find("] "); why[0] == '[' && end != std::string::npos)
      why.erase(0, end + 2);
    user_error(where, ": no JSON: ", why, ", expected ", expected);
  }
}

std::string json_text(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace fission
