// JSON as it stands in a file. A library that walks a value calls itself once a level: text that is
// nested 200,000 deep would end the program. So the depth is looked at first.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace fission {

// UserError `where: what was found, expected …`
nlohmann::ordered_json parse_json(const std::string& json, const std::string& where,
                                  const std::string& expected);
// What is no UTF-8 (a file's name may be anything) as U+FFFD
std::string json_text(const nlohmann::ordered_json& json, int indent = -1);
}  // namespace fission
