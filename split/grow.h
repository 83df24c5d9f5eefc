// The whole procedure (section 8 of METHOD.md): train, find what each split is worth,
// select, split, fine-tune, repeat. grow() reads like the paper; what surrounds it (data, files,
// progress) is an Environment's, so that the same lines run anywhere.
#pragma once
#include "split/state.h"

namespace fission {

void grow(State& state, const GrowSettings& settings, Environment& environment);

}  // namespace fission
