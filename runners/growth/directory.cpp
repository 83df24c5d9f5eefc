#include "runners/growth/directory.h"

#include <sys/stat.h>

#include <filesystem>

#include "nn/io/json.h"
#include "nn/io/safetensors.h"
#include "runners/common/renamed.h"
#include "runners/growth/run_folder.h"

namespace fission {

using Json = nlohmann::ordered_json;

std::string differences(const Json& old, const Json& now, const std::array<const char*, 3>& words) {
  std::string text;
  int count = 0;
  Json all = old;
  all.update(now);
  for (const auto& item : all.items()) {
    auto value_in = [&](const Json& j) {
      return j.contains(item.key()) ? json_text(j.at(item.key())) : std::string("(not there)");
    };
    if (value_in(old) != value_in(now) && ++count <= 6)
      text += (text.empty() ? "" : ", ") +
              (item.key() == "energy-table"      ? "the hash of --energy's table"
               : item.key() == "checkpoint-hash" ? "the hash of the checkpoint's weights"
                                                 : "--" + item.key()) +
              words[0] + value_in(old) + words[1] + value_in(now) + words[2];
  }
  return text + (count > 6 ? fission::text(", and ", count - 6, " more") : "");
}

bool RunDirectory::holds(const std::string& file) const {
  struct stat s;
  return stat(path(file).c_str(), &s) == 0;
}
bool RunDirectory::lacks(const std::string& file) const {
  std::error_code none;
  const std::uintmax_t bytes = std::filesystem::file_size(path(file), none);
  return none || bytes == 0;
}

void RunDirectory::check_config() const {
  // A run has a checkpoint before anything of these. Looked for last, for another process may be
  // about to write all of them.
  for (const char* file : {"log.jsonl", "results.csv", "round-0.safetensors"})
    if (!lacks(file) && !begun())
      user_error(name, ": ", file, " of a run, but no checkpoint.safetensors, expected both;",
                 " another --out begins a new run");
  if (holds("config.json")) {
    const std::string expected = "the configuration of a run";
    const Json old = parse_json(read_file(path("config.json")), path("config.json"), expected);
    if (!old.is_object()) user_error(path("config.json"), ": no object, expected ", expected);
    refuse_renamed_settings(old, name);
    Json now = config;
    if (!old.contains("data")) now.erase("data");  // of an older version, which kept none
    std::string differ = differences(old, now, {" was ", ", now ", ""});
    if (!differ.empty())
      user_error(name, " holds another run: ", differ, " (another --out begins a new one)");
  } else if (begun()) {
    user_error(name, ": a checkpoint without its config.json; another --out begins a new run");
  }
}

// Of two processes that begin at once, one has the log; what it writes before that, the other could
// overwrite. A folder that can't be written to is none that anybody is at work in.
void RunDirectory::lock() {
  const bool going_on = begun();
  try {
    log_ = std::make_unique<AppendLog>(
        path("log.jsonl"), going_on ? AppendLog::Open::existing : AppendLog::Open::create);
  } catch (const UserError&) {
    if (!going_on || read_safetensors(path("checkpoint.safetensors")).metadata_at("done") != "1")
      throw;
  }
  check_config();  // another one may have been here since
}

void RunDirectory::create() {
  make_directories(name);
  lock();
  if (begun())
    user_error(name,
               ": another process has begun this run meanwhile; the same command goes on with it");
  write_file_atomically(path("config.json"), json_text(config, 2) + "\n");
  log_->keep(0);
}

// A log's length is counted in lines: their bytes depend on times and rates, which no two runs
// share.
void RunDirectory::cut_log(const std::vector<RoundRecord>& history, bool read_only) {
  const std::string file = path("log.jsonl"), all = lines > 0 ? read_file(file) : "";
  std::size_t end = 0;
  for (Index i = 0; i < lines; i++) {
    end = all.find('\n', end) + 1;
    if (end == 0)
      user_error(file, ": line ", i + 1, ": missing, expected the ", lines,
                 " lines that the checkpoint knows of");
  }
  check_agreement(log_lines(all.substr(0, end), file), history, file, "the checkpoint");
  if (log_ && (!read_only || all.size() > end)) log_->keep(end);
}

void RunDirectory::append(const std::string& line) {
  if (log_) log_->append(line);
  lines++;
  crash_point("after-log");
}

}  // namespace fission
