// What the tests of imagenet share: its tree of images, a tiny growth on it, and what a run would
// be.
#pragma once
#include "runners/growth/imagenet.h"

#include <signal.h>

#include "tests/image_tree.h"
#include "tests/runners/options.h"

namespace fission::test {

// 6 classes of 8 and 4 images: val/ in folders, or flat
inline const std::string& tree(bool flat = false) {
  static const Folder folder;
  static const std::string paths[] = {folder / "folders", folder / "flat"};
  static const bool written = [] {
    for (bool f : {false, true}) write_image_tree(paths[f], {6, 8, 4, f, 0});
    return true;
  }();
  (void)written;
  return paths[flat];
}

inline Arguments tiny(const std::string& out, const Arguments& more = {}) {
  return merged({{"--data", tree()},
                 "--size 48",
                 {"--widths", four_wide},
                 "--epochs 1",
                 "--tune-epochs 1",
                 "--warmup 0",
                 "--rounds 1",
                 "--rq-epochs 1",
                 "--batch 16",
                 "--bn-batch 8",
                 "--rq-batch 16",
                 "--check-images 16",
                 "--grow 0.3",
                 "--baselines none",
                 "--threads 1",
                 "--loader-threads 1",
                 "--seed 7",
                 {"--out", out}},
                more);
}

// What a run would be: it is killed as soon as it has said so
inline Json config_of(const Arguments& arguments, const std::string& out) {
  ProcessResult e = launch(Launch{"imagenet", arguments, "after-rename:1"});
  INFO("stderr: ", e.err);
  REQUIRE(e.signal == SIGKILL);
  return json_in(read_file(out + "/config.json"));
}

}  // namespace fission::test
