// JSON as it stands in a file. A library that walks a value calls itself once a level: text that is
// nested 200,000 deep would end the program. So the depth is looked at first.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "tensor/check.h"

namespace fission {

// UserError `where: what was found, expected …`
inline nlohmann::ordered_json parse_json(const std::string& json, const std::string& where,
                                         const std::string& expected) {
  constexpr int deepest = 32;
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < json.size(); i++) {
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
    user_error(where, ": ", e.what(), ", expected ", expected);
  }
}

}  // namespace fission
