// Mistakes, planted: each is made inside the module, against a fake that was just reset, and must
// be caught by it. And work that is right, so that what the fake refuses is the mistake alone.
#pragma once

namespace fission::cuda {
struct Bench;  // planted.h
}

namespace fission::mistakes {

struct Mistake {
  const char* name;    // "memory: a host pointer passed as a device pointer"
  const char* caught;  // what the fake's text holds
  void (*make)(cuda::Bench&);
};
}  // namespace fission::mistakes

extern "C" {
const fission::mistakes::Mistake* fission_mistakes();  // ends with a null name
void fission_make(const fission::mistakes::Mistake* mistake);
}
