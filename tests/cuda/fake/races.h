// What the threads of a launch do to one another through the device's memory. On a GPU blocks run
// at once, and so do threads between two barriers; here they run in turn, which gives right results
// for wrong reasons. Gcc calls a hook at every load and store of the kernels (Makefile: WATCHED);
// the hooks, in races.cpp, keep who touched each four bytes last. Threads that touch one place, one
// of them writing, without a barrier between them, are a race: there are no atomics in the kernels.
#pragma once

namespace fission::emulator::races {

void begin_launch();
void begin_block();
void pass_barrier();
void end_launch();     // a Misuse, if there was a race, or a wide load or store at an odd address
void forget_launch();  // another Misuse ends it

}  // namespace fission::emulator::races
