// What touches one place of the device's memory at once. On a GPU the blocks of a launch run at
// once, and so do threads between two barriers, and the queues; here they run in turn, which gives
// right results for wrong reasons. Gcc calls a hook at every load and store of the kernels
// (Makefile: WATCHED); the hooks, in races.cpp, keep who touched each four bytes last. Two touches,
// one of them a write, that nothing puts in order are a race: there are no atomics in the kernels.
#pragma once
#include "tests/cuda/fake/device.h"

namespace fission::emulator::races {

void begin(long stream, cuda_fake::Clock& clock);  // an operation of that stream, and its clock
void begin_block();
void pass_barrier();
void use(const cuda_fake::Use& use);  // by a copy or a library
void end();     // a Misuse, if there was a race, or a load or store at an odd address
void forget();  // the operation is over

}  // namespace fission::emulator::races
