// The directory that a run works in, it alone: its configuration, and a log that is only added to.
#pragma once
#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "nn/io/files.h"
#include "split/records.h"
#include "tensor/geometry.h"

namespace fission {

// What two configurations say differently, by name; words: around the one's value and the other's
std::string differences(const nlohmann::ordered_json& old, const nlohmann::ordered_json& now,
                        const std::array<const char*, 3>& words);

class RunDirectory {
 public:
  const std::string name;
  const nlohmann::ordered_json config;
  Index lines = 0;  // of the log
  RunDirectory(const std::string& name, const nlohmann::ordered_json& config)
      : name(name), config(config) {}

  std::string path(const std::string& file) const { return name + "/" + file; }
  bool holds(const std::string& file) const;
  bool lacks(const std::string& file) const;  // it is not there, or empty
  bool begun() const { return holds("checkpoint.safetensors"); }
  void check_config() const;  // UserError if another run's directory
  // UserError if another process has it. One that can't be written to is not refused if the run is
  // done.
  void lock();
  void create();  // and lock(); with its configuration and an empty log
  // UserError if there are fewer lines, or others than of this history
  void cut_log(const std::vector<RoundRecord>& history, bool read_only);
  void append(const std::string& line);

 private:
  std::unique_ptr<AppendLog> log_;
};

}  // namespace fission
