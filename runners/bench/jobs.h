// What bench times: a training step (the very one the runners take), RQ-SGD steps by both matrices,
// evaluation, the loader (of images
// over 64x64: from JPEG files made up for it); decoding JPEGs; and the machine's limits. Medians,
// and images/s as the runners' log has them: of the mean. Floors: arithmetic at the rate of a
// large matrix product, bytes at that of a large pass.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "runners/common/program.h"

namespace fission {

struct BenchOptions {
  Index batch = 128, size = 32, repeat = 9, classes = 10;
  std::string model = "mobilenet_v1", widths = "seed,0.5,0.5+5,1.0",
              jobs = "limits,decode,train,rq-paper,rq-chain,eval,loader";
  bool json = false, quiet = false;  // quiet: the line of threads has been printed
  bool profile = false;
  std::function<Index()> regions;  // ProfileBackend's
  DeviceOptions device;
};

// UserError: one that there is not. Before a measurement that takes minutes.
void check_names(const std::vector<std::string>& jobs, const std::vector<std::string>& widths,
                 const std::string& model);

// One job of one list of widths, in this process (or, of several, in all of them together: the
// batch is all of theirs): "ms", "images_per_second", "peak_mib", "gmac" and "gbyte" (the floors'
// counts), …
// With profile "operations": name, calls, ms, gmac, gbyte and regions of each operation, a
// step.
// loader: "waiting", the share of a step that the network waits for its images. decode: images
// a second of one core, of each decoder.
nlohmann::ordered_json measure(const std::string& job, const std::string& width,
                               const BenchOptions& options);

}  // namespace fission
